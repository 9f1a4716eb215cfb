// chain.json: round trips, and an error that names the place for each thing that is wrong.
#include "worker/model/chain.h"

#include <cmath>
#include <fmt/format.h>
#include <functional>
#include <gmock/gmock.h>
#include <limits>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/worker/test_files.h"

namespace dslad::worker {
namespace {

using ::testing::HasSubstr;
using testing::TempDir;

ChainManifest full_manifest() {
  ChainManifest manifest;
  manifest.teacher_digest = "0123456789abcdef0123456789abcdef";
  manifest.layers = 3;
  manifest.program = "a test";
  manifest.version = "1.2";
  manifest.variant = *named_variant("dslad");
  manifest.variant.feature_map = kernels::FeatureMap::kNone;
  manifest.variant.sinks = 4;
  manifest.order_method = "kl";
  manifest.order = {2, 0, 1};
  manifest.evidence = {{0, AttentionEntropy{1.5, 0.25, 1.75, {1.0, 2.0}}, 0.1},
                       {1, AttentionEntropy{1.5, 0.25, 1.75, {}}, std::nullopt},
                       {2, std::nullopt, 0.01}};
  manifest.recipe = {{"seed", 7}, {"stages", {{{"name", "layer-wise"}, {"learning_rate", 1e-3}}}}};
  manifest.distilled = {{2, "layer-02.safetensors", "0123456789abcdef0123456789abcdef", {{"chained", 2.5}}},
                        {0, "layer-00.safetensors", "ffffffffffffffffffffffffffffffff", {}}};
  manifest.distilled[1].losses = nlohmann::json::object();
  manifest.distilled[1].variant = manifest.variant;
  manifest.distilled[1].variant->name = "dslad,rotary=0,states=1,expand_k=2,feature_map=softmax_pair";
  manifest.distilled[1].variant->states = 1;
  manifest.distilled[1].variant->delta = true;
  manifest.distilled[1].variant->rotary = false;
  manifest.distilled[1].variant->expand_k = 2;
  manifest.distilled[1].variant->feature_map = kernels::FeatureMap::kSoftmaxPair;
  manifest.plans = {{0, 0.0, 1.0, 1.0, {{"qa", {{"f1", 0.5}}}}},
                    {2, 0.02, 1.01, std::nullopt, nlohmann::json::object()}};
  return manifest;
}

nlohmann::json json_of(const ChainManifest& manifest) {
  const TempDir folder;
  EXPECT_TRUE(save_chain_manifest(folder.path(), manifest).ok());
  return testing::read_json(folder.path() / "chain.json");
}

TEST(ChainManifest, ComesBackAsItWasSaved) {
  const TempDir folder;
  const auto dir = chain_folder(folder.path());
  ASSERT_TRUE(save_chain_manifest(dir, full_manifest()).ok()) << "the folder is made";
  const auto loaded = load_chain_manifest(dir);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(*loaded, full_manifest());
  EXPECT_EQ(loaded->evidence_of(2)->kl, 0.01);
  EXPECT_EQ(loaded->quality_of(0)->quality, 1.0);
  EXPECT_EQ(loaded->quality_of(1), nullptr);
}

TEST(ChainManifest, LosesNothingWhereProgramsChangeItAtOnce) {
  constexpr int kPrograms = 4, kChanges = 25;
  const TempDir folder;
  ASSERT_TRUE(save_chain_manifest(folder.path(), full_manifest()).ok());
  const auto add_scores = [&](int program) {
    bool written = true;
    for (int change = 0; change < kChanges; ++change) {
      const Status status = update_chain_manifest(folder.path(), [&](Result<ChainManifest> stored) {
        if (stored) stored->plans[0].scores[fmt::format("{} {}", program, change)] = change;
        return stored;
      });
      written = written && status.ok();
    }
    return written;
  };
  std::vector<pid_t> children;
  children.reserve(kPrograms);
  for (int program = 0; program < kPrograms; ++program) {
    const pid_t child = fork();
    if (child == 0) _exit(add_scores(program) ? 0 : 1);
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "a program could not write";
  }
  const auto manifest = load_chain_manifest(folder.path());
  EXPECT_EQ(manifest->plans[0].scores.size(), 1 + kPrograms * kChanges);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1)
      << "no other file stays";
}

TEST(ChainManifest, StaysAsItIsWhereAChangeFails) {
  const TempDir folder;
  ASSERT_TRUE(save_chain_manifest(folder.path(), full_manifest()).ok());
  const auto change_to = [&](const Result<ChainManifest>& changed) {
    return update_chain_manifest(folder.path(), [&](const Result<ChainManifest>&) { return changed; });
  };
  EXPECT_EQ(change_to(Error{ErrorCode::kRefused, "no"}).error().code, ErrorCode::kRefused);
  ChainManifest wrong = full_manifest();
  wrong.order = {0, 0, 1};
  EXPECT_EQ(change_to(wrong).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(*load_chain_manifest(folder.path()), full_manifest());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(ChainManifest, IsMadeByAChangeWhereThereIsNone) {
  const TempDir folder;
  const auto dir = chain_folder(folder.path());
  const auto make = [](const Result<ChainManifest>& stored) -> Result<ChainManifest> {
    EXPECT_EQ(stored.error().code, ErrorCode::kNotFound);
    return full_manifest();
  };
  EXPECT_TRUE(update_chain_manifest(dir, make).ok());
  EXPECT_EQ(*load_chain_manifest(dir), full_manifest());
}

TEST(ChainManifest, AChainThatHasOnlyBegunComesBackToo) {
  ChainManifest manifest;
  manifest.teacher_digest = "d";
  manifest.layers = 1;
  manifest.program = manifest.version = "x";
  manifest.order_method = "index";
  manifest.order = {0};
  const TempDir folder;
  ASSERT_TRUE(save_chain_manifest(folder.path(), manifest).ok());
  EXPECT_EQ(*load_chain_manifest(folder.path()), manifest);
}

TEST(ChainManifest, NumbersThatAreNotFiniteAreNotSaved) {
  const TempDir folder;
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    ChainManifest manifest = full_manifest();
    manifest.plans[1].kl = bad;
    EXPECT_FALSE(save_chain_manifest(folder.path(), manifest).ok());
    manifest = full_manifest();
    manifest.evidence[0].entropy->last = bad;
    EXPECT_FALSE(save_chain_manifest(folder.path(), manifest).ok());
  }
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "chain.json"));
}

