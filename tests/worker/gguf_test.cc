#include "worker/files/gguf.h"

#include <cmath>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <variant>

#include "tests/worker/test_files.h"
#include "worker/files/model_path.h"
#include "worker/model/config.h"
#include "worker/model/gguf_tensors.h"
#include "worker/model/weight_files.h"

namespace dslad::worker {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Writes the format field by field, well or badly.
class GgufText {
 public:
  explicit GgufText(std::uint64_t tensors, std::uint64_t entries, std::uint32_t version = 3) {
    bytes_ = "GGUF";
    put(version).put(tensors).put(entries);
  }
  template <typename T>
  GgufText& put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufText& text(std::string_view value) {
    put(std::uint64_t{value.size()});
    bytes_ += value;
    return *this;
  }
  GgufText& number(std::string_view key, std::uint32_t value) {
    return text(key).put(std::uint32_t{4}).put(value);
  }
  GgufText& words(std::string_view key, std::string_view value) {
    return text(key).put(std::uint32_t{8}).text(value);
  }
  GgufText& tensor(std::string_view name, const std::vector<std::uint64_t>& sizes, std::uint32_t type,
                   std::uint64_t offset) {
    text(name).put(static_cast<std::uint32_t>(sizes.size()));
    for (const std::uint64_t size : sizes) put(size);
    return put(type).put(offset);
  }
  std::string data(std::size_t size) {
    bytes_.resize((bytes_.size() + 31) / 32 * 32, '\0');
    return bytes_ + std::string(size, '\x3c');
  }
  [[nodiscard]] std::string done() const { return bytes_; }

