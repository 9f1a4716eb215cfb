// Changes a text before it is cut into words, by the steps of Hugging Face's "normalizer" that are
// implemented here; most models have none or few. Immutable: safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "worker/text/regex.h"
#include "worker/text/text_place.h"

namespace dslad::worker {

enum class NormalizationForm : std::uint8_t { kNfc, kNfd, kNfkc, kNfkd };

// Puts `text` before a text that has any characters.
struct PrependStep {
  std::string text;
};
struct ReplaceStep {
  std::string pattern;
  bool is_regex = false;  // else `pattern` is the text itself
  std::string replacement;
};
struct LowercaseStep {};
// Takes white space away.
struct StripStep {
  bool left = true, right = true;
};
using NormalizerStep = std::variant<NormalizationForm, PrependStep, ReplaceStep, LowercaseStep, StripStep>;

class Normalizer {
 public:
  // Errors: kInvalidArgument naming a pattern that does not compile.
  static Result<Normalizer> create(const std::vector<NormalizerStep>& steps);

  // What continues another text has nothing put before it and keeps its first spaces.
  // REQUIRES: well-formed UTF-8. Errors: as Regex::Search::find_all; kResourceExhausted when replacing makes
  // a text too long.
  [[nodiscard]] Result<std::string> apply(std::string_view text, TextPlace place) const;

  [[nodiscard]] bool empty() const { return steps_.empty(); }

 private:
  struct Replacing {
    Regex pattern;
    std::string replacement;
  };
  using Step = std::variant<NormalizationForm, PrependStep, Replacing, LowercaseStep, StripStep>;

  std::vector<Step> steps_;
};

}  // namespace dslad::worker
