#include "worker/text/special_tokens.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "worker/files/json_fields.h"
#include "worker/files/json_file.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxSettingsBytes = 16 << 20;
constexpr std::int64_t kMaxId = 1 << 24;

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

}  // namespace

Result<TokenizerSettings> TokenizerSettings::load(const std::filesystem::path& dir) {
  const auto own = optional_object(dir / "tokenizer_config.json");
  if (!own) return own.error();
  const auto model = optional_object(dir / "config.json");
  if (!model) return model.error();
  JsonFields fields(*own, (dir / "tokenizer_config.json").string());
  JsonFields model_fields(*model, (dir / "config.json").string());

  TokenizerSettings settings;
  settings.bos_name = token_name(fields, "bos_token");
  settings.eos_name = token_name(fields, "eos_token");
  settings.unknown_name = token_name(fields, "unk_token");
  if (fields.find("add_bos_token") != nullptr) settings.add_bos = fields.boolean("add_bos_token", false);
  settings.bos_id = token_id(model_fields, "bos_token_id");
  settings.eos_id = token_id(model_fields, "eos_token_id");
  if (!fields.status().ok()) return fields.status().error();
  if (!model_fields.status().ok()) return model_fields.status().error();
  return settings;
}

void SpecialNameFinder::add(std::string name, TokenId id) {
  if (name.empty()) return;
  by_first_byte_[static_cast<unsigned char>(name.front())].emplace_back(std::move(name), id);
}

std::optional<TokenId> SpecialNameFinder::find(std::string_view name) const {
  const Entry* const entry = match(name);
  if (entry == nullptr || entry->first.size() != name.size()) return std::nullopt;
  return entry->second;
}

const SpecialNameFinder::Entry* SpecialNameFinder::match(std::string_view text) const {
  if (text.empty()) return nullptr;
  const Entry* longest = nullptr;
  for (const Entry& entry : by_first_byte_[static_cast<unsigned char>(text.front())]) {
    if (text.starts_with(entry.first) && (longest == nullptr || entry.first.size() > longest->first.size())) {
      longest = &entry;
    }
  }
  return longest;
}

std::vector<SpecialNameFinder::Segment> SpecialNameFinder::split(std::string_view text,
                                                                 std::span<const TextRange> ranges) const {
  std::vector<Segment> segments;
  std::size_t ordinary = 0;  // where the current ordinary segment begins
  const auto end_ordinary = [&](std::size_t end) {
    if (end > ordinary) segments.push_back({text.substr(ordinary, end - ordinary), std::nullopt});
  };
  for (const TextRange& range : ranges) {
    const std::size_t end = std::min(range.end, text.size());
    for (std::size_t at = range.begin; at < end;) {
      const Entry* const entry = match(text.substr(at, end - at));
      if (entry == nullptr) {
        ++at;
        continue;
      }
      end_ordinary(at);
      segments.push_back({{}, entry->second});
      at += entry->first.size();
      ordinary = at;
    }
  }
  end_ordinary(text.size());
  return segments;
}

}  // namespace dslad::worker
