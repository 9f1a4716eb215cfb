// distil_bench [--model D|S|M] [--compute bf16|f32] [--rows N] [--threads N]: a chained distillation step
// against the machine; with --layerwise a layer-wise step of all layers beside each other against one of each
// layer by itself, both on the teacher's own hidden states.
//
// Random weights, products of the type asked for, the layer in the middle trained with all loss terms,
// sequences of 1024 tokens. Prints
//   what a step must multiply (teacher and student forward, gradients from the head down to the layer, its
//   weights' gradients) over its time, beside oneDNN's rate for these products, each weighted by its share,
//   in the same run the process' peak memory beside the formula: weights, four float32 copies of the trained
//   layer, activations
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fstream>
#include <new>
#include <random>
#include <string>
#include <thread>

#include "bench/onednn_rate.h"
#include "bench/peaks.h"
#include "worker/distill/network.h"
#include "worker/model/dsla_layer.h"

namespace dslad::bench {
namespace {

using kernels::DType;
using worker::LlamaConfig;

constexpr std::int64_t kSequence = 1024;
constexpr int kRepeats = 3;

LlamaConfig shape(const std::string& model) {
  LlamaConfig c;
  c.context = kSequence;
  c.rms_norm_eps = 1e-5;
  c.head_dim = 64;
  c.tie_word_embeddings = true;
  if (model == "D") {  // the demo model
    c.hidden_size = 128, c.intermediate_size = 384, c.layers = 8, c.heads = 4, c.kv_heads = 2,
    c.vocab_size = 4096;
  } else if (model == "S") {  // SmolLM2-135M
    c.hidden_size = 576, c.intermediate_size = 1536, c.layers = 30, c.heads = 9, c.kv_heads = 3,
    c.vocab_size = 49152;
  } else {  // TinyLlama-1.1B
    c.hidden_size = 2048, c.intermediate_size = 5632, c.layers = 22, c.heads = 32, c.kv_heads = 4,
    c.vocab_size = 32000;
  }
  return c;
}

// Uniform noise, scaled so that a product with normalised input has unit variance.
class Noise {
 public:
  Noise(kernels::TrainingBackend& backend, DType dtype) : backend_(backend), dtype_(dtype) {}

  worker::FrozenMatrix matrix(std::int64_t rows, std::int64_t columns) {
    const std::size_t size = static_cast<std::size_t>(rows * columns) * kernels::size_of(dtype_);
    auto data = backend_.allocate(size);
    if (data == nullptr) throw std::bad_alloc();
    const float scale = std::sqrt(12.0f / static_cast<float>(columns));
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      if (dtype_ == DType::kF32) {
        reinterpret_cast<float*>(data.get())[i] = next() * scale;
      } else {
        reinterpret_cast<kernels::bf16*>(data.get())[i] = kernels::to_bf16(next() * scale);
      }
    }
    bytes += size;
    return {std::move(data), rows, columns, dtype_};
  }
  std::vector<float> vector(std::int64_t count) {
    std::vector<float> out(static_cast<std::size_t>(count));
    for (float& value : out) value = next() * std::sqrt(12.0f / static_cast<float>(count));
    return out;
  }

  std::size_t bytes = 0;  // of all matrices

 private:
  float next() { return static_cast<float>(random_() >> 8) * 0x1p-24f - 0.5f; }

