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

// Seed-Coder's: ends of lines are no part of punctuation.
constexpr const char* kSeedCoderPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr const char* kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n/]+|\s+(?!\S)|\s+)";

// Letters of alphabets that have capital ones.
constexpr const char* kDeepseekLetters =
    R"(\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293})"
    R"(\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C})"
    R"(\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5})"
    R"(\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B})"
    R"(\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45})"
    R"(\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4})"
    R"(\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB})"
    R"(\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115})"
    R"(\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139})"
    R"(\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4})"
    R"(\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F})"
    R"(\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17})"
    R"(\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB})"
    R"(\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}]+)";
constexpr const char* kDeepseekPunctuation =
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)";
constexpr const char* kDeepseekIdeographs = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";

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

Named seed_coder() {
  return {.steps = {SplitStep{kSeedCoderPattern}, kBytesAlone}};
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
    {"falcon3", llama3},
    {"gpt-2", gpt2},
    {"llama-bpe", llama3},
    {"llama-v3", llama3},
    {"llama3", llama3},
    {"minerva-7b", single_digits},
    {"phi-2", gpt2},
    {"qwen2", qwen2},
    {"refact", single_digits},
    {"roberta-bpe", gpt2},
    {"seed-coder", seed_coder},
    {"smaug-bpe", llama3},
    {"smollm", single_digits},
    {"starcoder", single_digits},
    {"tekken", tekken},
    {"trillion", gpt2},
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
