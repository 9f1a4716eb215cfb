// A Unicode regular expression over well-formed UTF-8, by PCRE2 (just-in-time compiled where the machine
// allows it).
//
// Patterns are written for Oniguruma, as Hugging Face's tokenizers have it, and put into PCRE2's words
// (oniguruma.h); what cannot be is refused. Work per match is bounded, so that no text and no pattern can
// hang a worker. Immutable once compiled: safe from any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {

class Regex {
 public:
  // Errors: kInvalidArgument naming the pattern, and what is wrong or not implemented.
  static Result<Regex> compile(const std::string& pattern);
  // Of PCRE2's own words.
  static Result<Regex> compile_pcre(const std::string& pattern);
  // Matches `text` itself, whatever characters it has.
  static Result<Regex> literal(const std::string& text);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // Finds matches in texts, one after the other; for one thread. The Regex must outlive it.
  class Search {
   public:
    explicit Search(const Regex& regex);
    ~Search();
    Search(const Search&) = delete;
    Search& operator=(const Search&) = delete;

    // The matches in `text`, from left to right. An empty one counts unless it follows a match at once.
    // REQUIRES: well-formed UTF-8. Errors: kResourceExhausted when a match needs too much work.
    Status find_all(std::string_view text, std::vector<TextRange>& matches);

   private:
    class Scan;  // regex.cc
    std::unique_ptr<Scan> scan_;
  };

 private:
  struct Code;  // regex.cc

  explicit Regex(std::unique_ptr<Code> code);
  static Result<Regex> compile(const std::string& pattern, unsigned options, std::string_view shown);

  std::unique_ptr<Code> code_;
};

}  // namespace dslad::worker
