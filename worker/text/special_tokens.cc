#include "worker/text/special_tokens.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "worker/files/json_fields.h"
#include "worker/files/json_file.h"
#include "worker/text/code_points.h"
#include "worker/text/unicode_text.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxSettingsBytes = 16 << 20;
constexpr std::int64_t kMaxId = 1 << 24;
constexpr std::int64_t kMaxAddedId = 1 << 22;  // a table is made up to it

// The object of a file that may be absent: then an empty one.
Result<json> optional_object(const std::filesystem::path& path) {
  auto document = load_json(path, kMaxSettingsBytes);
  if (document.ok()) return document;
  if (document.error().code == ErrorCode::kNotFound) return json::object();
  return document.error();
}

// "<s>" or {"content": "<s>", ...}
std::optional<std::string> token_name(JsonFields& fields, const char* key) {
  const json* const value = fields.find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  if (value->is_object() && value->contains("content") && (*value)["content"].is_string()) {
    return (*value)["content"].get<std::string>();
  }
  fields.refuse(key, "must be a token's text or an object with its \"content\"");
  return std::nullopt;
}

// One id; the first of a list.
std::optional<TokenId> token_id(JsonFields& fields, const char* key) {
  const json* const value = fields.find(key);
  if (value == nullptr || (value->is_array() && value->empty())) return std::nullopt;
  const json& id = value->is_array() ? value->front() : *value;
  if (id.is_number_integer() && id >= 0 && id < kMaxId) return id.get<TokenId>();
  fields.refuse(key, "must be a token id");
  return std::nullopt;
}

// What a file says of one added token.
AddedToken added_token(JsonFields& fields, TokenId id) {
  AddedToken token{fields.text("content", ""), id, fields.boolean("special", false)};
  token.normalized = fields.boolean("normalized", !token.special);
  token.lstrip = fields.boolean("lstrip", false);
  token.rstrip = fields.boolean("rstrip", false);
  token.single_word = fields.boolean("single_word", false);
  return token;
}

// {"32000": {"content": "<|im_start|>", "special": true}, ...}
void read_decoder(JsonFields& fields, std::vector<AddedToken>& added) {
  const json* const decoder = fields.find("added_tokens_decoder");
  if (decoder == nullptr) return;
  if (!decoder->is_object()) return fields.refuse("added_tokens_decoder", "must be an object");
  for (const auto& [key, value] : decoder->items()) {
    TokenId id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id >= kMaxAddedId) {
      return fields.refuse("added_tokens_decoder", "must have token ids as keys");
    }
    JsonFields token(value, "added_tokens_decoder: " + key);
    added.push_back(added_token(token, id));
    if (!token.status()) return fields.refuse("added_tokens_decoder", token.status().error().message);
  }
}

// Whether no word goes on at either end of text[begin, end).
bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
  const bool word_before = begin > 0 && is_word_character(code_point_before(text, begin).value);
  return !word_before && (end == text.size() || !is_word_character(code_point_at(text, end).value));
}

// Where the white space begins that ends before `end`.
std::size_t without_spaces_before(std::string_view text, std::size_t end) {
  while (end > 0) {
    const CodePoint character = code_point_before(text, end);
    if (!is_white_space(character.value)) break;
    end -= character.length;
  }
  return end;
}

// Where the white space ends that begins at `begin`.
std::size_t behind_spaces(std::string_view text, std::size_t begin) {
  while (begin < text.size()) {
    const CodePoint character = code_point_at(text, begin);
    if (!is_white_space(character.value)) break;
    begin += character.length;
  }
  return begin;
}

// {"<|im_start|>": 32000, ...}: the older form, which does not say what is special; names like these are.
Status read_names(const std::filesystem::path& path, std::vector<AddedToken>& added) {
  const auto names = optional_object(path);
  if (!names) return names.error();
  if (!names->is_object()) {
    return Error{ErrorCode::kCorrupt, path.string() + ": is not an object of names and ids"};
  }
  for (const auto& [name, id] : names->items()) {
    if (!id.is_number_integer() || id < 0 || id >= kMaxAddedId) {
      return Error{ErrorCode::kCorrupt, path.string() + ": an id is no token id"};
    }
    const bool known = std::ranges::find(added, name, &AddedToken::name) != added.end();
    if (!known) added.push_back({name, id.get<TokenId>(), true});
  }
  return ok_status();
}

}  // namespace

Result<std::vector<AddedToken>> parse_added_tokens(const json* list) {
  std::vector<AddedToken> added;
  if (list == nullptr || list->is_null()) return added;
  if (!list->is_array()) return Error{ErrorCode::kCorrupt, "added_tokens is not a list"};
  for (const json& entry : *list) {
    JsonFields fields(entry, "added_tokens");
    const auto id = static_cast<TokenId>(fields.integer("id", 0, kMaxAddedId - 1));
    added.push_back(added_token(fields, id));
    if (!fields.status().ok()) return fields.status().error();
  }
  return added;
}