 private:
  std::string bytes_;
};

Result<GgufFile::Contents> contents_of(const std::string& file) {
  return parse_gguf(std::as_bytes(std::span(file)), "model.gguf");
}

std::string gguf_refusal(const std::string& file, ErrorCode code = ErrorCode::kCorrupt) {
  const auto contents = contents_of(file);
  if (contents.ok()) return "(accepted)";
  EXPECT_EQ(contents.error().code, code);
  return contents.error().message;
}

TEST(Gguf, ReadsEveryKindOfValue) {
  GgufText text(0, 6);
  text.number("count", 7).words("name", "ein Modell").text("share").put(std::uint32_t{6}).put(0.5f);
  text.text("yes").put(std::uint32_t{7}).put(std::uint8_t{1});
  text.text("words").put(std::uint32_t{9}).put(std::uint32_t{8}).put(std::uint64_t{2}).text("a").text("");
  text.text("types").put(std::uint32_t{9}).put(std::uint32_t{5}).put(std::uint64_t{2});
  text.put(std::int32_t{-3}).put(std::int32_t{4});
  const std::string file = text.done();
  const auto contents = contents_of(file);
  ASSERT_TRUE(contents.ok()) << contents.error().message;
  const auto& values = contents->metadata;
  EXPECT_EQ(values.at("count").integer(), 7);
  EXPECT_EQ(values.at("count").number(), 7.0);
  EXPECT_EQ(values.at("count").text(), std::nullopt);
  EXPECT_EQ(values.at("name").text(), "ein Modell");
  EXPECT_EQ(values.at("share").number(), 0.5);
  EXPECT_EQ(values.at("share").integer(), std::nullopt);
  EXPECT_EQ(values.at("yes").boolean(), true);
  ASSERT_NE(values.at("words").texts(), nullptr);
  EXPECT_THAT(*values.at("words").texts(), ElementsAre("a", ""));
  ASSERT_NE(values.at("types").integers(), nullptr);
  EXPECT_THAT(*values.at("types").integers(), ElementsAre(-3, 4));
}

TEST(Gguf, WhatIsWrongIsNamed) {
  EXPECT_THAT(gguf_refusal("GGUZ"), HasSubstr("no GGUF file"));
  EXPECT_THAT(gguf_refusal(GgufText(0, 0, 1).done(), ErrorCode::kInvalidArgument), HasSubstr("version 1"));
  EXPECT_THAT(gguf_refusal(GgufText(0, 0, 0x03000000).done(), ErrorCode::kInvalidArgument),
              HasSubstr("big-endian"));
  EXPECT_THAT(gguf_refusal(GgufText(1u << 30, 1).done()), HasSubstr("claims"));
  EXPECT_THAT(gguf_refusal(GgufText(0, ~std::uint64_t{0}).done()), HasSubstr("claims"));
  EXPECT_THAT(gguf_refusal(GgufText(0, 2).number("a", 1).number("a", 2).done()), HasSubstr("\"a\" twice"));
  EXPECT_THAT(gguf_refusal(GgufText(0, 1).text("a").put(std::uint32_t{99}).put(1).done()),
              HasSubstr("type 99"));
  EXPECT_THAT(gguf_refusal(GgufText(0, 1).text("list").put(9u).put(9u).put(std::uint64_t{1}).done()),
              HasSubstr("list of the unknown type 9"));
  EXPECT_THAT(gguf_refusal(GgufText(0, 1).text("list").put(9u).put(4u).put(std::uint64_t{1} << 60).done()),
              HasSubstr("\"list\""));
  EXPECT_THAT(gguf_refusal(GgufText(0, 1).number("general.alignment", 24).done()), HasSubstr("power of two"));
  EXPECT_THAT(gguf_refusal(GgufText(1, 0).tensor("x", {1, 1, 1, 1, 1}, 0, 0).data(64)),
              HasSubstr("5 dimensions"));
  EXPECT_THAT(gguf_refusal(GgufText(1, 0).tensor("x", {1ull << 40, 1ull << 40}, 0, 0).data(64)),
              HasSubstr("overflow"));
  EXPECT_THAT(gguf_refusal(GgufText(1, 0).tensor("x", {8}, 0, 96).data(64)), HasSubstr("byte 96 of 64"));
  EXPECT_THAT(gguf_refusal(GgufText(1, 0).tensor("x", {8}, 0, 5).data(64)), HasSubstr("in steps of 32"));
}

TEST(Gguf, EveryBeginningOfAFile_IsAnError) {
  GgufText text(1, 2);
  const std::string file = text.number("a", 1).words("b", "c").tensor("x", {8}, 0, 0).done();
  ASSERT_TRUE(contents_of(file).ok());
  for (std::size_t size = 0; size < file.size(); ++size)
    EXPECT_FALSE(contents_of(file.substr(0, size)).ok()) << size;
}

std::string tensor_refusal(const std::vector<std::uint64_t>& sizes, std::uint32_t type,
                           std::uint64_t second = 64) {
  const testing::TempDir dir;
  const auto path = dir.write(
      "m.gguf",
      GgufText(2, 0).tensor("blk.0.attn_norm.weight", sizes, type, 0).tensor("y", {16}, 0, second).data(128));
  const auto weights = WeightFiles::open(path);
  return weights.ok() ? "(accepted)" : weights.error().message;
}

TEST(GgufTensors, WhatCannotBeRead_IsNamed) {
  EXPECT_EQ(tensor_refusal({16}, 0), "(accepted)");
  EXPECT_THAT(tensor_refusal({16}, 11), AllOf(HasSubstr("Q3_K"), HasSubstr("Q4_K_M")));
  EXPECT_THAT(tensor_refusal({16}, 77), HasSubstr("type 77"));
  EXPECT_THAT(tensor_refusal({16}, 8), HasSubstr("stores by 32"));
  EXPECT_THAT(tensor_refusal({64}, 0), HasSubstr("beyond the 128 bytes"));
  EXPECT_THAT(tensor_refusal({16}, 0, 32), HasSubstr("upon another"));
}

TEST(GgufTensors, HaveHuggingFaceNames) {
  EXPECT_EQ(hugging_face_name("token_embd.weight"), "model.embed_tokens.weight");
  EXPECT_EQ(hugging_face_name("output.weight"), "lm_head.weight");
  EXPECT_EQ(hugging_face_name("blk.17.attn_k.bias"), "model.layers.17.self_attn.k_proj.bias");
  EXPECT_EQ(hugging_face_name("blk.2.attn_q_norm.weight"), "model.layers.2.self_attn.q_norm.weight");
  EXPECT_EQ(hugging_face_name("blk.x.attn_q.weight"), "blk.x.attn_q.weight");
  EXPECT_EQ(hugging_face_name("rope_freqs.weight"), "rope_freqs.weight");
}

std::string unhex(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return out;
}

TEST(QuantizedBlocks, HaveTheValuesThatTheFormatsOwnReaderGives) {
  const auto golden = testing::read_json(testing::golden_path("gguf") / "blocks.json");
  for (int type = static_cast<int>(StoredType::kQ4_0); type <= static_cast<int>(StoredType::kQ6K); ++type) {
    const auto stored = static_cast<StoredType>(type);
    const auto entry =
        std::ranges::find_if(golden, [&](const auto& one) { return one["type"] == to_string(stored); });
    ASSERT_NE(entry, golden.end()) << to_string(stored);
    const std::vector<float> expected = (*entry)["values"];
    const std::string bytes = unhex((*entry)["bytes"]);
    const auto count = static_cast<std::int64_t>(expected.size());
    const TensorView view{"t", stored, {1, count}, std::as_bytes(std::span(bytes))};
    std::vector<float> actual(expected.size());
    ASSERT_TRUE(read_rows(view, 0, 1, actual.data()).ok());
    EXPECT_EQ(actual, expected) << to_string(stored);
  }
}

void expect_same_rope(const LlamaConfig& ours, const LlamaConfig& theirs) {
  const std::vector<double> actual = ours.inverse_frequencies(), expected = theirs.inverse_frequencies();
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(actual[i] / expected[i], 1, 1e-6);
}

// The files say the same of the model, in other words and another order.
void expect_same_model(const std::filesystem::path& gguf, const std::filesystem::path& folder) {
  const auto ours = LlamaConfig::load(gguf), theirs = LlamaConfig::load(folder);
  ASSERT_TRUE(ours.ok()) << ours.error().message;
  EXPECT_EQ(ours->hidden_size, theirs->hidden_size);
  EXPECT_EQ(ours->vocab_size, theirs->vocab_size);
  EXPECT_EQ(ours->context, theirs->context);
  EXPECT_EQ(ours->head_dim, theirs->head_dim);
  EXPECT_EQ(ours->architecture, theirs->architecture);
  EXPECT_EQ(ours->optional_parts(), theirs->optional_parts());
  expect_same_rope(*ours, *theirs);
  for (int layer = 0; layer < ours->layers; ++layer) EXPECT_EQ(ours->window(layer), theirs->window(layer));
  EXPECT_EQ(ours->tie_word_embeddings, theirs->tie_word_embeddings);
  EXPECT_EQ(ours->eos_token_ids, theirs->eos_token_ids);
  EXPECT_EQ(ours->bos_token_id, theirs->bos_token_id);
  EXPECT_FLOAT_EQ(static_cast<float>(ours->rms_norm_eps), static_cast<float>(theirs->rms_norm_eps));
  const auto files = WeightFiles::open(gguf), truth = WeightFiles::open(folder);
  ASSERT_TRUE(files.ok()) << files.error().message;
  for (const TensorView& view : truth->tensors()) {
    const auto found = files->require(view.name, view.shape);
    ASSERT_TRUE(found.ok()) << found.error().message;
    std::vector<float> expected(static_cast<std::size_t>(view.elements())), actual(expected.size());
    ASSERT_TRUE(read_rows(view, 0, view.rows(), expected.data()).ok());
    ASSERT_TRUE(read_rows(**found, 0, view.rows(), actual.data()).ok());
    EXPECT_EQ(actual, expected) << view.name;
  }
}

TEST(GgufModel, IsTheFolderItWasMadeFrom) {
  const auto folder = testing::golden_path("tiny_llama/gqa3_f32");
  expect_same_model(testing::golden_path("gguf/gqa3_f32.gguf"), folder);
  expect_same_model(testing::golden_path("gguf/parts-00001-of-00002.gguf"), folder);
}

TEST(GgufModel, EachFamilyIsTheFolderItWasMadeFrom) {
  for (const std::string name : {"qwen2", "qwen3", "llama3_rope", "biases", "smollm3", "mistral_window"}) {
    SCOPED_TRACE(name);
    expect_same_model(testing::golden_path("gguf/" + name + ".gguf"),
                      testing::golden_path("tiny_llama/" + name));
  }
  // The format has no word for which layers; all such models leave each fourth one out.
  const auto smollm3 = LlamaConfig::load(testing::golden_path("gguf/smollm3.gguf"));
  ASSERT_TRUE(smollm3.ok());
  EXPECT_THAT(smollm3->rotary_layers, ElementsAre(true, true, true, false));
}

// A tiny Llama's metadata without tensors, and what `more` says beside.
class LlamaMetadata {
 public:
  LlamaMetadata& number(std::string_view key, double value) {
    values_.insert_or_assign(std::string(key), value);
    return *this;
  }
  LlamaMetadata& words(std::string_view key, std::string_view value) {
    values_.insert_or_assign(std::string(key), std::string(value));
    return *this;
  }
  LlamaMetadata& flag(std::string_view key, bool value) {
    values_.insert_or_assign(std::string(key), value);
    return *this;
  }
  LlamaMetadata& without(const std::string& key) {
    values_.erase(key);
    return *this;
  }

