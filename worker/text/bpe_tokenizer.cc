#include "worker/text/bpe_tokenizer.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <unordered_map>
#include <utility>

#include "worker/text/byte_level.h"
#include "worker/text/text_check.h"

namespace dslad::worker {
namespace {

constexpr std::size_t kLongestKnownWord = 64;

struct IdRange {
  std::size_t begin, end;
};

std::string replace_all(std::string_view text, std::string_view what, std::string_view by) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const bool found = !what.empty() && text.substr(at).starts_with(what);
    found ? result.append(by) : result.append(1, text[at]);
    at += found ? what.size() : 1;
  }
  return result;
}

// What `token` contributes to a text.
std::string bytes_of_token(const std::string& token, const TokenDecoding& decoding) {
  if (decoding.byte_level) return byte_level_decode(token).value_or(token);
  if (decoding.byte_fallback) {
    if (const auto byte = byte_of_name(token)) return {*byte};
  }
  std::string bytes = token;
  for (const auto& [what, by] : decoding.replacements) bytes = replace_all(bytes, what, by);
  return bytes;
}

// Tables are made up to the highest id.
Status check_ids(const TokenizerDefinition& definition) {
  constexpr TokenId kHighestId = 1 << 22;
  const auto bad = [](TokenId id) { return id < 0 || id >= kHighestId; };
  const bool sound =
      std::ranges::none_of(definition.bpe.vocabulary, bad, &std::pair<std::string, TokenId>::second) &&
      std::ranges::none_of(definition.added, bad, &AddedToken::id) &&
      !bad(definition.bpe.unknown.value_or(0)) && !definition.bpe.vocabulary.empty();
  if (sound) return ok_status();
  return Error{ErrorCode::kCorrupt,
               fmt::format("the vocabulary is empty or an id is not below {}", kHighestId)};
}

