#include "worker/eval/eval_data.h"

#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/utf8.h"
#include "schema/limits.h"
#include "worker/files/json_fields.h"
#include "worker/files/json_file.h"
#include "worker/files/read_file.h"
#include "worker/model/digest.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 30;
constexpr std::size_t kMaxListLength = 4096;
constexpr std::array<std::string_view, 4> kKindNames = {"text", "qa", "summarize", "choice"};
constexpr std::string_view kSpace = " \t\r\n";

std::string required_text(JsonFields& fields, const char* key, std::size_t max_bytes) {
  std::string text = fields.text(key, "");
  if (text.empty()) fields.refuse(key, "must be a string that is not empty");
  if (text.size() > max_bytes) fields.refuse(key, fmt::format("must have at most {} bytes", max_bytes));
  return text;
}

std::vector<std::string> required_texts(JsonFields& fields, const char* key, std::size_t least) {
  const json* const list = fields.find(key);
  std::vector<std::string> texts;
  const bool fits =
      list != nullptr && list->is_array() && list->size() >= least && list->size() <= kMaxListLength;
  if (fits) {
    for (const json& text : *list) {
      if (text.is_string()) texts.push_back(text.get<std::string>());
    }
  }
  if (!fits || texts.size() != list->size()) {
    fields.refuse(key, fmt::format("must be a list of {} to {} strings", least, kMaxListLength));
  }
  return texts;
}

// Reads the lines of one JSONL file; stops at the first that is wrong.
class LineReader {
 public:
  LineReader(EvalData& data, std::string_view name) : data_(data), name_(name) {}

  Status read(std::string_view line) {
    ++line_;
    if (line.find_first_not_of(kSpace) == std::string_view::npos) return ok_status();
    const std::string where = fmt::format("{}: line {}", name_, line_);
    const auto object = parse_json(line, where);
    if (!object) return object.error();
    JsonFields fields(*object, where);
    if (!fields.status()) return fields.status();
    Status known = read_kind(fields);
    if (!known) return known;
    if (data_.kind == DataKind::kText) return read_one_text(fields);
    return data_.kind == DataKind::kChoice ? read_choice(fields) : read_document(fields, where);
  }

 private:
  // The first object decides what the file holds.
  Status read_kind(JsonFields& fields) {
    const bool has_choices = fields.find("choices") != nullptr;
    const std::string task = fields.text("task", has_choices ? "choice" : "");
    bool known = decided_;
    if (!decided_) {
      for (const DataKind kind : {DataKind::kText, DataKind::kQa, DataKind::kSummarize, DataKind::kChoice}) {
        if (task != to_string(kind)) continue;
        data_.kind = kind;
        known = true;
      }
    }
    if (!known) {
      fields.refuse("task", "must be \"qa\", \"summarize\", \"choice\" or \"text\"");
    } else if (task != to_string(data_.kind)) {
      fields.refuse("task", fmt::format("must be \"{}\" as in the file's first line", to_string(data_.kind)));
    }
    decided_ = true;
    return fields.status();
  }

  std::string read_id(JsonFields& fields) {
    std::string id = required_text(fields, "id", schema::kMaxNameBytes);
    const auto [earlier, is_new] = line_of_id_.emplace(id, line_);
    if (!is_new) fields.refuse("id", fmt::format("line {} has it already", earlier->second));
    return id;
  }

  Status read_one_text(JsonFields& fields) {
    read_id(fields);
    std::string text = required_text(fields, "document", schema::kMaxDocumentBytes);
    if (fields.status()) data_.texts.push_back(std::move(text));
    return fields.status();
  }

  Status read_choice(JsonFields& fields) {
    EvalChoice choice;
    choice.id = read_id(fields);
    choice.question = required_text(fields, "question", schema::kMaxDocumentBytes);
    choice.choices = required_texts(fields, "choices", 2);
    for (const std::string& text : choice.choices) {
      if (text.empty()) fields.refuse("choices", "none may be empty");
    }
    const auto last = static_cast<std::int64_t>(choice.choices.size()) - 1;
    choice.answer = static_cast<std::size_t>(fields.integer("answer", 0, last));
    choice.kind = fields.text("kind", "");
    if (fields.status()) data_.choices.push_back(std::move(choice));
    return fields.status();
  }

  Status read_document(JsonFields& fields, const std::string& where) {
    EvalDocument document;
    document.id = read_id(fields);
    document.document = required_text(fields, "document", schema::kMaxDocumentBytes);
    const json* const items = fields.find("items");
    if (items == nullptr || !items->is_array() || items->empty()) {
      fields.refuse("items", "must be a list that is not empty");
      return fields.status();
    }
    if (!fields.status()) return fields.status();
    for (std::size_t i = 0; i < items->size(); ++i) {
      JsonFields item((*items)[i], fmt::format("{}: items[{}]", where, i));
      document.items.push_back(read_item(item));
      if (!item.status()) return item.status();
    }
    data_.documents.push_back(std::move(document));
    return ok_status();
  }

  EvalItem read_item(JsonFields& fields) const {
    EvalItem item;
    const bool qa = data_.kind == DataKind::kQa;
    if (qa || fields.find("question") != nullptr) {
      item.question = required_text(fields, "question", schema::kMaxQuestionBytes);
    }
    item.references = qa ? required_texts(fields, "answers", 0) : required_texts(fields, "summaries", 1);
    item.kind = fields.text("kind", "");
    item.evidence = fields.text("evidence", "");
    return item;
  }

  EvalData& data_;
  std::string_view name_;
  std::size_t line_ = 0;
  bool decided_ = false;  // data_.kind is what the first object said
  std::unordered_map<std::string, std::size_t> line_of_id_;
};

bool is_text(std::string_view bytes, std::string_view name) {
  const std::size_t first = bytes.find_first_not_of(kSpace);
  return name.ends_with(".txt") || first == std::string_view::npos || bytes[first] != '{';
}

Status read_text(std::string_view bytes, std::string_view name, EvalData& data) {
  const std::size_t malformed = find_malformed_utf8(bytes);
  if (malformed != std::string_view::npos) {
    return Error{ErrorCode::kCorrupt, fmt::format("{}: byte {} is not UTF-8", name, malformed)};
  }
  if (bytes.find_first_not_of(kSpace) == std::string_view::npos) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("{}: the file holds no text", name)};
  }
  data.texts.emplace_back(bytes);
  return ok_status();
}

}  // namespace

std::string_view to_string(DataKind kind) {
  return kKindNames[static_cast<std::size_t>(kind)];
}

Result<EvalData> parse_eval_data(std::string_view bytes, std::string_view name) {
  EvalData data;
  data.file = name;
  Digest digest;
  digest.add(bytes);
  data.digest = digest.hex();
  if (is_text(bytes, name)) {
    const Status read = read_text(bytes, name, data);
    if (!read) return read.error();
    return data;
  }
  LineReader reader(data, name);
  while (!bytes.empty()) {
    const std::string_view line = bytes.substr(0, bytes.find('\n'));
    const Status read = reader.read(line);
    if (!read) return read.error();
    bytes.remove_prefix(std::min(bytes.size(), line.size() + 1));
  }
  return data;
}

Result<EvalData> load_eval_data(const std::filesystem::path& path) {
  const auto bytes = read_file(path, kMaxFileBytes);
  if (!bytes) return bytes.error();
  return parse_eval_data(*bytes, path.string());
}

}  // namespace dslad::worker