  [[nodiscard]] Result<LlamaConfig> config() const {
    GgufText text(1, values_.size());
    for (const auto& [key, value] : values_) {
      const std::string name = key.starts_with("general.") ? key : "llama." + key;
      if (const auto* const words = std::get_if<std::string>(&value)) {
        text.words(name, *words);
      } else if (const auto* const flag = std::get_if<bool>(&value)) {
        text.text(name).put(std::uint32_t{7}).put(std::uint8_t{*flag});
      } else {
        const double number = std::get<double>(value);
        const bool whole = number == std::floor(number);
        if (whole) text.number(name, static_cast<std::uint32_t>(number));
        if (!whole) text.text(name).put(std::uint32_t{12}).put(number);
      }
    }
    const testing::TempDir dir;
    return LlamaConfig::load(
        dir.write("m.gguf", text.tensor("token_embd.weight", {16, 8}, 0, 0).data(16 * 8 * 4)));
  }
  [[nodiscard]] std::string refusal() const {
    const auto read = config();
    return read.ok() ? "(accepted)" : read.error().message;
  }

 private:
  std::map<std::string, std::variant<std::string, double, bool>> values_ = {
      {"general.architecture", "llama"},
      {"block_count", 2.0},
      {"context_length", 64.0},
      {"embedding_length", 16.0},
      {"feed_forward_length", 32.0},
      {"attention.head_count", 2.0},
      {"attention.layer_norm_rms_epsilon", 1e-5}};
};

RopeConfig rope_of(const LlamaMetadata& metadata) {
  const auto config = metadata.config();
  EXPECT_TRUE(config.ok()) << config.error().message;
  return config.ok() ? config->rope : RopeConfig{};
}

TEST(GgufConfig, ScalingIsWhatLlamaCppReads) {
  EXPECT_EQ(rope_of({}).type, RopeType::kPlain);
  for (const char* const key : {"rope.scale_linear", "rope.scaling.factor"}) {
    SCOPED_TRACE(key);
    const RopeConfig rope = rope_of(LlamaMetadata().number(key, 4));
    EXPECT_EQ(rope.type, RopeType::kLinear);
    EXPECT_EQ(rope.factor, 4.0);
    EXPECT_EQ(rope_of(LlamaMetadata().number(key, 4).words("rope.scaling.type", "none")).type,
              RopeType::kPlain);
    EXPECT_EQ(rope_of(LlamaMetadata().number(key, 0)).type, RopeType::kPlain);
  }
  LlamaMetadata yarn;
  yarn.words("rope.scaling.type", "yarn").number("rope.scaling.factor", 4);
  yarn.number("rope.scaling.original_context_length", 16).number("rope.scaling.yarn_beta_fast", 24);
  yarn.number("rope.scaling.yarn_beta_slow", 2).number("rope.scaling.yarn_ext_factor", 1);
  const RopeConfig plain = rope_of(yarn);
  EXPECT_EQ(plain.type, RopeType::kYarn);
  EXPECT_EQ(plain.original_context, 16);
  EXPECT_EQ(plain.beta_fast, 24.0);
  EXPECT_EQ(plain.beta_slow, 2.0);
  EXPECT_NEAR(plain.attention_factor, 0.1 * std::log(4.0) + 1.0, 1e-12);
  const RopeConfig louder = rope_of(yarn.number("rope.scaling.attn_factor", 1.5));
  EXPECT_NEAR(louder.attention_factor, 1.5 * plain.attention_factor, 1e-12) << "beside YaRN's own factor";
}

TEST(GgufConfig, WhatMakesAnotherGraph_IsRefusedByName) {
  EXPECT_EQ(LlamaMetadata().refusal(), "(accepted)");
  for (const char* const key :
       {"attention.clamp_kqv", "attention.max_alibi_bias", "attention.temperature_scale",
        "attention.sliding_window_pattern", "leading_dense_block_count", "rope.scaling.yarn_log_multiplier",
        "rope.scaling.yarn_attn_factor", "nobody.knows_this"}) {
    EXPECT_THAT(LlamaMetadata().number(key, 3).refusal(), HasSubstr(std::string("llama.") + key));
  }
  EXPECT_THAT(LlamaMetadata().number("rope.scaling.yarn_ext_factor", 2).refusal(), HasSubstr("ext_factor"));
  EXPECT_THAT(LlamaMetadata().number("rope.scaling.attn_factor", 2).refusal(), HasSubstr("attn_factor"));
  EXPECT_THAT(LlamaMetadata().flag("attention.causal", false).refusal(), HasSubstr("attention.causal"));
  EXPECT_THAT(LlamaMetadata().flag("use_parallel_residual", true).refusal(), HasSubstr("parallel"));
  EXPECT_THAT(LlamaMetadata().words("nobody.knows_this", "either").refusal(), HasSubstr("nobody"));
  LlamaMetadata neutral;
  neutral.number("attention.clamp_kqv", 0).flag("attention.causal", true).number("expert_used_count", 0);
  neutral.flag("use_parallel_residual", false).number("rope.scaling.yarn_attn_factor", 1);
  neutral.number("vocab_size", 8).words("tensor_data_layout", "Meta AI original pth");
  EXPECT_EQ(neutral.refusal(), "(accepted)");
}

TEST(GgufConfig, WhatLlamaCppNeedsIsNeeded_AndItsDefaultsHold) {
  for (const std::string key : {"context_length", "attention.layer_norm_rms_epsilon"})
    EXPECT_THAT(LlamaMetadata().without(key).refusal(), HasSubstr("llama." + key + " is missing"));
  const auto config = LlamaMetadata().words("general.architecture", "llama").config();
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->kv_heads, 2);
  EXPECT_EQ(config->head_dim, 8);
  EXPECT_EQ(config->rope.theta, 10000.0);
}

