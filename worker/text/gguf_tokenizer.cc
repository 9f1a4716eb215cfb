#include "worker/text/gguf_tokenizer.h"

#include <fmt/format.h>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/utf8.h"
#include "worker/files/gguf.h"
#include "worker/text/chat_template.h"
#include "worker/text/named_pre_tokenizer.h"
#include "worker/text/tokenizer_definition.h"
#include "worker/text/tokenizer_json.h"

namespace dslad::worker {
namespace {

constexpr std::string_view kTokens = "tokenizer.ggml.tokens", kTypes = "tokenizer.ggml.token_type",
                           kScores = "tokenizer.ggml.scores", kMerges = "tokenizer.ggml.merges",
                           kModel = "tokenizer.ggml.model", kPre = "tokenizer.ggml.pre";
constexpr std::string_view kSpaceSymbol = "\u2581";

// GGUF's kinds of tokens, as far as they are told apart here.
constexpr std::int64_t kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5;

class GgufTokenizerReader {
 public:
  explicit GgufTokenizerReader(const GgufFile& file) : file_(file) {}

  Result<std::unique_ptr<Tokenizer>> read() {
    const std::string_view model = text(kModel);
    Status status = vocabulary();
    if (!status) return status.error();
    if (model == "gpt2") {
      status = byte_level();
    } else if (model == "llama") {
      status = sentencepiece();
    } else {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("{} is \"{}\"; dslad implements \"gpt2\" and \"llama\"", kModel, model)};
    }
    if (!status) return status.error();
    return create_tokenizer(std::move(definition_), settings());
  }

 private:
  [[nodiscard]] static Error corrupt(std::string what) { return {ErrorCode::kCorrupt, std::move(what)}; }
  [[nodiscard]] std::string_view text(std::string_view key) const {
    const GgufValue* const value = file_.find(key);
    return value == nullptr ? std::string_view{} : value->text().value_or(std::string_view{});
  }
  [[nodiscard]] bool boolean(std::string_view key, bool absent) const {
    const GgufValue* const value = file_.find(key);
    return value == nullptr ? absent : value->boolean().value_or(absent);
  }
  [[nodiscard]] std::optional<TokenId> id(std::string_view key) const {
    const GgufValue* const value = file_.find(key);
    const auto held = value == nullptr ? std::nullopt : value->integer();
    if (!held || *held < 0 || *held >= static_cast<std::int64_t>(tokens_->size())) return std::nullopt;
    return static_cast<TokenId>(*held);
  }

  Status vocabulary() {
    const GgufValue* const tokens = file_.find(kTokens);
    if (tokens == nullptr) {
      return Error{ErrorCode::kNotFound, fmt::format("holds no tokenizer: {} is missing", kTokens)};
    }
    tokens_ = tokens->texts();
    if (tokens_ == nullptr || tokens_->empty())
      return corrupt(fmt::format("{} is no list of texts", kTokens));
    const GgufValue* const kinds = file_.find(kTypes);
    const GgufValue::Integers* const types = kinds == nullptr ? nullptr : kinds->integers();
    if (kinds != nullptr && (types == nullptr || types->size() != tokens_->size())) {
      return corrupt(fmt::format("{} does not have a type for each token", kTypes));
    }
    const auto control = control_names();
    for (std::size_t i = 0; i < tokens_->size(); ++i) {
      const std::int64_t type = types == nullptr ? 1 : (*types)[i];
      const std::string_view token = (*tokens_)[i];
      if (type == kUnused) continue;
      if (!valid_utf8(token)) return corrupt(fmt::format("{}: token {} is not UTF-8", kTokens, i));
      const auto token_id = static_cast<TokenId>(i);
      const bool special = type == kControl || type == kUnknown || control.contains(token);
      if (special || type == kUserDefined) {
        definition_.added.push_back({std::string(token), token_id, special});
      }
      definition_.bpe.vocabulary.emplace_back(token, token_id);
    }
    return ok_status();
  }

