#include "worker/text/tokenizer.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "worker/files/json_file.h"
#include "worker/files/model_path.h"
#include "worker/text/chat_template.h"
#include "worker/text/gguf_tokenizer.h"
#include "worker/text/prompt_sources.h"
#include "worker/text/sentencepiece_tokenizer.h"
#include "worker/text/special_tokens.h"
#include "worker/text/stream_decoder.h"
#include "worker/text/tokenizer_json.h"
#include "worker/text/vocab_and_merges.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxTokenizerBytes = 256 << 20;

bool has_file(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// The kind of a tokenizer.json, for an error: "model BPE, pre_tokenizer Metaspace".
std::string kind_of(const json& document) {
  const auto type = [&](const char* part) -> std::string {
    if (!document.is_object() || !document.contains(part)) return "none";
    const json& value = document[part];
    return value.is_object() && value.contains("type") && value["type"].is_string()
               ? value["type"].get<std::string>()
               : "none";
  };
  return fmt::format("model {}, pre_tokenizer {}", type("model"), type("pre_tokenizer"));
}

Result<std::unique_ptr<Tokenizer>> create_bpe(Result<TokenizerDefinition> definition,
                                              const TokenizerSettings& settings,
                                              const std::filesystem::path& path) {
  if (!definition) return definition.error().with_context(path.string());
  auto tokenizer = create_tokenizer(*std::move(definition), settings);
  if (!tokenizer) return tokenizer.error().with_context(path.string());
  return tokenizer;
}

// tokenizer.json where dslad implements it, else the sentencepiece model that it was converted from.
Result<std::unique_ptr<Tokenizer>> load_json_or_model(const std::filesystem::path& dir,
                                                      const TokenizerSettings& settings) {
  const std::filesystem::path path = dir / "tokenizer.json";
  const auto document = load_json(path, kMaxTokenizerBytes);
  if (!document) return document.error();
  const bool has_model = has_file(dir / "tokenizer.model");
  if (is_bpe(*document)) {
    auto tokenizer = create_bpe(parse_tokenizer_json(*document), settings, path);
    const bool implemented = tokenizer.ok() || tokenizer.error().code != ErrorCode::kInvalidArgument;
    if (implemented || !has_model) return tokenizer;
  }
  if (has_model) {
    TokenizerSettings all = settings;
    if (document->is_object() && document->contains("added_tokens")) {
      const auto added = parse_added_tokens(&(*document)["added_tokens"]);
      if (!added) return added.error().with_context(path.string());
      all.added.insert(all.added.end(), added->begin(), added->end());
      all.mark_control(all.added);
    }
    return SentencePieceTokenizer::load(dir / "tokenizer.model", all);
  }
  return Error{
      ErrorCode::kInvalidArgument,
      fmt::format("{}: {} is not implemented, byte pair encoding (\"BPE\") is; put the sentencepiece "
                  "tokenizer.model beside it",
                  path.string(), kind_of(*document))};
}

}  // namespace

std::string Tokenizer::decode(std::span<const TokenId> ids, TextPosition position) const {
  StreamDecoder decoder(*this, position);
  std::string text;
  for (const TokenId id : ids) text += decoder.add(id);
  return text + decoder.finish();
}

Result<std::unique_ptr<Tokenizer>> load_tokenizer(const std::filesystem::path& dir) {
  if (is_gguf(dir)) return load_gguf_tokenizer(dir);
  auto settings = TokenizerSettings::load(dir);
  if (!settings) return settings.error();
  const auto sources = read_prompt_sources(dir);  // what is wrong with them is said where prompts are made
  settings->control = control_tokens(sources && sources->chat ? sources->chat->jinja : std::string(),
                                     settings->bos_name.value_or(""), settings->eos_name.value_or(""));
  settings->mark_control(settings->added);
  if (has_file(dir / "tokenizer.json")) return load_json_or_model(dir, *settings);
  if (has_file(dir / "tokenizer.model"))
    return SentencePieceTokenizer::load(dir / "tokenizer.model", *settings);
  if (has_file(dir / "vocab.json")) return create_bpe(load_vocab_and_merges(dir), *settings, dir);
  return Error{
      ErrorCode::kNotFound,
      fmt::format("{} holds no tokenizer: neither tokenizer.json nor tokenizer.model", dir.string())};
}

}  // namespace dslad::worker