TEST(GgufModel, PartsBelongTogether) {
  const testing::TempDir dir;
  const auto first = dir.path() / "big-00001-of-00002.gguf";
  std::filesystem::copy_file(testing::golden_path("gguf/parts-00001-of-00002.gguf"), first);
  const auto alone = WeightFiles::open(first);
  ASSERT_FALSE(alone.ok());
  EXPECT_THAT(alone.error().message, HasSubstr("big-00002-of-00002.gguf"));
  const auto second = WeightFiles::open(dir.path() / "big-00002-of-00002.gguf");
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.error().message, HasSubstr("name the first part"));
  EXPECT_EQ(model_name(first), "big");
  EXPECT_EQ(model_companion(first, "dsla"), dir.path() / "big.dsla");
}

TEST(ModelPath, NamesAreTheRepositorysOrTheFiles) {
  EXPECT_EQ(model_name("/m/my-llama/"), "my-llama");
  EXPECT_EQ(model_name("/m/my-llama/."), "my-llama");
  EXPECT_EQ(model_name("/m/SmolLM2.Q4_1.gguf"), "SmolLM2.Q4_1");
  EXPECT_EQ(model_name("/c/hub/models--org--a-model/snapshots/0f3c"), "org/a-model");
  EXPECT_EQ(model_name("/c/hub/models--plain/snapshots/0f3c"), "plain");
  EXPECT_EQ(model_companion("/m/my-llama", "dslad.toml"), "/m/my-llama/dslad.toml");
  EXPECT_EQ(model_companion("/m/x.gguf", "dslad.toml"), "/m/x.dslad.toml");
}

