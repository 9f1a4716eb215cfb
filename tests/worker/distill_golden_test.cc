// The trainer against PyTorch in float64: losses, the gradient of every parameter, and 20 steps of each stage
// (tests/golden/make_training.py), with other layers converted below and above the one in training.
#include <cmath>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/worker/ref_training_backend.h"
#include "tests/worker/test_files.h"
#include "worker/distill/adamw.h"
#include "worker/distill/network.h"
#include "worker/model/dsla_layer.h"
#include "worker/model/safetensors.h"
#include "worker/model/weight_files.h"

namespace dslad::worker {
namespace {

using kernels::DType;
using testing::golden_path;
using testing::read_json;
using Tensors = std::map<std::string, std::vector<float>>;

Tensors read_tensors(const std::filesystem::path& path) {
  const auto file = SafetensorsFile::open(path);
  EXPECT_TRUE(file.ok());
  Tensors out;
  for (const TensorView& view : file->tensors()) {
    auto& values = out[view.name];
    values.resize(static_cast<std::size_t>(view.elements()));
    EXPECT_TRUE(read_rows(view, 0, view.rows(), values.data()).ok());
  }
  return out;
}

DslaLayerTensors layer_tensors(const Tensors& t, const std::string& prefix = "") {
  const auto get = [&](const char* name) {
    const auto found = t.find(prefix + name);
    return found == t.end() ? std::vector<float>() : found->second;
  };
  const bool delta = t.contains(prefix + "b_proj.weight");
  return {get("q_proj.weight"),  get("k_proj.weight"),
          get("v_proj.weight"),  get("o_proj.weight"),
          get("gk_proj.weight"), get(delta ? "b_proj.weight" : "gk_proj2.weight"),
          get("gk_proj.bias"),   get(delta ? "b_proj.bias" : "gk_proj2.bias"),
          get("alpha_list"),     get("o_norm.weight"),
          get("state_share"),    get("q_proj.bias"),
          get("k_proj.bias"),    get("v_proj.bias"),
          get("o_proj.bias"),    get("q_norm.weight"),
          get("k_norm.weight")};
}

std::vector<TrainingBatch> golden_batches() {
  std::vector<TrainingBatch> out;
  for (const auto& json : read_json(golden_path("training/batches.json"))) {
    TrainingBatch& batch = out.emplace_back();
    json["ids"].get_to(batch.ids);
    json["positions"].get_to(batch.positions);
    json["labels"].get_to(batch.labels);
    json["kl_weight"].get_to(batch.kl_weight);
    for (const auto& s : json["segments"]) batch.segments.push_back({s[0], s[1], s[2]});
  }
  return out;
}

std::unique_ptr<kernels::TrainingBackend> make_backend(const std::string& name) {
  if (name == "ref") return std::make_unique<testing::RefTrainingBackend>();
  return kernels::make_cpu_training_backend(2);
}

// A network with the golden layers in place.
class World {
 public:
  World(const std::string& backend, const std::string& variant)
      : folder_(golden_path("training/" + variant)),
        expected(read_json(folder_ / "expected.json")),
        gradients(read_tensors(folder_ / "gradients.safetensors")),
        batches(golden_batches()),
        backend_(make_backend(backend)) {
    const auto& v = expected["variant"];
    variant_.rotary = v["rotary"];
    variant_.feature_map = *parse_feature_map(v["feature_map"].get<std::string>());
    variant_.states = v["states"];
    variant_.delta = v.value("delta", false);  // absent where it was made before there was one, as sinks
    variant_.expand_k = v["expand_k"];
    EXPECT_EQ(v["output_norm"], v["alpha_per_head"]);
    variant_.form = v["output_norm"] ? LayerForm::kDslad : LayerForm::kPaper;
    variant_.window = v["window"];
    variant_.sinks = v.value("sinks", 0);
    auto teacher = load_teacher(golden_path("training/" + expected["teacher"].get<std::string>()), *backend_,
                                DType::kF32);
    EXPECT_TRUE(teacher.ok());
    network = std::make_unique<Network>(*backend_, *teacher, DType::kF32, variant_);
    converted.resize(network->teacher().layers.size());
    for (const int layer : expected["converted"]) {
      others_.push_back(student(layer));
      converted[static_cast<std::size_t>(layer)] = others_.back().get();
    }
    trained = student(expected["trained"]);
  }

