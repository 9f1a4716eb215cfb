#include "ctl/csv.h"

#include <fmt/format.h>
#include <string_view>

#include "base/utf8.h"

namespace dslad::ctl {
namespace {

constexpr std::size_t kMostOfLine = 65'536;  // bytes: what is longer is no line of a table

}  // namespace

Result<CsvReader> CsvReader::open(std::istream& in, std::string name) {
  CsvReader reader(in, std::move(name));
  const Result<bool> some = reader.next_line(reader.text_);
  if (!some) return some.error();
  if (!*some) return reader.error("there is nothing in it; its first line must name the columns");
  if (Status status = reader.split(reader.text_, reader.columns_); !status) return status.error();
  return reader;
}

Error CsvReader::error(const std::string& what) const {
  return invalid_argument(fmt::format("{}, line {}: {}", name_, line_, what));
}

Result<bool> CsvReader::next(std::vector<std::string>& fields) {
  const Result<bool> some = next_line(text_);
  if (!some || !*some) return some;
  if (Status status = split(text_, fields); !status) return status.error();
  if (fields.size() == columns_.size()) return true;
  return error(fmt::format("it has {} {} and the header has {}; remove or mend the line", fields.size(),
                           fields.size() == 1 ? "field" : "fields", columns_.size()));
}

Result<bool> CsvReader::next_line(std::string& text) {
  do {
    text.clear();
    ++line_;
    for (int c = in_->get(); c != '\n'; c = in_->get()) {
      if (c == std::istream::traits_type::eof()) {
        if (in_->bad()) return error("it cannot be read any further; is it a file?");
        if (text.empty()) return false;
        break;
      }
      if (text.size() == kMostOfLine)
        return error(fmt::format("it is longer than {} bytes; is this a CSV file?", kMostOfLine));
      text.push_back(static_cast<char>(c));
    }
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    if (line_ == 1 && text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
    if (text.ends_with('\r')) text.pop_back();
  } while (text.empty());
  if (find_malformed_utf8(text) == std::string_view::npos) return true;
  return error("it is not UTF-8; convert the file, e.g. with iconv -f LATIN1 -t UTF-8");
}

Status CsvReader::split(const std::string& text, std::vector<std::string>& fields) const {
  fields.assign(1, {});
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
      fields.back().push_back(c);
      ++i;
    } else if (c == '"' && (quoted || fields.back().empty())) {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back().push_back(c);
    }
  }
  if (quoted) return error("a quote (\") is opened and not closed; close it on the same line");
  return ok_status();
}

}  // namespace dslad::ctl