// `ranges` of a text, cut to the part of it that begins at `begin`, and counted from there.
std::vector<TextRange> within(std::span<const TextRange> ranges, std::size_t begin, std::size_t size) {
  std::vector<TextRange> inside;
  for (const TextRange& range : ranges) {
    if (range.end <= begin || range.begin >= begin + size) continue;
    inside.push_back({std::max(range.begin, begin) - begin, std::min(range.end - begin, size)});
  }
  return inside;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> create_tokenizer(TokenizerDefinition definition,
                                                    const TokenizerSettings& settings) {
  return BpeTokenizer::create(std::move(definition), settings);
}

BpeTokenizer::BpeTokenizer(BpeModel model, Normalizer normalizer, PreTokenizer pre_tokenizer)
    : model_(std::move(model)),
      normalizer_(std::move(normalizer)),
      pre_tokenizer_(std::move(pre_tokenizer)) {}

Result<std::unique_ptr<Tokenizer>> BpeTokenizer::create(TokenizerDefinition definition,
                                                        const TokenizerSettings& settings) {
  // Some files have no list of added tokens: what the settings name is special.
  for (const auto& name : {settings.bos_name, settings.eos_name}) {
    if (!name) continue;
    const auto& vocabulary = definition.bpe.vocabulary;
    const auto found = std::ranges::find(vocabulary, *name, &std::pair<std::string, TokenId>::first);
    if (found != vocabulary.end()) definition.added.push_back({*name, found->second, true});
  }
  settings.mark_control(definition.added);
  const Status sound = check_ids(definition);
  if (!sound) return sound.error();
  auto model = BpeModel::create(definition.bpe);
  if (!model) return model.error();
  auto normalizer = Normalizer::create(definition.normalizer);
  if (!normalizer) return normalizer.error();
  auto pre_tokenizer = PreTokenizer::create(definition.pre_tokenizer);
  if (!pre_tokenizer) return pre_tokenizer.error();
  std::unique_ptr<BpeTokenizer> tokenizer(
      new BpeTokenizer(*std::move(model), *std::move(normalizer), *std::move(pre_tokenizer)));
  tokenizer->fill_bytes(definition);
  const Status named = tokenizer->add_names(definition);
  if (!named) return named.error();
  tokenizer->strips_first_space_ = definition.decoding.strips_first_space;
  tokenizer->choose_special(settings, definition.leading_token);
  tokenizer->special_.unknown = definition.bpe.unknown;
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

void BpeTokenizer::fill_bytes(const TokenizerDefinition& definition) {
  TokenId highest = -1;
  for (const auto& entry : definition.bpe.vocabulary) highest = std::max(highest, entry.second);
  for (const auto& token : definition.added) highest = std::max(highest, token.id);
  bytes_.resize(static_cast<std::size_t>(highest) + 1);
  for (const auto& [token, id] : definition.bpe.vocabulary) {
    bytes_[static_cast<std::size_t>(id)] = bytes_of_token(token, definition.decoding);
  }
  for (const auto& token : definition.added) {
    bytes_[static_cast<std::size_t>(token.id)] = token.special ? std::string{} : token.name;
  }
}

Status BpeTokenizer::add_names(const TokenizerDefinition& definition) {
  for (const AddedToken& token : definition.added) {
    if (names_.find(token.name)) continue;
    names_.add(token);
    if (!token.normalized) {
      names_before_.add(token);
      continue;
    }
    auto name = normalizer_.apply(token.name, TextPlace::kFirst);
    if (!name) return name.error();
    AddedToken as_written = token;
    as_written.name = *std::move(name);
    names_normalized_.add(as_written);
    // It stood for what the normalizer makes of its name; so it comes back as that.
    if (token.special) continue;
    std::string& bytes = bytes_[static_cast<std::size_t>(token.id)] = as_written.name;
    for (const auto& [what, by] : definition.decoding.replacements) bytes = replace_all(bytes, what, by);
  }
  return ok_status();
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
  TextPlace place = position == TextPosition::kBeginning ? TextPlace::kFirst : TextPlace::kContinues;
  for (const auto& segment : names_before_.split(text, special_names)) {
    if (segment.token) {
      ids.push_back(*segment.token);
    } else {
      const auto begin = static_cast<std::size_t>(segment.text.data() - text.data());
      const Status encoded =
          encode_between_tokens(segment.text, place, within(special_names, begin, segment.text.size()), ids);
      if (!encoded) return encoded.error();
    }
    place = TextPlace::kAfterToken;
  }
  return ids;
}

Status BpeTokenizer::encode_between_tokens(std::string_view text, TextPlace place,
                                           std::span<const TextRange> special_names,
                                           std::vector<TokenId>& ids) const {
  std::string normalized;
  std::vector<TextRange> ranges(special_names.begin(), special_names.end());
  if (!normalizer_.empty()) {
    // Where a place of the text comes to lie: behind as much as what is before it comes to.
    for (TextRange& range : ranges) {
      for (std::size_t* const end : {&range.begin, &range.end}) {
        if (*end == 0) continue;
        const auto before = normalizer_.apply(text.substr(0, *end), place);
        if (!before) return before.error();
        *end = before->size();
      }
    }
    auto whole = normalizer_.apply(text, place);
    if (!whole) return whole.error();
    text = normalized = *std::move(whole);
  }
  for (const auto& segment : names_normalized_.split(text, ranges)) {
    if (segment.token) {
      ids.push_back(*segment.token);
    } else {
      Status encoded = encode_words(segment.text, place, ids);
      if (!encoded) return encoded;
    }
    place = TextPlace::kAfterToken;
  }
  return ok_status();
}

Status BpeTokenizer::encode_words(std::string_view text, TextPlace place, std::vector<TokenId>& ids) const {
  const auto words = pre_tokenizer_.split(text, place);
  if (!words) return words.error();
  // Most words of a text come again: where in `ids` each was put the first time.
  std::unordered_map<std::string_view, IdRange> known;
  for (const std::string_view word : words->list) {
    if (word.size() > std::numeric_limits<std::int32_t>::max()) {
      return Error{ErrorCode::kResourceExhausted,
                   fmt::format("a word of {} bytes is too long for the tokenizer", word.size())};
    }
    const bool may_come_again = word.size() <= kLongestKnownWord;
    if (const auto found = may_come_again ? known.find(word) : known.end(); found != known.end()) {
      const auto [begin, end] = found->second;
      for (std::size_t i = begin; i < end; ++i) ids.push_back(ids[i]);
      continue;
    }
    const std::size_t begin = ids.size();
    model_.encode(word, ids);
    if (may_come_again) known.emplace(word, IdRange{begin, ids.size()});
  }
  return ok_status();
}

std::string_view BpeTokenizer::bytes_of(TokenId id) const {
  if (id < 0 || id >= vocab_size()) return {};
  return bytes_[static_cast<std::size_t>(id)];
}

}  // namespace dslad::worker
