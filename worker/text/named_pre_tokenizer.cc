#include "worker/text/named_pre_tokenizer.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <string>

namespace dslad::worker {
namespace {

using Named = NamedPreTokenizer;

// Llama 3's pattern; how many digits make a number differs between its relatives.
std::string llama3_pattern(std::string_view number) {
  return std::string(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)")
      .append(number)
      .append(R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
}

constexpr const char* kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n/]+|\s+(?!\S)|\s+)";

// Letters of alphabets that have capital ones.
constexpr const char* kDeepseekLetters =
    R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚ)"
    R"(Ḁ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳ)"
    R"(Ꙁ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+)";
constexpr const char* kDeepseekPunctuation = R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)";
constexpr const char* kDeepseekIdeographs = R"([一-龥ࠀ-一가-퟿]+)";

constexpr ByteLevelStep kBytesAlone = {.add_prefix_space = false, .use_pattern = false};

Named gpt2() {
  return {.steps = {ByteLevelStep{}}};
}

Named single_digits() {
  return {.steps = {DigitsStep{.individual = true}, ByteLevelStep{}}};
}

Named llama3() {
  return {.steps = {SplitStep{llama3_pattern(R"(\p{N}{1,3})")}, kBytesAlone}, .ignore_merges = true};
}

Named qwen2() {
  return {.normalizer = {NormalizationForm::kNfc},
          .steps = {SplitStep{llama3_pattern(R"(\p{N})")}, kBytesAlone}};
}

Named deepseek_qwen() {
  return {.steps = {SplitStep{llama3_pattern(R"(\p{N})")}, kBytesAlone}};
}

Named tekken() {
  return {.steps = {SplitStep{kTekkenPattern}, kBytesAlone}, .ignore_merges = true};
}

Named deepseek_llm() {
  return {.steps = {SplitStep{"[\\r\\n]"}, SplitStep{kDeepseekLetters}, SplitStep{kDeepseekPunctuation},
                    SplitStep{"\\s+$"}, SplitStep{kDeepseekIdeographs}, DigitsStep{.individual = true},
                    kBytesAlone}};
}

Named deepseek_coder() {
  return {.steps = {SplitStep{"[\\r\\n]"}, SplitStep{"\\s?\\p{L}+"}, SplitStep{"\\s?\\p{P}+"},
                    SplitStep{kDeepseekIdeographs}, DigitsStep{.individual = true}, kBytesAlone}};
}

Named falcon() {
  return {.steps = {PunctuationStep{SplitBehavior::kContiguous}, ByteLevelStep{}, DigitsStep{},
                    SplitStep{"[0-9][0-9][0-9]"}}};
}

struct Entry {
  std::string_view name;
  Named (*make)();
};

constexpr Entry kTable[] = {
    {"codeshell", single_digits},
    {"deepseek-coder", deepseek_coder},
    {"deepseek-llm", deepseek_llm},
    {"deepseek-r1-qwen", deepseek_qwen},
    {"falcon", falcon},
    {"gpt-2", gpt2},
    {"llama-bpe", llama3},
    {"llama-v3", llama3},
    {"llama3", llama3},
    {"phi-2", gpt2},
    {"qwen2", qwen2},
    {"refact", single_digits},
    {"roberta-bpe", gpt2},
    {"smaug-bpe", llama3},
    {"smollm", single_digits},
    {"starcoder", single_digits},
    {"tekken", tekken},
};

}  // namespace

Result<NamedPreTokenizer> named_pre_tokenizer(std::string_view name) {
  const auto* const found = std::ranges::find(kTable, name, &Entry::name);
  if (found != std::end(kTable)) return found->make();
  std::string known;
  for (const Entry& entry : kTable) known.append(known.empty() ? "" : ", ").append(entry.name);
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("the pre-tokenizer \"{}\" is not implemented; those that are: {}", name, known)};
}

}  // namespace dslad::worker
