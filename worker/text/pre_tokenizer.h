// Cuts a text into the words that byte pair encoding works on, one after the other and never across.
//
// A list of steps, each of which cuts every piece of the step before, and may change it, as Hugging Face's
// "pre_tokenizer" states it. Byte-level vocabularies write each byte as a character of an alphabet
// (byte_level.h), and a step puts words into it; from there on steps see those characters.
// Immutable: safe from any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "worker/text/regex.h"
#include "worker/text/split.h"
#include "worker/text/text_place.h"

namespace dslad::worker {

struct SplitStep {
  std::string pattern;
  bool is_regex = true;  // else `pattern` is the text itself
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
};
struct DigitsStep {
  bool individual = false;
};
struct PunctuationStep {
  SplitBehavior behavior = SplitBehavior::kIsolated;
};
struct ByteLevelStep {
  bool add_prefix_space = false;  // before every piece that does not begin with one
  bool use_pattern = true;        // cut by GPT-2's pattern
};
// Puts `replacement` for every space.
struct MetaspaceStep {
  enum class Prefix : std::uint8_t { kAlways, kFirst, kNever };  // before which pieces that lack it
  std::string replacement = "\u2581";
  Prefix prefix = Prefix::kAlways;
  bool split = true;  // each `replacement` begins a word
};
using PreTokenizerStep = std::variant<SplitStep, DigitsStep, PunctuationStep, ByteLevelStep, MetaspaceStep>;

// Words in order; they lie in the text that was cut, or in `changed`.
struct Words {
  std::vector<std::string_view> list;
  std::deque<std::string> changed;
};

class PreTokenizer {
 public:
  // Errors: kInvalidArgument naming a pattern that does not compile.
  static Result<PreTokenizer> create(const std::vector<PreTokenizerStep>& steps);

  // REQUIRES: well-formed UTF-8, which outlives the words. Errors: as Regex::Search::find_all.
  [[nodiscard]] Result<Words> split(std::string_view text, TextPlace place) const;

 private:
  class Splitting;  // pre_tokenizer.cc
  struct Cut {
    Regex pattern;
    SplitBehavior behavior;
    bool invert;
  };
  struct SpaceBefore {};   // every piece gets a space that begins without one
  struct ByteAlphabet {};  // every piece is written in the byte-level alphabet
  using Step = std::variant<Cut, SpaceBefore, ByteAlphabet, MetaspaceStep>;

  Status add(const SplitStep& step);
  Status add(const DigitsStep& step);
  Status add(const PunctuationStep& step);
  Status add(const ByteLevelStep& step);
  Status add(const MetaspaceStep& step);
  Status add_cut(Result<Regex> pattern, SplitBehavior behavior, bool invert = false);

  std::vector<Step> steps_;
};

}  // namespace dslad::worker
