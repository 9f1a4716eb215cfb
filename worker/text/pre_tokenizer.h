// Cuts a text into the words that byte pair encoding works on, one after the other and never across.
//
// A list of steps, each of which cuts every piece of the step before, as Hugging Face's "pre_tokenizer"
// states it: ByteLevel, Split, Digits, and a Sequence of them. Immutable: safe from any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "schema/result.h"
#include "worker/text/regex.h"

namespace dslad::worker {

class PreTokenizer {
 public:
  // Of a tokenizer.json's "pre_tokenizer". Errors: kInvalidArgument naming what is not implemented.
  static Result<PreTokenizer> parse(const nlohmann::json& description);
  static Result<PreTokenizer> gpt2();

  // Whether the description has a ByteLevel step: without one, this is no byte-level tokenizer.
  static bool is_byte_level(const nlohmann::json& description);

  // The words of `text` in order. REQUIRES: well-formed UTF-8. Errors: as Regex::split.
  [[nodiscard]] Result<std::vector<std::string_view>> split(std::string_view text) const;

  // A space belongs before a text that begins without one.
  [[nodiscard]] bool adds_prefix_space() const { return adds_prefix_space_; }

 private:
  struct Step {
    Regex pattern;
    bool keep_rest;
  };

  Status add(const nlohmann::json& description);
  Status add_byte_level(const nlohmann::json& description);
  Status add_split(const nlohmann::json& description);
  Status add_step(Result<Regex> pattern, bool keep_rest);

  std::vector<Step> steps_;
  bool adds_prefix_space_ = false;
};

}  // namespace dslad::worker