TEST(ChainManifest, AMissingFileIsNotFoundAndNamed) {
  const TempDir folder;
  const auto loaded = load_chain_manifest(folder.path());
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(loaded.error().message, HasSubstr("chain.json"));
}

// Every required key of every object that the format defines.
TEST(ChainManifest, EachMissingOrUnknownKeyIsRefusedByName) {
  const nlohmann::json good = json_of(full_manifest());
  const std::vector<std::pair<std::string, std::vector<std::string>>> objects = {
      {"", {"format", "teacher", "made_by", "variant", "order", "recipe", "layers", "plans"}},
      {"/teacher", {"digest", "layers"}},
      {"/made_by", {"program", "version"}},
      {"/variant", {"name", "rotary", "feature_map", "output_norm", "alpha_per_head", "window"}},
      {"/order", {"method", "layers", "evidence"}},
      {"/order/evidence/0", {"layer"}},
      {"/order/evidence/0/entropy", {"last", "last_spread", "all"}},
      {"/layers/0", {"layer", "file", "checksum", "losses"}},
      {"/plans/1", {"plan", "scores"}}};
  const auto refusal = [](const nlohmann::json& document) {
    const auto parsed = parse_chain_manifest(document.dump(), "the file");
    return parsed.ok() ? "accepted" : parsed.error().message;
  };
  EXPECT_EQ(refusal(good), "accepted");
  for (const auto& [place, keys] : objects) {
    for (const std::string& key : keys) {
      nlohmann::json document = good;
      document[nlohmann::json::json_pointer(place)].erase(key);
      EXPECT_THAT(refusal(document), ::testing::AllOf(HasSubstr("the file"), HasSubstr(key + " is absent")))
          << place;
    }
    nlohmann::json document = good;
    document[nlohmann::json::json_pointer(place)]["surprise"] = 3;
    EXPECT_THAT(refusal(document), HasSubstr("surprise is 3: the key is unknown")) << place;
  }
}

