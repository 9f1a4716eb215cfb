#include "ctl/input.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fmt/format.h>
#include <memory>
#include <string_view>
#include <system_error>
#include <unistd.h>

#include "base/utf8.h"
#include "ctl/format.h"
#include "schema/limits.h"

namespace dslad::ctl {
namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

std::string reason() {
  return std::generic_category().message(errno);
}

// Stops soon after the limit: whoever pipes a disk in here learns it soon.
Result<std::string> read_all(const std::string& name, std::FILE* stream) {
  std::string text;
  std::string block(std::size_t{64} << 10, '\0');
  std::size_t got = block.size();
  while (got == block.size() && text.size() <= schema::kMaxDocumentBytes) {
    got = std::fread(block.data(), 1, block.size(), stream);
    text.append(block, 0, got);
    if (std::ferror(stream) != 0) return invalid_argument(fmt::format("cannot read {}: {}", name, reason()));
  }
  if (text.size() <= schema::kMaxDocumentBytes) return text;
  return invalid_argument(fmt::format("{} has more than {} bytes, the most that one job takes: split it",
                                      name, schema::kMaxDocumentBytes));
}

Result<std::string> read_file(const std::string& file, const std::string& name) {
  const std::unique_ptr<std::FILE, Close> stream(std::fopen(file.c_str(), "rb"));
  if (!stream) return invalid_argument(fmt::format("cannot read {}: {}", name, reason()));
  return read_all(name, stream.get());
}

Result<std::string> read_stdin(const std::string& name) {
  static bool taken = false;
  if (taken) return invalid_argument("standard input (-) can be named only once");
  taken = true;
  return read_all(name, stdin);
}

// What the text's first bytes say that it is; null where they do not.
const char* encoding_by_mark(std::string_view bytes) {
  if (bytes.starts_with(std::string_view("\xFF\xFE\0\0", 4)) ||
      bytes.starts_with(std::string_view("\0\0\xFE\xFF", 4)))
    return "UTF-32";
  if (bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF")) return "UTF-16";
  return nullptr;
}

}  // namespace

Status check_utf8(const std::string& name, const std::string& text) {
  const std::string_view bytes = text;
  if (const char* encoding = encoding_by_mark(bytes)) {
    return invalid_argument(
        fmt::format("{} is {}; convert it, e.g. with iconv -f {} -t UTF-8", name, encoding, encoding));
  }
  const std::size_t at = find_malformed_utf8(bytes);
  if (at == std::string_view::npos) return ok_status();
  const auto line = 1 + std::count(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(at), '\n');
  return invalid_argument(fmt::format(
      "{} is not UTF-8: byte 0x{:02X} at offset {} (line {}); convert it, e.g. with iconv -f LATIN1 -t UTF-8",
      name, static_cast<unsigned char>(bytes[at]), at, line));
}

Result<std::string> read_text(const std::string& file) {
  const std::string name = file == "-" ? "standard input" : fmt::format("'{}'", one_line(file));
  Result<std::string> text = file == "-" ? read_stdin(name) : read_file(file, name);
  if (!text) return text;
  if (text->find_first_not_of(" \t\r\n\v\f") == std::string::npos) {
    return invalid_argument(fmt::format("{} is empty; there is nothing to work on", name));
  }
  if (Status status = check_utf8(name, *text); !status) return status.error();
  return text;
}

}  // namespace dslad::ctl