// Changed in any way a file is an error or a model; what it claims is never believed beyond its end.
TEST(GgufModel, ChangedFiles_NeverCrash) {
  const std::string good = testing::read_text(testing::golden_path("gguf/gqa3_f32.gguf"));
  const std::string header = good.substr(0, 4096);
  std::mt19937_64 random(5);
  const testing::TempDir dir;
  int opened = 0;
  for (int round = 0; round < 250; ++round) {
    std::string changed = header;
    for (std::uint64_t change = 0; change <= random() % 3; ++change) {
      const std::size_t at = random() % changed.size();
      changed[at] = random() % 2 == 0 ? static_cast<char>(random())
                                      : static_cast<char>(changed[at] ^ (1 << random() % 8));
    }
    if (random() % 8 == 0) changed.erase(random() % changed.size(), 1 + random() % 16);
    const auto path = dir.write("m.gguf", changed + good.substr(header.size()));
    static_cast<void>(LlamaConfig::load(path));
    const auto weights = WeightFiles::open(path);
    if (!weights) continue;
    ++opened;
    std::vector<float> out;
    for (const TensorView& view : weights->tensors()) {
      out.resize(static_cast<std::size_t>(view.elements()));
      static_cast<void>(read_rows(view, 0, view.rows(), out.data()));  // touches every byte of the view
    }
  }
  EXPECT_GT(opened, 20);
}

}  // namespace
}  // namespace dslad::worker