struct BadValue {
  std::string place;
  nlohmann::json value;
  std::string message;  // part of it
};

class MalformedManifest : public ::testing::TestWithParam<BadValue> {};

TEST_P(MalformedManifest, IsRefusedNamingFileFieldAndValue) {
  nlohmann::json document = json_of(full_manifest());
  document[nlohmann::json::json_pointer(GetParam().place)] = GetParam().value;
  const auto parsed = parse_chain_manifest(document.dump(), "the file");
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(parsed.error().message, ::testing::StartsWith("the file"));
  EXPECT_THAT(parsed.error().message, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, MalformedManifest,
    ::testing::Values(
        BadValue{"", nlohmann::json::array(), "expected a JSON object"},
        BadValue{"/format", 2, "format is 2: this program reads format 1"},
        BadValue{"/format", "1", "format is \"1\""},
        BadValue{"/teacher", 3, "teacher: expected a JSON object"},
        BadValue{"/teacher/digest", "", "digest is \"\""}, BadValue{"/teacher/digest", 5, "digest is 5"},
        BadValue{"/teacher/layers", 0, "layers is 0"}, BadValue{"/teacher/layers", 2, "layers is [2,0,1]"},
        BadValue{"/teacher/layers", 4, "each of the teacher's 4 layers"},
        BadValue{"/made_by/program", "", "program is \"\""},
        BadValue{"/made_by/version", false, "version is false"},
        BadValue{"/variant", nullptr, "variant is absent"}, BadValue{"/variant/name", "", "name is \"\""},
        BadValue{"/variant/rotary", 1, "rotary is 1"},
        BadValue{"/variant/feature_map", "relu", "feature_map is \"relu\": feature map 'relu' is unknown"},
        BadValue{"/variant/feature_map", "elu", "'elu' is unknown; use none, softmax or softmax_pair"},
        BadValue{"/variant/output_norm", "yes", "output_norm is \"yes\""},
        BadValue{"/variant/alpha_per_head", 0, "alpha_per_head is 0"},
        BadValue{"/variant/sinks", 17, "sinks is 17"}, BadValue{"/variant/sinks", -1, "sinks is -1"},
        BadValue{"/variant/window", -1, "window is -1"}, BadValue{"/variant/window", 1.5, "window is 1.5"},
        BadValue{"/variant/alpha_per_head", false, "alpha_per_head is false: must be as output_norm is"},
        BadValue{"/order/method", "", "method is \"\""}, BadValue{"/order/layers", {0, 1}, "layers is [0,1]"},
        BadValue{"/order/layers", {0, 1, 1}, "names layer 1 twice"},
        BadValue{"/order/layers", {0, 1, 3}, "layers is [0,1,3]"},
        BadValue{"/order/layers", {0, 1, 1.5}, "layers is [0,1,1.5]"},
        BadValue{"/order/layers", {{"a", 1}}, "layers is {\"a\":1}"},
        BadValue{"/order/evidence", 7, "evidence is 7"},
        BadValue{"/order/evidence/1", 7, "order: evidence[1]: expected a JSON object"},
        BadValue{"/order/evidence/1/layer", 3, "evidence[1]: layer is 3"},
        BadValue{"/order/evidence/1/layer", 0, "evidence[1]: layer is 0: appears twice"},
        BadValue{"/order/evidence/0/kl", -0.5, "kl is -0.5"},
        BadValue{"/order/evidence/0/entropy/last", -1, "entropy: last is -1"},
        BadValue{"/order/evidence/0/entropy/last_spread", "a", "last_spread is \"a\""},
        BadValue{"/order/evidence/0/entropy/all", true, "all is true"},
        BadValue{"/order/evidence/0/entropy/heads", {1, -1}, "heads is [1,-1]"},
        BadValue{"/order/evidence/0/entropy/heads", 1, "heads is 1"}, BadValue{"/recipe", 1, "recipe is 1"},
        BadValue{"/layers", 1, "layers is 1: must be a list"},
        BadValue{"/layers/0/layer", 1, "layers[0]: layer is 1: the order has layer 2"},
        BadValue{"/layers/0/file", "../a", "file is \"../a\""},
        BadValue{"/layers/0/file", "", "file is \"\""},
        BadValue{"/layers/1/checksum", "abc", "layers[1]: checksum is \"abc\""},
        BadValue{"/layers/1/checksum", "0123456789ABCDEF0123456789ABCDEF", "checksum is"},
        BadValue{"/layers/1/losses", {1}, "losses is [1]"},
        BadValue{"/layers/1/variant/rotary", 2, "layers[1]: variant: rotary is 2"},
        BadValue{"/variant/states", 0, "states is 0"}, BadValue{"/variant/states", 3, "states is 3"},
        BadValue{"/layers/1/variant/delta", 1, "layers[1]: variant: delta is 1"},
        BadValue{"/variant/delta", true, "delta is true: states is 2, and the delta rule has one"},
        BadValue{"/layers/1/variant/expand_k", 0, "layers[1]: variant: expand_k is 0"},
        BadValue{"/layers/1/variant/rotary", true, "rotary=0"},
        BadValue{"/variant/window", 0, "there is no window that could see them"},
        BadValue{"/layers/1/variant/sinks", 3, "must have the chain's"},
        BadValue{"/layers/1/variant/window", 63,
                 "must have the chain's output_norm, alpha_per_head, window and sinks"},
        BadValue{"/plans/1/plan", 3, "plans[1]: plan is 3"},
        BadValue{"/plans/1/plan", 0, "plans[1]: plan is 0: plans must ascend"},
        BadValue{"/plans/1/kl", -1, "kl is -1"}, BadValue{"/plans/1/kl", "low", "kl is \"low\""},
        BadValue{"/plans/1/perplexity_ratio", -1, "perplexity_ratio is -1"},
        BadValue{"/plans/1/quality", -0.1, "quality is -0.1"},
        BadValue{"/plans/1/scores", 1, "scores is 1"}));

TEST(ChainManifest, MoreDistilledLayersThanTheModelHasAreRefused) {
  nlohmann::json document = json_of(full_manifest());
  nlohmann::json layer = document["layers"][0];
  layer["layer"] = 1;
  document["layers"].push_back(layer);
  document["layers"].push_back(layer);
  const auto parsed = parse_chain_manifest(document.dump(), "the file");
  ASSERT_FALSE(parsed.ok());
  EXPECT_THAT(parsed.error().message, HasSubstr("layers[3]: layer is 1"));
}

TEST(ChainManifest, DamagedTextIsAnErrorAndNeverACrash) {
  const std::string good = json_of(full_manifest()).dump();
  EXPECT_EQ(parse_chain_manifest(good.substr(0, 200), "the file").error().code, ErrorCode::kCorrupt);
  std::mt19937_64 random(1);
  for (int i = 0; i < 5000; ++i) {
    const auto parsed = parse_chain_manifest(testing::mutate(good, random), "the file");
    if (!parsed) {
      EXPECT_THAT(parsed.error().message, ::testing::StartsWith("the file"));
    }
  }
}

TEST(NamedVariant, IsThePapersOrOursAndNothingElse) {
  EXPECT_EQ(*named_variant("paper"), DslaVariant{});
  EXPECT_TRUE(named_variant("dslad")->rotary);
  const auto unknown = named_variant("mamba");
  ASSERT_FALSE(unknown.ok());
  EXPECT_THAT(unknown.error().message, HasSubstr("mamba"));
}

}  // namespace
}  // namespace dslad::worker
