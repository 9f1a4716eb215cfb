#include "worker/text/bpe_files.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "worker/files/json_fields.h"
#include "worker/files/json_file.h"
#include "worker/files/read_file.h"
#include "worker/text/byte_level.h"
#include "worker/text/text_check.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxVocabularyBytes = 64 << 20;
constexpr TokenId kMaxId = 1 << 22;

Error corrupt(std::string what) {
  return {ErrorCode::kCorrupt, std::move(what)};
}

std::optional<TokenId> token_id(const json& value) {
  if (!value.is_number_integer() || value < 0 || value >= kMaxId) return std::nullopt;
  return value.get<TokenId>();
}

// Tokens written in other characters than the byte-level alphabet can only be special ones.
Status read_vocabulary(const json* vocabulary, BpeFiles& files) {
  if (vocabulary == nullptr || !vocabulary->is_object() || vocabulary->empty()) {
    return corrupt("the vocabulary is not an object with entries");
  }
  std::unordered_set<TokenId> seen;
  for (const auto& [token, value] : vocabulary->items()) {
    const auto id = token_id(value);
    if (!id || !seen.insert(*id).second) {
      return corrupt(fmt::format("vocabulary: \"{}\" has the id {}, not one of its own below {}", token,
                                 value.dump(-1, ' ', true, json::error_handler_t::replace), kMaxId));
    }
    if (auto bytes = byte_level_decode(token)) {
      files.definition.vocabulary.emplace_back(*std::move(bytes), *id);
    } else {
      files.added.push_back({token, *id, true});
    }
  }
  return ok_status();
}

// `left` and `right` as the file writes them.
Status add_merge(std::string_view left, std::string_view right, BpeDefinition& definition) {
  auto left_bytes = byte_level_decode(left);
  auto right_bytes = byte_level_decode(right);
  if (!left_bytes || !right_bytes || left.empty() || right.empty()) {
    return corrupt(fmt::format("merge {}: \"{} {}\" is no pair of byte-level tokens",
                               definition.merges.size(), left, right));
  }
  definition.merges.emplace_back(*std::move(left_bytes), *std::move(right_bytes));
  return ok_status();
}

// "left right"
Status add_merge(std::string_view line, BpeDefinition& definition) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos) return add_merge(line, "", definition);
  return add_merge(line.substr(0, space), line.substr(space + 1), definition);
}

Status read_merges(const json* merges, BpeDefinition& definition) {
  if (merges == nullptr || !merges->is_array()) return corrupt("model: merges is not a list");
  for (const json& merge : *merges) {
    const bool is_pair =
        merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
    if (!is_pair && !merge.is_string()) {
      return corrupt(fmt::format("merge {} is neither \"a b\" nor [\"a\", \"b\"]", definition.merges.size()));
    }
    Status added = is_pair ? add_merge(merge[0].get_ref<const std::string&>(),
                                       merge[1].get_ref<const std::string&>(), definition)
                           : add_merge(merge.get_ref<const std::string&>(), definition);
    if (!added) return added;
  }
  return ok_status();
}

// What the model part may ask for beyond plain byte pair encoding.
void refuse_options(JsonFields& model) {
  if (model.number("dropout", 0.0, 1.0, 0.0) != 0.0)
    model.refuse("dropout", "is for training only; set it to null");
  if (model.boolean("byte_fallback", false))
    model.refuse("byte_fallback", "is not implemented for tokenizer.json");
  for (const char* const key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.text(key, "").empty()) model.refuse(key, "is not implemented");
  }
}

Status read_model(const json* model, BpeFiles& files) {
  if (model == nullptr) return corrupt("has no model");
  JsonFields fields(*model, "model");
  refuse_options(fields);
  files.definition.ignore_merges = fields.boolean("ignore_merges", false);
  const std::string unknown = fields.text("unk_token", "");
  if (!fields.status().ok()) return fields.status();
  const json* const vocabulary = fields.find("vocab");
  Status read = read_vocabulary(vocabulary, files);
  if (!read) return read;
  if (!unknown.empty()) {
    if (!vocabulary->contains(unknown))
      return corrupt(fmt::format("unk_token \"{}\" is not in the vocabulary", unknown));
    files.definition.unknown = token_id((*vocabulary)[unknown]);
  }
  return read_merges(fields.find("merges"), files.definition);
}

// Only an absent normalizer, or an empty list of them, leaves text as it is.
Status check_normalizer(const json* normalizer) {
  if (normalizer == nullptr) return ok_status();
  JsonFields fields(*normalizer, "normalizer");
  const std::string type = fields.text("type", "");
  const json* const list = fields.find("normalizers");
  if (type == "Sequence" && list != nullptr && list->empty()) return ok_status();
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("the normalizer \"{}\" is not implemented; use a tokenizer without one", type)};
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

Status read_merges_text(std::string_view text, BpeDefinition& definition) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (definition.merges.empty() && line.starts_with("#version"))) continue;
    Status added = add_merge(line, definition);
    if (!added) return added;
  }
  return ok_status();
}

}  // namespace

bool is_byte_level_bpe(const json& document) {
  if (!document.is_object() || !document.contains("model") || !document.contains("pre_tokenizer"))
    return false;
  const json& model = document["model"];
  // Old files do not name the type of a BPE.
  const bool bpe = model.is_object() && model.contains("merges") && model.value("type", json("BPE")) == "BPE";
  return bpe && PreTokenizer::is_byte_level(document["pre_tokenizer"]);
}

Result<BpeFiles> parse_tokenizer_json(const json& document) {
  JsonFields fields(document, "tokenizer");
  const Status plain = check_normalizer(fields.find("normalizer"));
  if (!plain) return plain.error();
  const json* const description = fields.find("pre_tokenizer");
  if (description == nullptr) return corrupt("has no pre_tokenizer");
  auto pre_tokenizer = PreTokenizer::parse(*description);
  if (!pre_tokenizer) return pre_tokenizer.error();
  BpeFiles files{
      .definition = {}, .added = {}, .pre_tokenizer = *std::move(pre_tokenizer), .leading_token = {}};
  const Status model = read_model(fields.find("model"), files);
  if (!model) return model.error();
  const auto added = parse_added_tokens(fields.find("added_tokens"));
  if (!added) return added.error();
  files.added.insert(files.added.end(), added->begin(), added->end());
  files.leading_token = leading_token(fields.find("post_processor"));
  return files;
}

Result<BpeFiles> load_vocab_and_merges(const std::filesystem::path& dir) {
  const std::filesystem::path vocabulary_path = dir / "vocab.json";
  const std::filesystem::path merges_path = dir / "merges.txt";
  const auto vocabulary = load_json(vocabulary_path, kMaxVocabularyBytes);
  if (!vocabulary) return vocabulary.error();
  const auto merges = read_file(merges_path, kMaxVocabularyBytes);
  if (!merges) return merges.error();
  const Status text = check_utf8(*merges);
  if (!text) return text.error().with_context(merges_path.string());
  auto pre_tokenizer = PreTokenizer::gpt2();
  if (!pre_tokenizer) return pre_tokenizer.error();
  BpeFiles files{
      .definition = {}, .added = {}, .pre_tokenizer = *std::move(pre_tokenizer), .leading_token = {}};
  const Status tokens = read_vocabulary(&*vocabulary, files);
  if (!tokens) return tokens.error().with_context(vocabulary_path.string());
  const Status pairs = read_merges_text(*merges, files.definition);
  if (!pairs) return pairs.error().with_context(merges_path.string());
  return files;
}

}  // namespace dslad::worker