  std::unique_ptr<StudentLayer> student(int layer) {
    const auto tensors = read_tensors(folder_ / ("layer-" + std::to_string(layer) + ".safetensors"));
    auto created =
        StudentLayer::create(*backend_, network->teacher().config, layer, variant_, layer_tensors(tensors));
    EXPECT_TRUE(created.ok());
    return *std::move(created);
  }

  Losses losses(const std::string& which, const TrainingBatch& batch, double scale) {
    if (which == "chained") {
      const auto& w = expected["chained_weights"];
      const auto result =
          network->train_chained(batch, converted, *trained, {w["ce"], w["align"], w["kl"]}, scale);
      EXPECT_TRUE(result.ok());
      return *result;
    }
    const LayerTarget target = which == "hidden" ? LayerTarget::kHiddenState : LayerTarget::kAttentionOutput;
    const auto result = network->train_layerwise(batch, converted, *trained, target, scale);
    EXPECT_TRUE(result.ok());
    Losses out;
    out.total = *result;
    return out;
  }

 private:
  std::filesystem::path folder_;
  DslaVariant variant_;

 public:
  nlohmann::json expected;
  Tensors gradients;
  std::vector<TrainingBatch> batches;

 private:
  std::unique_ptr<kernels::TrainingBackend> backend_;
  std::vector<std::unique_ptr<StudentLayer>> others_;

 public:
  std::unique_ptr<Network> network;
  StudentLayers converted;
  std::unique_ptr<StudentLayer> trained;
};

void expect_close(std::span<const float> actual, const std::vector<float>& expected,
                  const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double scale = 0, worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    scale = std::max(scale, std::abs(static_cast<double>(expected[i])));
    worst = std::max(worst, std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i])));
  }
  EXPECT_LE(worst, 1e-4 * scale) << what;
}

class Training : public ::testing::TestWithParam<std::tuple<std::string, std::string, std::string>> {};

TEST_P(Training, GivesTheLossAndEveryGradientOfPyTorch) {
  const auto& [backend, variant, which] = GetParam();
  World world(backend, variant);
  const Losses losses = world.losses(which, world.batches[0], 1.0);
  const auto& truth = world.expected["cases"][which];
  const auto near = [&](double actual, const char* part) {
    EXPECT_NEAR(actual, truth[part].get<double>(), 1e-5 * std::max(1.0, std::abs(truth[part].get<double>())))
        << part;
  };
  near(losses.total, "loss");
  if (which == "chained") {
    near(losses.ce, "ce");
    near(losses.kl, "kl");
    near(losses.align, "align");
  }
  const DslaLayerTensors expected = layer_tensors(world.gradients, which + ".");
  const StudentTensors& actual = world.trained->gradients();
  const StudentShape& shape = world.trained->shape();
  const float* row = actual.input;
  for (const auto& [part, name] : {std::pair{&expected.q, "q"},
                                   {&expected.k, "k"},
                                   {&expected.v, "v"},
                                   {&expected.g1, "G_1"},
                                   {&expected.g2, "G_2"}}) {
    expect_close({row, part->size()}, *part, name);
    row += part->size();
  }
  EXPECT_EQ(row - actual.input, shape.input_width * shape.hidden);
  expect_close({actual.output, expected.o.size()}, expected.o, "o");
  expect_close({actual.gate_bias, expected.c1.size()}, expected.c1, "c_1");
  expect_close({actual.gate_bias + shape.gate_width, expected.c2.size()}, expected.c2, "c_2");
  expect_close({actual.alpha, expected.alpha.size()}, expected.alpha, "alpha");
  if (shape.norm > 0) expect_close({actual.norm, expected.o_norm.size()}, expected.o_norm, "o_norm");
  if (shape.share > 0) expect_close({actual.share, expected.share.size()}, expected.share, "share");
  const float* bias = actual.qkv_bias;
  for (const auto* part : {&expected.q_bias, &expected.k_bias, &expected.v_bias}) {
    expect_close({bias, part->size()}, *part, "biases of q, k, v");
    bias += part->size();
  }
  EXPECT_EQ(bias - actual.qkv_bias, shape.qkv_bias);
  expect_close({actual.output_bias, static_cast<std::size_t>(shape.output_bias)}, expected.o_bias,
               "o's bias");
  expect_close({actual.q_norm, static_cast<std::size_t>(shape.qk_norm)}, expected.q_norm, "q_norm");
  expect_close({actual.k_norm, static_cast<std::size_t>(shape.qk_norm)}, expected.k_norm, "k_norm");
}