  // Names that are special whatever their type says; many files have it wrong.
  [[nodiscard]] std::set<std::string, std::less<>> control_names() const {
    const auto name = [&](std::string_view key) {
      const auto token = id(key);
      return token ? (*tokens_)[static_cast<std::size_t>(*token)] : std::string_view{};
    };
    auto names = control_tokens(text("tokenizer.chat_template"), name("tokenizer.ggml.bos_token_id"),
                                name("tokenizer.ggml.eos_token_id"));
    for (const std::string_view key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
      if (!name(key).empty()) names.emplace(name(key));
    }
    return names;
  }

  // Its pattern goes by a name; the file does not state it. A byte without a token is left out, as by the
  // tokenizers that these files are made from: the unknown token that a file may name is a chat model's.
  Status byte_level() {
    const auto pre_tokenizer = named_pre_tokenizer(text(kPre).empty() ? "gpt-2" : text(kPre));
    if (!pre_tokenizer) return pre_tokenizer.error().with_context(kPre);
    definition_.normalizer = pre_tokenizer->normalizer;
    definition_.pre_tokenizer = pre_tokenizer->steps;
    definition_.bpe.ignore_merges = pre_tokenizer->ignore_merges;
    definition_.decoding.byte_level = true;
    const GgufValue* const value = file_.find(kMerges);
    const GgufValue::Texts* const merges = value == nullptr ? nullptr : value->texts();
    if (merges == nullptr) return corrupt(fmt::format("{} is no list of texts", kMerges));
    for (const std::string_view merge : *merges) {
      if (!valid_utf8(merge)) return corrupt(fmt::format("{} is not UTF-8", kMerges));
      Status read = read_merge(merge, definition_.bpe);
      if (!read) return read;
    }
    return ok_status();
  }

  // A text is one word, its spaces written as a symbol.
  Status sentencepiece() {
    const GgufValue* const value = file_.find(kScores);
    const GgufValue::Numbers* const scores = value == nullptr ? nullptr : value->numbers();
    if (scores == nullptr || scores->size() != tokens_->size()) {
      return corrupt(fmt::format("{} does not have a score for each token", kScores));
    }
    for (const auto& [token, token_id] : definition_.bpe.vocabulary) {
      definition_.bpe.scores.push_back(static_cast<float>((*scores)[static_cast<std::size_t>(token_id)]));
    }
    definition_.bpe.byte_fallback = true;
    definition_.bpe.fuse_unknown = true;
    definition_.bpe.unknown = id("tokenizer.ggml.unknown_token_id");
    const bool space_first = boolean("tokenizer.ggml.add_space_prefix", true);
    if (space_first) definition_.normalizer.emplace_back(PrependStep{std::string(kSpaceSymbol)});
    definition_.normalizer.emplace_back(ReplaceStep{" ", false, std::string(kSpaceSymbol)});
    definition_.decoding.byte_fallback = true;
    definition_.decoding.replacements = {{std::string(kSpaceSymbol), " "}};
    definition_.decoding.strips_first_space = space_first;
    return ok_status();
  }

  [[nodiscard]] TokenizerSettings settings() const {
    TokenizerSettings settings;
    settings.bos_id = id("tokenizer.ggml.bos_token_id");
    settings.eos_id = id("tokenizer.ggml.eos_token_id");
    const bool llama3 = text(kPre) == "llama-bpe" || text(kPre) == "llama3" || text(kPre) == "llama-v3";
    settings.add_bos = boolean("tokenizer.ggml.add_bos_token", text(kModel) == "llama" || llama3);
    return settings;
  }

  const GgufFile& file_;
  const GgufValue::Texts* tokens_ = nullptr;
  TokenizerDefinition definition_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> load_gguf_tokenizer(const std::filesystem::path& path) {
  const auto file = GgufFile::open(path);
  if (!file) return file.error();
  auto tokenizer = GgufTokenizerReader(*file).read();
  if (!tokenizer) return tokenizer.error().with_context(path.string());
  return tokenizer;
}

}  // namespace dslad::worker