Result<TokenizerSettings> TokenizerSettings::load(const std::filesystem::path& dir) {
  const auto own = optional_object(dir / "tokenizer_config.json");
  if (!own) return own.error();
  const auto map = optional_object(dir / "special_tokens_map.json");
  if (!map) return map.error();
  const auto model = optional_object(dir / "config.json");
  if (!model) return model.error();
  JsonFields fields(*own, (dir / "tokenizer_config.json").string());
  JsonFields map_fields(*map, (dir / "special_tokens_map.json").string());
  JsonFields model_fields(*model, (dir / "config.json").string());

  TokenizerSettings settings;
  const auto named = [&](const char* key) {
    const auto own_name = token_name(fields, key);
    return own_name ? own_name : token_name(map_fields, key);
  };
  settings.bos_name = named("bos_token");
  settings.eos_name = named("eos_token");
  settings.unknown_name = named("unk_token");
  if (fields.find("add_bos_token") != nullptr) settings.add_bos = fields.boolean("add_bos_token", false);
  settings.bos_id = token_id(model_fields, "bos_token_id");
  settings.eos_id = token_id(model_fields, "eos_token_id");
  read_decoder(fields, settings.added);
  const Status listed = read_names(dir / "added_tokens.json", settings.added);
  if (!listed) return listed.error();
  if (!fields.status().ok()) return fields.status().error();
  if (!map_fields.status().ok()) return map_fields.status().error();
  if (!model_fields.status().ok()) return model_fields.status().error();
  return settings;
}

void TokenizerSettings::mark_control(std::vector<AddedToken>& tokens) const {
  for (AddedToken& token : tokens) token.special = token.special || control.contains(token.name);
}

void SpecialNameFinder::add(const AddedToken& token) {
  if (token.name.empty()) return;
  only_special_ = only_special_ && token.special;
  by_first_byte_[static_cast<unsigned char>(token.name.front())].push_back(token);
}

std::optional<TokenId> SpecialNameFinder::find(std::string_view name) const {
  if (name.empty()) return std::nullopt;
  const auto& entries = by_first_byte_[static_cast<unsigned char>(name.front())];
  const auto found = std::ranges::find(entries, name, &AddedToken::name);
  return found == entries.end() ? std::nullopt : std::optional(found->id);
}

std::optional<TokenId> SpecialNameFinder::find_special(std::string_view name) const {
  if (name.empty()) return std::nullopt;
  const auto& entries = by_first_byte_[static_cast<unsigned char>(name.front())];
  const auto found = std::ranges::find_if(
      entries, [&](const AddedToken& entry) { return entry.special && entry.name == name; });
  return found == entries.end() ? std::nullopt : std::optional(found->id);
}

std::string_view SpecialNameFinder::name_of(TokenId id) const {
  for (const auto& entries : by_first_byte_) {
    for (const AddedToken& entry : entries) {
      if (entry.special && entry.id == id) return entry.name;
    }
  }
  return {};
}

const AddedToken* SpecialNameFinder::match(std::string_view text, std::size_t at,
                                           const TextRange* range) const {
  const std::string_view rest = text.substr(at);
  const AddedToken* longest = nullptr;
  for (const AddedToken& entry : by_first_byte_[static_cast<unsigned char>(rest.front())]) {
    if (longest != nullptr && entry.name.size() <= longest->name.size()) continue;
    if (!rest.starts_with(entry.name)) continue;
    const std::size_t end = at + entry.name.size();
    const bool across = range != nullptr && end > range->begin && (at < range->begin || end > range->end);
    if (!entry.special || !across) longest = &entry;
  }
  return longest;
}

std::vector<SpecialNameFinder::Segment> SpecialNameFinder::split(std::string_view text,
                                                                 std::span<const TextRange> ranges) const {
  std::vector<Segment> segments;
  std::size_t ordinary = 0;  // where the current ordinary segment begins
  const auto end_ordinary = [&](std::size_t end) {
    if (end > ordinary) segments.push_back({text.substr(ordinary, end - ordinary), std::nullopt, false});
  };
  auto range = ranges.begin();
  for (std::size_t at = 0; at < text.size();) {
    while (range != ranges.end() && range->end <= at) ++range;
    const bool inside = range != ranges.end() && range->begin <= at;
    if (!inside && only_special_) {
      if (range == ranges.end()) break;
      at = range->begin;
      continue;
    }
    const AddedToken* const entry = match(text, at, range == ranges.end() ? nullptr : &*range);
    if (entry == nullptr) {
      ++at;
      continue;
    }
    const std::size_t end = at + entry->name.size();
    const bool counts = (inside || !entry->special) && (!entry->single_word || stands_alone(text, at, end));
    if (counts) {
      end_ordinary(entry->lstrip ? std::max(ordinary, without_spaces_before(text, at)) : at);
      segments.push_back({{}, entry->id, entry->special});
      ordinary = entry->rstrip ? behind_spaces(text, end) : end;
    }
    at = std::max(end, ordinary);
  }
  end_ordinary(text.size());
  return segments;
}

}  // namespace dslad::worker