class TrainingCurve : public Training {};

TEST_P(TrainingCurve, FollowsPyTorchForTwentySteps) {
  const auto& [backend, variant, which] = GetParam();
  World world(backend, variant);
  const auto& curve = world.expected["curves"][which];
  const auto& rates = world.expected["rates"][which];
  const CosineSchedule schedule{rates["peak"], rates["lowest"], rates["warm_up"],
                                static_cast<std::int64_t>(curve.size())};
  const double projection_rate = world.expected["projection_rate"];
  AdamW optimizer({}, world.trained->value_array().size());
  for (std::size_t step = 0; step < curve.size(); ++step) {
    std::ranges::fill(world.trained->gradient_array(), 0.0f);
    const Losses losses = world.losses(which, world.batches[step % world.batches.size()], 1.0);
    const double rate = schedule.at(static_cast<std::int64_t>(step));
    const double norm = optimizer.step(world.trained->value_array(), world.trained->gradient_array(),
                                       world.trained->parameter_groups(projection_rate), rate);
    world.trained->refresh();
    EXPECT_NEAR(rate, curve[step][0].get<double>(), 1e-12) << step;
    EXPECT_NEAR(losses.total / curve[step][1].get<double>(), 1.0, 1e-3) << step;
    EXPECT_NEAR(norm / curve[step][2].get<double>(), 1.0, 1e-2) << step;
  }
}

// The tokens of a prompt, each to be foreseen from those before: their mean cross entropy by transformers'
// logits.
double cross_entropy(const nlohmann::json& truth) {
  const std::vector<std::int32_t> ids = truth["prompt_ids"];
  double sum = 0;
  for (std::size_t t = 0; t + 1 < ids.size(); ++t) {
    const std::vector<double> logits = truth["logits"][t];
    double exponentials = 0;
    for (const double logit : logits) exponentials += std::exp(logit);
    sum += std::log(exponentials) - logits[static_cast<std::size_t>(ids[t + 1])];
  }
  return sum / static_cast<double>(ids.size() - 1);
}

// Counts the rows whose logits, and whose gradients by them, are computed: products with `head`.
class CountingBackend final : public testing::RefTrainingBackend {
 public:
  void matmul(const kernels::MatmulArgs& args) override {
    if (args.b.data == head) (args.b.transposed ? forward : backward) += args.m;
    RefTrainingBackend::matmul(args);
  }
  const void* head = nullptr;
  std::int64_t forward = 0, backward = 0;
};

