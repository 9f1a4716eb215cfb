// A Unicode regular expression over well-formed UTF-8, by PCRE2 (just-in-time compiled where the machine
// allows it).
//
// \s, \p{L}, \p{N} and the like are Unicode's classes, as in the Oniguruma of Hugging Face's tokenizers.
// They differ for U+180E, a space here, and for characters younger than PCRE2's Unicode (14.0 in Debian 12).
// Work per match is bounded, so that no text and no pattern can hang a worker.
// Immutable once compiled: safe from any thread.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "schema/result.h"

namespace dslad::worker {

class Regex {
 public:
  // Errors: kInvalidArgument naming the pattern, the place and what is wrong there.
  static Result<Regex> compile(const std::string& pattern);
  // Matches `text` itself, whatever characters it has.
  static Result<Regex> literal(const std::string& text);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // Cuts each of `pieces`, a text by itself, at the matches and appends the words in order: each non-empty
  // match and, if `keep_rest`, what lies between matches.
  // REQUIRES: well-formed UTF-8. Errors: kResourceExhausted when a match needs too much work.
  Status split(std::span<const std::string_view> pieces, bool keep_rest,
               std::vector<std::string_view>& words) const;

 private:
  struct Code;  // regex.cc

  explicit Regex(std::unique_ptr<Code> code);
  static Result<Regex> compile(const std::string& pattern, unsigned options);

  std::unique_ptr<Code> code_;
};

}  // namespace dslad::worker
