#include "worker/text/bpe_tokenizer.h"

#include <algorithm>
#include <utility>

#include "worker/text/text_check.h"

namespace dslad::worker {

BpeTokenizer::BpeTokenizer(BpeModel model, PreTokenizer pre_tokenizer)
    : model_(std::move(model)), pre_tokenizer_(std::move(pre_tokenizer)) {}

Result<std::unique_ptr<Tokenizer>> BpeTokenizer::create(BpeFiles files, const TokenizerSettings& settings) {
  // The two-file form has no list of added tokens: what the settings name is special.
  for (const auto& name : {settings.bos_name, settings.eos_name}) {
    if (!name) continue;
    const auto found =
        std::ranges::find(files.definition.vocabulary, *name, &std::pair<std::string, TokenId>::first);
    if (found != files.definition.vocabulary.end()) files.added.push_back({*name, found->second, true});
  }
  auto model = BpeModel::create(files.definition);
  if (!model) return model.error();
  std::unique_ptr<BpeTokenizer> tokenizer(
      new BpeTokenizer(*std::move(model), std::move(files.pre_tokenizer)));
  tokenizer->fill_tables(files);
  tokenizer->choose_special(settings, files.leading_token);
  tokenizer->special_.unknown = files.definition.unknown;
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

void BpeTokenizer::fill_tables(const BpeFiles& files) {
  TokenId highest = -1;
  for (const auto& entry : files.definition.vocabulary) highest = std::max(highest, entry.second);
  for (const auto& token : files.added) highest = std::max(highest, token.id);
  bytes_.resize(static_cast<std::size_t>(highest) + 1);
  for (const auto& [token, id] : files.definition.vocabulary) bytes_[static_cast<std::size_t>(id)] = token;
  for (const auto& token : files.added) {
    bytes_[static_cast<std::size_t>(token.id)] = token.special ? std::string{} : token.name;
    names_.add(token);
  }
}

std::optional<TokenId> BpeTokenizer::id_of(const std::optional<std::string>& name) const {
  return name ? names_.find(*name) : std::nullopt;
}

void BpeTokenizer::choose_special(const TokenizerSettings& settings,
                                  const std::optional<std::string>& leading_token) {
  const auto known = [&](std::optional<TokenId> id) { return id && *id < vocab_size() ? id : std::nullopt; };
  const auto leading = id_of(leading_token);
  const auto named_bos = id_of(settings.bos_name);
  special_.bos = leading ? leading : named_bos ? named_bos : known(settings.bos_id);
  const auto named_eos = id_of(settings.eos_name);
  special_.eos = named_eos ? named_eos : known(settings.eos_id);
  special_.adds_bos = settings.add_bos.value_or(leading.has_value()) && special_.bos.has_value();
}

Result<std::vector<TokenId>> BpeTokenizer::encode(std::string_view text, TextPosition position,
                                                  std::span<const TextRange> special_names) const {
  const Status checked = check_utf8(text);
  if (!checked) return checked.error();
  std::vector<TokenId> ids;
  for (const auto& segment : names_.split(text, special_names)) {
    if (segment.token) {
      ids.push_back(*segment.token);
    } else {
      const Status encoded = encode_plain(segment.text, position, ids);
      if (!encoded) return encoded.error();
    }
    // Hugging Face puts its prefix space before each piece between tokens that stand in text.
    const bool in_text = segment.token && !segment.special;
    position = in_text ? TextPosition::kBeginning : TextPosition::kContinuation;
  }
  return ids;
}

Status BpeTokenizer::encode_plain(std::string_view text, TextPosition position,
                                  std::vector<TokenId>& ids) const {
  std::string with_space;
  if (position == TextPosition::kBeginning && pre_tokenizer_.adds_prefix_space() && !text.starts_with(' ')) {
    with_space.reserve(text.size() + 1);
    with_space += ' ';
    text = with_space += text;
  }
  const auto words = pre_tokenizer_.split(text);
  if (!words) return words.error();
  for (const std::string_view word : *words) {
    Status encoded = model_.encode(word, ids);
    if (!encoded) return encoded;
  }
  return ok_status();
}

std::string_view BpeTokenizer::bytes_of(TokenId id) const {
  if (id < 0 || id >= vocab_size()) return {};
  return bytes_[static_cast<std::size_t>(id)];
}

}  // namespace dslad::worker