TEST(TrainingVocabulary, IsAskedForRowsThatCountAlone) {
  CountingBackend backend;
  const auto teacher = load_teacher(golden_path("training/teacher"), backend, DType::kF32);
  backend.head = (*teacher)->output_projection().operand().data;
  const DslaVariant variant;
  Network network(backend, *teacher, DType::kF32, variant);
  const auto files = WeightFiles::open(golden_path("training/teacher"));
  const auto initial = initial_dsla_layer(*files, (*teacher)->config, 2, variant);
  const auto student = StudentLayer::create(backend, (*teacher)->config, 2, variant, *initial);
  TrainingBatch batch = golden_batches()[0];
  std::int64_t labelled = 0, counted = 0;
  for (std::size_t row = 0; row < batch.ids.size(); ++row) {
    const bool label = batch.labels[row] != kernels::kNoLabel;
    labelled += label ? 1 : 0;
    counted += label || batch.kl_weight[row] > 0 ? 1 : 0;
  }
  ASSERT_LT(labelled, counted);
  ASSERT_LT(counted, batch.rows());
  ASSERT_TRUE(network.train_chained(batch, StudentLayers(5), **student, {1, 0, 1}, 1.0).ok());
  EXPECT_EQ(backend.forward, 2 * counted);
  EXPECT_EQ(backend.backward, counted);

  backend.forward = backend.backward = 0;  // without the divergence its weights ask for nothing
  ASSERT_TRUE(network.train_chained(batch, StudentLayers(5), **student, {1, 0, 0}, 1.0).ok());
  EXPECT_EQ(backend.forward, labelled);
  EXPECT_EQ(backend.backward, labelled);

  std::ranges::fill(batch.labels, kernels::kNoLabel);
  std::ranges::fill(batch.kl_weight, 0.0f);
  const auto nothing = network.train_chained(batch, StudentLayers(5), **student, {1, 0, 1}, 1.0);
  ASSERT_TRUE(nothing.ok());
  EXPECT_EQ(nothing->total, 0.0);
}

TEST(TrainingTeacher, OfAnyFamilyFollowsTransformers) {
  for (const char* const name :
       {"linear_rope", "dynamic_rope", "llama3_rope", "yarn_rope", "biases", "mistral_window", "qwen2",
        "qwen2_window", "qwen2_layer_types", "qwen3", "qwen3_window", "qwen3_biases", "smollm3",
        "smollm3_window", "smollm3_biases"}) {
    const auto folder = golden_path(std::string("tiny_llama/") + name);
    const auto truth = read_json(folder / "golden.json");
    const auto backend = make_backend("cpu");
    Network network(*backend, *load_teacher(folder, *backend, DType::kF32), DType::kF32, DslaVariant{});
    TrainingBatch batch;
    truth["prompt_ids"].get_to(batch.ids);
    batch.labels.assign(batch.ids.begin() + 1, batch.ids.end());
    batch.labels.push_back(kernels::kNoLabel);
    for (std::size_t t = 0; t < batch.ids.size(); ++t)
      batch.positions.push_back(static_cast<std::int32_t>(t));
    batch.kl_weight.assign(batch.ids.size(), 1.0f);
    batch.segments = {{0, batch.rows(), -1}};
    const auto losses = network.evaluate(batch, StudentLayers(network.teacher().layers.size(), nullptr));
    ASSERT_TRUE(losses.ok());
    EXPECT_NEAR(losses->ce, cross_entropy(truth), 1e-5) << name;
    EXPECT_EQ(losses->kl, 0) << name;
  }
}

std::string name_of(const ::testing::TestParamInfo<Training::ParamType>& info) {
  return std::get<0>(info.param) + "_" + std::get<1>(info.param) + "_" + std::get<2>(info.param);
}

const auto kVariants =
    ::testing::Values("paper", "rich", "window", "sinks", "wide", "unrotated", "expanded", "single", "delta",
                      "qwen3_rotary", "qwen3_expanded", "smollm3_rotary", "smollm3_unrotated");
const auto kLosses = ::testing::Values("attention", "hidden", "chained");

INSTANTIATE_TEST_SUITE_P(Stages, Training,
                         ::testing::Combine(::testing::Values("ref", "cpu"), kVariants, kLosses), name_of);
INSTANTIATE_TEST_SUITE_P(Stages, TrainingCurve,
                         ::testing::Combine(::testing::Values("cpu"), kVariants, kLosses), name_of);

}  // namespace
}  // namespace dslad::worker
