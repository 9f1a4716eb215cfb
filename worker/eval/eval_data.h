// What a model is evaluated on: one file of one kind.
//
//   text       a file named *.txt, or whose first character but white space is not "{": perplexity
//   otherwise JSONL, one object a line, empty lines skipped, unknown keys ignored; the first line says which:
//   text       {"id", "task": "text", "document"}: many texts in one file, each by itself
//   qa         {"id", "task": "qa", "document",
//               "items": [{"question", "answers": [...], "kind"?, "evidence"?}]}
//   summarize  {"id", "task": "summarize", "document", "items": [{"question"?, "summaries": [...], "kind"?}]}
//   choice     {"id", "task"?: "choice", "question", "choices": [...], "answer": index, "kind"?}
// `answers: []` marks a question that the document does not answer. "kind" is a label of the data's own by
// which scores are also grouped; "evidence" is the part of the document that the answer rests on, as it
// stands there. Plain values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dslad::worker {

enum class DataKind : std::uint8_t { kText, kQa, kSummarize, kChoice };

std::string_view to_string(DataKind kind);

struct EvalItem {
  std::optional<std::string> question;
  std::vector<std::string> references;  // answers or summaries
  std::string kind;                     // empty: none
  std::string evidence;                 // empty: none
};

struct EvalDocument {
  std::string id;  // unique in its file
  std::string document;
  std::vector<EvalItem> items;  // not empty
};

struct EvalChoice {
  std::string id;  // unique in its file
  std::string question;
  std::vector<std::string> choices;  // two or more, none empty
  std::size_t answer = 0;
  std::string kind;  // empty: none
};

struct EvalData {
  std::string file;    // as given
  std::string digest;  // of its bytes
  DataKind kind = DataKind::kText;
  std::vector<std::string> texts;       // kText; one where the file is plain text
  std::vector<EvalDocument> documents;  // kQa, kSummarize
  std::vector<EvalChoice> choices;      // kChoice
};

// Errors: kNotFound, kUnavailable; kCorrupt and kInvalidArgument naming file, line and field.
Result<EvalData> load_eval_data(const std::filesystem::path& path);

// The same from the file's bytes; `name` stands for the file in errors.
Result<EvalData> parse_eval_data(std::string_view bytes, std::string_view name);

}  // namespace dslad::worker