  kernels::TrainingBackend& backend_;
  DType dtype_;
  std::mt19937 random_{1};
};

std::shared_ptr<const worker::Teacher> random_teacher(const LlamaConfig& c, Noise& noise) {
  const std::int64_t q = std::int64_t{c.heads} * c.head_dim, kv = std::int64_t{c.kv_heads} * c.head_dim;
  const std::vector<float> ones(static_cast<std::size_t>(c.hidden_size), 1.0f);
  auto teacher = std::make_shared<worker::Teacher>();
  teacher->config = c;
  teacher->embedding = noise.matrix(c.vocab_size, c.hidden_size);
  teacher->final_norm = ones;
  for (int i = 0; i < c.layers; ++i) {
    worker::TeacherLayer& layer = teacher->layers.emplace_back();
    layer.attention_norm = layer.mlp_norm = ones;
    layer.qkv = noise.matrix(q + 2 * kv, c.hidden_size);
    layer.output = noise.matrix(c.hidden_size, q);
    layer.gate_up = noise.matrix(2 * c.intermediate_size, c.hidden_size);
    layer.down = noise.matrix(c.hidden_size, c.intermediate_size);
  }
  return teacher;
}

worker::DslaLayerTensors random_layer(const LlamaConfig& c, Noise& noise) {
  const std::int64_t q = std::int64_t{c.heads} * c.head_dim, kv = std::int64_t{c.kv_heads} * c.head_dim;
  const auto rows = [&](std::int64_t count) { return noise.vector(count * c.hidden_size); };
  worker::DslaLayerTensors layer;
  layer.q = rows(q);
  for (std::vector<float>* part : {&layer.k, &layer.v, &layer.g1, &layer.g2}) *part = rows(kv);
  layer.o = noise.vector(c.hidden_size * q);
  layer.c1 = noise.vector(kv);
  layer.c2 = noise.vector(kv);
  layer.alpha = noise.vector(2);
  return layer;
}

worker::TrainingBatch random_batch(const LlamaConfig& c, std::int64_t rows) {
  std::mt19937 random(2);
  worker::TrainingBatch batch;
  for (std::int64_t first = 0; first < rows; first += kSequence) {
    const std::int64_t length = std::min(kSequence, rows - first);
    batch.segments.push_back({first, length, -1});
    for (std::int64_t t = 0; t < length; ++t) {
      batch.ids.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(c.vocab_size)));
      batch.positions.push_back(static_cast<std::int32_t>(t));
    }
  }
  batch.labels.assign(batch.ids.begin() + 1, batch.ids.end());
  batch.labels.push_back(kernels::kNoLabel);
  batch.kl_weight.assign(batch.ids.size(), 1.0f);
  return batch;
}

// The products of a step: how often each shape [rows, k] x [k, n] is computed.
struct Product {
  std::int64_t n, k;
  double times;
};

std::vector<Product> products(const LlamaConfig& c, int layer) {
  const std::int64_t h = c.hidden_size, q = std::int64_t{c.heads} * c.head_dim;
  const std::int64_t kv = std::int64_t{c.kv_heads} * c.head_dim, width = c.intermediate_size;
  const double above = c.layers - layer - 1;
  // Forward of teacher and student, and the gradient by the input above the layer.
  const double dense = 2.0 * c.layers + above;
  return {{q + 2 * kv, h, dense}, {h, q, dense},  {2 * width, h, dense + 1},
          {h, width, dense + 1},  {2 * kv, h, 1}, {c.vocab_size, h, 3},
          {q + 4 * kv, h, 1},     {h, q, 2}};  // the trained layer's own gradients
}

using Students = std::vector<std::unique_ptr<worker::StudentLayer>>;

int run_layerwise(const std::string& model, DType compute, std::int64_t rows, int threads) {
  const LlamaConfig config = shape(model);
  const auto backend = kernels::make_cpu_training_backend(threads);
  Noise noise(*backend, compute);
  worker::DslaVariant variant;
  variant.rotary = true;
  worker::Network network(*backend, random_teacher(config, noise), compute, variant);
  Students students;
  worker::TrainedLayers learning;
  for (int layer = 0; layer < config.layers; ++layer) {
    auto student =
        worker::StudentLayer::create(*backend, config, layer, variant, random_layer(config, noise));
    if (!student) throw std::bad_alloc();
    learning.push_back(student->get());
    students.push_back(*std::move(student));
  }
  const worker::TrainingBatch batch = random_batch(config, rows);
  const worker::StudentLayers none(static_cast<std::size_t>(config.layers));
  const auto target = worker::LayerTarget::kAttentionOutput;
  const auto beside = [&] {
    if (!network.train_beside_teacher(batch, learning, target, 1.0)) throw std::bad_alloc();
  };
  const auto each_alone = [&] {
    for (worker::StudentLayer* student : learning) {
      if (!network.train_layerwise(batch, none, *student, target, 1.0)) throw std::bad_alloc();
    }
  };
  beside();
  const double at_once = best_step_seconds(threads, kRepeats, beside);
  const double alone = best_step_seconds(threads, kRepeats, each_alone);
  fmt::print(
      "{}  layer-wise step of {} layers, {} tokens: {:.3f} s at once, {:.3f} s one by one, ratio {:.2f}\n",
      model, config.layers, rows, at_once, alone, alone / at_once);
  return 0;
}

double peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string key; status >> key;) {
    if (key == "VmHWM:") {
      double kib = 0;
      status >> kib;
      return kib * 1024;
    }
  }
  return 0;
}

int run(const std::string& model, DType compute, std::int64_t rows, int threads) {
  const LlamaConfig config = shape(model);
  const int layer = config.layers / 2;
  const double before = peak_resident_bytes();
  const auto backend = kernels::make_cpu_training_backend(threads);
  Noise noise(*backend, compute);
  worker::DslaVariant variant;
  variant.rotary = true;
  worker::Network network(*backend, random_teacher(config, noise), compute, variant);
  const auto student =
      worker::StudentLayer::create(*backend, config, layer, variant, random_layer(config, noise));
  if (!student) throw std::bad_alloc();
  const worker::TrainingBatch batch = random_batch(config, rows);
  const worker::StudentLayers none(static_cast<std::size_t>(config.layers));
  const auto step = [&] {
    if (!network.train_chained(batch, none, **student, {1, 0.1, 1}, 1.0)) throw std::bad_alloc();
  };
  step();
  const double seconds = best_step_seconds(threads, kRepeats, step);
  const double peak = peak_resident_bytes() - before;

  double operations = 0, limit_seconds = 0;
  for (const Product& p : products(config, layer)) {
    operations += p.times * 2.0 * static_cast<double>(rows * p.n * p.k);
    limit_seconds += p.times * onednn_seconds(p.n, p.k, compute, rows, threads);
  }
  fmt::print("{}  step of {} tokens {:>18.3f} s {:>12.0f} tokens/s\n", model, rows, seconds,
             static_cast<double>(rows) / seconds);
  fmt::print("{}  products over the step {:>14.1f} GFLOP/s, oneDNN alone {:.1f}, share {:.2f}\n", model,
             operations / seconds / 1e9, operations / limit_seconds / 1e9, limit_seconds / seconds);
  const double formula = static_cast<double>(noise.bytes) +
                         2.0 * static_cast<double>((*student)->value_array().size_bytes()) +
                         static_cast<double>(worker::Network::activation_bytes(config, variant, rows, layer));
  fmt::print("{}  peak memory {:>25.0f} MiB, formula {:.0f} MiB, ratio {:.2f}\n", model, peak / 0x1p20,
             formula / 0x1p20, peak / formula);
  return 0;
}

}  // namespace
}  // namespace dslad::bench

int main(int argc, char** argv) {
  std::string model = "S", compute = "bf16";
  std::int64_t rows = 4096;
  bool layerwise = false;
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  CLI::App app("A chained distillation step against the machine.");
  app.add_option("--model", model, "D: the demo model's shape, S: SmolLM2-135M, M: TinyLlama-1.1B")
      ->check(CLI::IsMember({"D", "S", "M"}))
      ->capture_default_str();
  app.add_option("--compute", compute, "type of the products' operands")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->capture_default_str();
  app.add_option("--rows", rows, "tokens of a step")->check(CLI::Range(16, 1 << 20))->capture_default_str();
  app.add_option("--threads", threads)->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_flag("--layerwise", layerwise, "a layer-wise step of all layers, at once and one by one");
  CLI11_PARSE(app, argc, argv);
  using dslad::kernels::DType;
  const auto type = compute == "f32" ? DType::kF32 : DType::kBf16;
  return layerwise ? dslad::bench::run_layerwise(model, type, rows, threads)
                   : dslad::bench::run(model, type, rows, threads);
}
