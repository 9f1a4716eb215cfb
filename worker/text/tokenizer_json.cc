#include "worker/text/tokenizer_json.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "worker/files/json_fields.h"
#include "worker/text/pipeline_json.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr TokenId kMaxVocabularyId = 1 << 22;

Error corrupt(std::string what) {
  return {ErrorCode::kCorrupt, std::move(what)};
}

std::optional<TokenId> token_id(const json& value) {
  if (!value.is_number_integer() || value < 0 || value >= kMaxVocabularyId) return std::nullopt;
  return value.get<TokenId>();
}

Status read_merges(const json* merges, BpeDefinition& definition) {
  if (merges == nullptr || !merges->is_array()) return corrupt("model: merges is not a list");
  for (const json& merge : *merges) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      definition.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else if (merge.is_string()) {
      Status read = read_merge(merge.get_ref<const std::string&>(), definition);
      if (!read) return read;
    } else {
      return corrupt(fmt::format("merge {} is neither \"a b\" nor [\"a\", \"b\"]", definition.merges.size()));
    }
  }
  return ok_status();
}

// What the model part may ask for beyond plain byte pair encoding.
void refuse_options(JsonFields& model) {
  if (model.number("dropout", 0.0, 1.0, 0.0) != 0.0)
    model.refuse("dropout", "is for training only; set it to null");
  for (const char* const key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.text(key, "").empty()) model.refuse(key, "is not implemented");
  }
}

Status read_model(const json* model, BpeDefinition& bpe) {
  if (model == nullptr) return corrupt("has no model");
  JsonFields fields(*model, "model");
  refuse_options(fields);
  bpe.ignore_merges = fields.boolean("ignore_merges", false);
  bpe.byte_fallback = fields.boolean("byte_fallback", false);
  bpe.fuse_unknown = fields.boolean("fuse_unk", false);
  const std::string unknown = fields.text("unk_token", "");
  if (!fields.status().ok()) return fields.status();
  const json* const vocabulary = fields.find("vocab");
  Status read = read_vocabulary(vocabulary, bpe);
  if (!read) return read;
  if (!unknown.empty()) {
    if (!vocabulary->contains(unknown))
      return corrupt(fmt::format("unk_token \"{}\" is not in the vocabulary", unknown));
    bpe.unknown = token_id((*vocabulary)[unknown]);
  }
  return read_merges(fields.find("merges"), bpe);
}

// The special token that a TemplateProcessing puts first; a Sequence may hold one.
std::optional<std::string> leading_token(const json* processor) {
  if (processor == nullptr || !processor->is_object()) return std::nullopt;
  if (processor->contains("processors") && (*processor)["processors"].is_array()) {
    for (const json& inner : (*processor)["processors"]) {
      if (auto name = leading_token(&inner)) return name;
    }
    return std::nullopt;
  }
  const auto single = processor->find("single");
  if (single == processor->end() || !single->is_array() || single->empty()) return std::nullopt;
  const json& first = single->front();
  if (!first.is_object() || !first.contains("SpecialToken")) return std::nullopt;
  const json& token = first["SpecialToken"];
  if (!token.is_object() || !token.contains("id") || !token["id"].is_string()) return std::nullopt;
  return token["id"].get<std::string>();
}

}  // namespace

bool is_bpe(const json& document) {
  if (!document.is_object() || !document.contains("model")) return false;
  const json& model = document["model"];
  return model.is_object() && model.contains("merges") && model.value("type", json("BPE")) == "BPE";
}

Result<TokenizerDefinition> parse_tokenizer_json(const json& document) {
  JsonFields fields(document, "tokenizer");
  TokenizerDefinition definition;
  auto normalizer = parse_normalizer(fields.find("normalizer"));
  if (!normalizer) return normalizer.error();
  definition.normalizer = *std::move(normalizer);
  auto pre_tokenizer = parse_pre_tokenizer(fields.find("pre_tokenizer"));
  if (!pre_tokenizer) return pre_tokenizer.error();
  definition.pre_tokenizer = *std::move(pre_tokenizer);
  const Status model = read_model(fields.find("model"), definition.bpe);
  if (!model) return model.error();
  auto decoding = parse_decoder(fields.find("decoder"), definition);
  if (!decoding) return decoding.error();
  definition.decoding = *std::move(decoding);
  auto added = parse_added_tokens(fields.find("added_tokens"));
  if (!added) return added.error();
  definition.added = *std::move(added);
  definition.leading_token = leading_token(fields.find("post_processor"));
  return definition;
}

Status read_vocabulary(const json* vocabulary, BpeDefinition& definition) {
  if (vocabulary == nullptr || !vocabulary->is_object() || vocabulary->empty()) {
    return corrupt("the vocabulary is not an object with entries");
  }
  std::unordered_set<TokenId> seen;
  for (const auto& [token, value] : vocabulary->items()) {
    const auto id = token_id(value);
    if (!id || !seen.insert(*id).second) {
      return corrupt(fmt::format("vocabulary: \"{}\" has the id {}, not one of its own below {}", token,
                                 value.dump(-1, ' ', true, json::error_handler_t::replace),
                                 kMaxVocabularyId));
    }
    definition.vocabulary.emplace_back(token, *id);
  }
  return ok_status();
}

Status read_merge(std::string_view line, BpeDefinition& definition) {
  const std::size_t space = line.find(' ');
  if (space == 0 || space == std::string_view::npos || space + 1 == line.size()) {
    return corrupt(
        fmt::format("merge {}: \"{}\" is no pair of tokens \"a b\"", definition.merges.size(), line));
  }
  definition.merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  return ok_status();
}

}  // namespace dslad::worker
