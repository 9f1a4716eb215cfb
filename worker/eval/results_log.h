// The results of an evaluation, one line an item and plan, so that a killed run loses at most what was being
// computed.
//
//   file   := header record*                 each a line of JSON, ended by a line feed
//   header := {"dslad_eval": "1", fact: text, ...}
// The facts are what results depend on (model, numbers' type, data, lengths): lines made under other facts
// are never mixed. A last line without its line feed is what a killed run was writing, and dropped. Thread
// safety: one user at a time; one process a file.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "worker/eval/score_record.h"

namespace dslad::worker {

class ResultsLog {
 public:
  using Facts = std::vector<std::pair<std::string, std::string>>;  // name, value

  ResultsLog() = default;  // kept in memory alone

  // Begins the file, or with `resume` takes up what it holds. Errors: kRefused when it exists and is not to
  // be resumed, or was made under other facts (names the first); kCorrupt naming the line;
  // kResourceExhausted, kUnavailable.
  static Result<ResultsLog> open(const std::filesystem::path& path, const Facts& facts, bool resume);

  ResultsLog(ResultsLog&& other) noexcept;
  ResultsLog& operator=(ResultsLog&& other) noexcept;
  ResultsLog(const ResultsLog&) = delete;
  ResultsLog& operator=(const ResultsLog&) = delete;
  ~ResultsLog();

  // nullptr when there is none.
  [[nodiscard]] const ScoreRecord* find(const ItemKey& item, int plan) const;
  // Those of `plans` for which there is none.
  [[nodiscard]] std::vector<int> plans_without(const ItemKey& item, std::span<const int> plans) const;
  // Errors: kResourceExhausted (disk full), kUnavailable; the record is then not kept either.
  Status append(ScoreRecord record);

 private:
  Status take_up(const Facts& facts);
  Status write_line(std::string line);
  [[nodiscard]] Error failed(const char* what) const;  // of errno

  std::filesystem::path path_;
  int descriptor_ = -1;  // -1: no file
  std::map<ScoreKey, ScoreRecord> records_;
};

}  // namespace dslad::worker
