// What was found for one item under one plan, and its line in a results file:
//   {"file", "id", "item", "plan", "kind"?, "tokens", "distance"?, "weight", "scores": {name: number},
//    "text"?}
// Plain values. Numbers survive the way to the file and back.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "base/result.h"

namespace dslad::worker {

// A question, summary or choice of a data file, or a window of a text.
struct ItemKey {
  std::string file;  // as given
  std::string id;    // of the document; empty for windows
  int item = 0;      // index in the document, or the window's index
  bool operator<(const ItemKey& other) const {
    return std::tie(file, id, item) < std::tie(other.file, other.id, other.item);
  }
};

struct ScoreKey {
  ItemKey item;
  int plan = 0;
  bool operator<(const ScoreKey& other) const {
    return std::tie(item, plan) < std::tie(other.item, other.plan);
  }
};

struct ScoreRecord {
  ScoreKey key;
  std::string kind;         // the data's label; empty: none
  std::int64_t tokens = 0;  // of the document, or of the window
  // Of a question whose answer's place in the document is known: tokens from there to its end, about.
  std::optional<std::int64_t> distance;
  double weight = 1;  // in a mean over items: tokens scored of a window, else 1
  std::map<std::string, double> scores;
  std::string text;  // what was generated
};

std::string to_line(const ScoreRecord& record);  // without a line end

// Errors: kCorrupt and kInvalidArgument, naming `where`.
Result<ScoreRecord> parse_record(std::string_view line, std::string_view where);

}  // namespace dslad::worker
