#include "worker/text/vocab_and_merges.h"

#include <nlohmann/json.hpp>
#include <string_view>

#include "worker/files/json_file.h"
#include "worker/files/read_file.h"
#include "worker/text/text_check.h"
#include "worker/text/tokenizer_json.h"

namespace dslad::worker {
namespace {

constexpr std::size_t kMaxFileBytes = 64 << 20;

Status read_merges_text(std::string_view text, BpeDefinition& definition) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (definition.merges.empty() && line.starts_with("#version"))) continue;
    Status read = read_merge(line, definition);
    if (!read) return read;
  }
  return ok_status();
}

}  // namespace

Result<TokenizerDefinition> load_vocab_and_merges(const std::filesystem::path& dir) {
  const std::filesystem::path vocabulary_path = dir / "vocab.json";
  const std::filesystem::path merges_path = dir / "merges.txt";
  const auto vocabulary = load_json(vocabulary_path, kMaxFileBytes);
  if (!vocabulary) return vocabulary.error();
  const auto merges = read_file(merges_path, kMaxFileBytes);
  if (!merges) return merges.error();
  const Status text = check_utf8(*merges);
  if (!text) return text.error().with_context(merges_path.string());
  TokenizerDefinition definition;
  definition.pre_tokenizer = {ByteLevelStep{}};
  definition.decoding.byte_level = true;
  const Status tokens = read_vocabulary(&*vocabulary, definition.bpe);
  if (!tokens) return tokens.error().with_context(vocabulary_path.string());
  const Status pairs = read_merges_text(*merges, definition.bpe);
  if (!pairs) return pairs.error().with_context(merges_path.string());
  return definition;
}

}  // namespace dslad::worker
