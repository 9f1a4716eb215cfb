#include "worker/model/weights.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <new>
#include <unordered_set>
#include <utility>

#include "worker/files/mapped_file.h"
#include "worker/model/device.h"
#include "worker/model/digest.h"
#include "worker/model/weight_roles.h"

namespace dslad::worker {
namespace {

using kernels::WeightFormat;

// Rows are converted in slices of about this many floats: large enough to stream, small enough to stay in the
// cache.
constexpr std::int64_t kSliceFloats = 1 << 18;

// Takes the model's tensors one by one. `parts` are tensors and their rows, one below the other in one
// matrix.
class Loader {
 public:
  using Parts = std::initializer_list<std::pair<std::string, std::int64_t>>;

  virtual ~Loader() = default;
  virtual Status matrix(Parts parts, std::int64_t columns, WeightFormat format, Matrix& out) = 0;
  virtual Status vectors(Parts parts, kernels::Vector& out) = 0;  // one behind the other
  Status vector(const std::string& name, std::int64_t size, kernels::Vector& out) {
    return vectors({{name, size}}, out);
  }
};

// A tensor of the network itself that may be left alone: what old files keep of a computed table, or a layer
// beyond those that the configuration counts.
bool is_spare(std::string_view name, int layers) {
  if (name.ends_with(".rotary_emb.inv_freq") || name == "lm_head.weight") return true;
  for (const std::string_view prefix : {"model.layers.", "blk."}) {
    if (!name.starts_with(prefix)) continue;
    int layer = 0;
    const std::string_view number = name.substr(prefix.size());
    const auto read = std::from_chars(number.data(), number.data() + number.size(), layer);
    return read.ec == std::errc() && layer >= layers;
  }
  const bool of_network = name.starts_with("model.") || name.starts_with("lm_head.");
  return !of_network;
}

// Only looks whether all is there, and nothing that would make it another network.
class ShapeCheck final : public Loader {
 public:
  explicit ShapeCheck(const WeightFiles& files) : files_(files) {}

  Status matrix(Parts parts, std::int64_t columns, WeightFormat /*format*/, Matrix& /*out*/) override {
    for (const auto& [name, rows] : parts) {
      const auto view = files_.require(name, std::array<std::int64_t, 2>{rows, columns});
      if (!view) return view.error();
      taken_.insert(*view);
    }
    return ok_status();
  }

  Status vectors(Parts parts, kernels::Vector& /*out*/) override {
    for (const auto& [name, size] : parts) {
      const auto view = files_.require(name, std::array<std::int64_t, 1>{size});
      if (!view) return view.error();
      taken_.insert(*view);
    }
    return ok_status();
  }

  // Once all was asked for: a bias or a norm that the configuration does not know of was trained to be used.
  [[nodiscard]] Status check_rest(const LlamaConfig& config) const {
    for (const TensorView& tensor : files_.tensors()) {
      if (taken_.contains(&tensor) || is_spare(tensor.name, config.layers)) continue;
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("{}: tensor \"{}\" has no place in a {} of this configuration; name the "
                               "architecture and the options that the weights were trained with",
                               files_.model().string(), tensor.name, config.architecture)};
    }
    return ok_status();
  }

 private:
  const WeightFiles& files_;
  std::unordered_set<const TensorView*> taken_;
};

// Puts the tensors on a device and reports how far it is.
class Packer final : public Loader {
 public:
  Packer(const WeightFiles& files, kernels::Device& device, const LoadProgress& progress)
      : files_(files), device_(device), progress_(progress) {
    for (const TensorView& tensor : files.tensors()) total_bytes_ += tensor.bytes.size();
  }

  Status matrix(Parts parts, std::int64_t columns, WeightFormat format, Matrix& out) override {
    std::int64_t rows = 0;
    for (const auto& part : parts) rows += part.second;
    out = device_.make_matrix(rows, columns, format);
    if (out == nullptr)
      return no_memory_for(fmt::format("{} x {} weights of {}", rows, columns, to_string(format)), parts);
    std::int64_t first = 0;
    for (const auto& [name, part_rows] : parts) {
      const auto view = files_.require(name, std::array<std::int64_t, 2>{part_rows, columns});
      if (!view) return view.error();
      Status packed = pack(**view, first, *out);
      if (!packed) return packed.error().with_context(files_.model().string());
      first += part_rows;
    }
    return ok_status();
  }

  Status vectors(Parts parts, kernels::Vector& out) override {
    std::vector<float> values;
    for (const auto& [name, size] : parts) {
      const auto view = files_.require(name, std::array<std::int64_t, 1>{size});
      if (!view) return view.error();
      const std::size_t first = values.size();
      values.resize(first + static_cast<std::size_t>(size));
      report((*view)->bytes.size());
      const Status read = read_weights(**view, 0, 1, values.data() + first);
      if (!read) return read.error().with_context(files_.model().string());
    }
    auto vector = kernels::Vector::create(device_, values);
    if (!vector) return no_memory_for(fmt::format("{} numbers", values.size()), parts);
    out = *std::move(vector);
    return ok_status();
  }

 private:
  [[nodiscard]] Error no_memory_for(const std::string& what, Parts parts) const {
    return no_memory(device_,
                     fmt::format("{} has no memory for {} ({}); use a smaller model or a smaller --dtype",
                                 device_.name(), what, parts.begin()->first));
  }

  Status pack(const TensorView& view, std::int64_t first, kernels::WeightMatrix& out) {
    const std::int64_t columns = view.row_elements();
    const std::int64_t slice = std::max<std::int64_t>(1, kSliceFloats / columns);
    slice_.resize(static_cast<std::size_t>(std::min(slice, view.rows()) * columns));
    const std::size_t row_bytes = view.bytes.size() / static_cast<std::size_t>(view.rows());
    for (std::int64_t row = 0; row < view.rows(); row += slice) {
      const std::int64_t count = std::min(slice, view.rows() - row);
      Status read = read_weights(view, row, count, slice_.data());
      if (!read) return read;
      out.pack_rows(first + row, count, slice_.data());
      release_pages(view.bytes.subspan(static_cast<std::size_t>(row) * row_bytes,
                                       static_cast<std::size_t>(count) * row_bytes));
      report(static_cast<std::size_t>(count) * row_bytes);
    }
    return ok_status();
  }

  void report(std::size_t bytes) {
    done_bytes_ += bytes;
    if (progress_)
      progress_(static_cast<double>(done_bytes_) /
                static_cast<double>(std::max<std::size_t>(total_bytes_, 1)));
  }

  const WeightFiles& files_;
  kernels::Device& device_;
  const LoadProgress& progress_;
  std::size_t total_bytes_ = 0, done_bytes_ = 0;
  std::vector<float> slice_;
};

Status load_layer(Loader& loader, const LlamaConfig& c, int index, WeightFormat format, LayerWeights& layer) {
  const std::string prefix = fmt::format("model.layers.{}.", index);
  const std::int64_t q_rows = std::int64_t{c.heads} * c.head_dim,
                     kv_rows = std::int64_t{c.kv_heads} * c.head_dim;
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  Status status = loader.vector(prefix + "input_layernorm.weight", c.hidden_size, layer.attention_norm);
  if (status)
    status = loader.vector(prefix + "post_attention_layernorm.weight", c.hidden_size, layer.mlp_norm);
  if (status) {
    status = loader.matrix({{attention + "q_proj.weight", q_rows},
                            {attention + "k_proj.weight", kv_rows},
                            {attention + "v_proj.weight", kv_rows}},
                           c.hidden_size, format, layer.qkv);
  }
  if (status)
    status = loader.matrix({{attention + "o_proj.weight", c.hidden_size}}, q_rows, format, layer.output);
  if (status) {
    status = loader.matrix(
        {{mlp + "gate_proj.weight", c.intermediate_size}, {mlp + "up_proj.weight", c.intermediate_size}},
        c.hidden_size, format, layer.gate_up);
  }
  if (status)
    status =
        loader.matrix({{mlp + "down_proj.weight", c.hidden_size}}, c.intermediate_size, format, layer.down);
  return status;
}

// What only some models' layers have.
Status load_optional_parts(Loader& loader, const LlamaConfig& c, int index, LayerWeights& layer) {
  const std::string prefix = fmt::format("model.layers.{}.", index);
  const std::int64_t q_rows = std::int64_t{c.heads} * c.head_dim,
                     kv_rows = std::int64_t{c.kv_heads} * c.head_dim;
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  Status status = ok_status();
  if (c.qkv_bias) {
    status = loader.vectors({{attention + "q_proj.bias", q_rows},
                             {attention + "k_proj.bias", kv_rows},
                             {attention + "v_proj.bias", kv_rows}},
                            layer.qkv_bias);
  }
  if (status && c.output_bias)
    status = loader.vector(attention + "o_proj.bias", c.hidden_size, layer.output_bias);
  if (status && c.mlp_bias) {
    status = loader.vectors(
        {{mlp + "gate_proj.bias", c.intermediate_size}, {mlp + "up_proj.bias", c.intermediate_size}},
        layer.gate_up_bias);
  }
  if (status && c.mlp_bias) status = loader.vector(mlp + "down_proj.bias", c.hidden_size, layer.down_bias);
  if (status && c.qk_norm) status = loader.vector(attention + "q_norm.weight", c.head_dim, layer.q_norm);
  if (status && c.qk_norm) status = loader.vector(attention + "k_norm.weight", c.head_dim, layer.k_norm);
  return status;
}

// Everything into `weights`, whose config says what there is.
Status load_all(Loader& loader, ModelWeights& weights) {
  const LlamaConfig& c = weights.config;
  const WeightFormat vocabulary = vocabulary_format(weights.format);
  weights.layers.resize(static_cast<std::size_t>(c.layers));
  Status status = loader.matrix({{"model.embed_tokens.weight", c.vocab_size}}, c.hidden_size, vocabulary,
                                weights.embedding);
  if (status && !c.tie_word_embeddings) {
    status = loader.matrix({{"lm_head.weight", c.vocab_size}}, c.hidden_size, vocabulary, weights.lm_head);
  }
  if (status) status = loader.vector("model.norm.weight", c.hidden_size, weights.final_norm);
  for (int i = 0; status && i < c.layers; ++i) {
    LayerWeights& layer = weights.layers[static_cast<std::size_t>(i)];
    status = load_layer(loader, c, i, weights.format, layer);
    if (status) status = load_optional_parts(loader, c, i, layer);
  }
  return status;
}

constexpr float kBiasSpread = 0.1f;  // small beside an embedding's values, or all tokens are alike

// Uniform noise by xorshift. Billions of values are wanted, and one thread draws them: what is beyond
// a million is the same once more, but not the same row, as their number is prime.
class Noise {
 public:
  Noise(kernels::Device& device, std::uint64_t seed) : device_(device), state_(seed * 2 + 1) {}

  // Scaled so that a product with normalised input has unit variance.
  Matrix matrix(std::int64_t n, std::int64_t k, WeightFormat format) {
    Matrix out = device_.make_matrix(n, k, format);
    if (out == nullptr) throw std::bad_alloc();
    const std::int64_t slice = std::clamp<std::int64_t>(kSliceFloats / k, 1, n);
    std::vector<float> rows(static_cast<std::size_t>(slice * k));
    const auto scale = static_cast<float>(std::sqrt(12.0 / static_cast<double>(k)));
    for (std::int64_t first = 0; first < n; first += slice) {
      const std::int64_t count = std::min(slice, n - first);
      fill(std::span(rows).first(static_cast<std::size_t>(count * k)), 0.0f, scale);
      out->pack_rows(first, count, rows.data());
    }
    return out;
  }
  kernels::Vector vector(std::int64_t n, float centre, float spread) {
    std::vector<float> values(static_cast<std::size_t>(n));
    fill(values, centre, spread);
    return vector(values);
  }
  kernels::Vector vector(std::span<const float> values) {
    auto out = kernels::Vector::create(device_, values);
    if (!out) throw std::bad_alloc();
    return *std::move(out);
  }

 private:
  static constexpr std::size_t kDrawn = 1'048'573;  // 4 MiB, which caches hold

  void fill(std::span<float> out, float centre, float spread) {
    while (!out.empty()) {
      const std::size_t count = std::min(out.size(), kDrawn - at_);
      while (drawn_.size() < at_ + count) drawn_.push_back(draw());
      std::transform(drawn_.data() + at_, drawn_.data() + at_ + count, out.data(),
                     [&](float x) { return centre + spread * (x - 0.5f); });
      out = out.subspan(count);
      at_ = (at_ + count) % kDrawn;
    }
  }
  float draw() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<float>(state_ >> 40) * 0x1p-24f;
  }

  kernels::Device& device_;
  std::uint64_t state_;
  std::vector<float> drawn_;
  std::size_t at_ = 0;  // of the next value
};

}  // namespace

std::size_t ModelWeights::bytes() const {
  std::size_t sum = embedding->bytes() + (lm_head ? lm_head->bytes() : 0);
  for (const LayerWeights& layer : layers) {
    sum += layer.qkv->bytes() + layer.output->bytes() + layer.gate_up->bytes() + layer.down->bytes();
  }
  return sum;
}

Status check_weights(const LlamaConfig& config, const WeightFiles& files) {
  ModelWeights nothing;
  nothing.config = config;
  ShapeCheck check(files);
  const Status complete = load_all(check, nothing);
  return complete ? check.check_rest(config) : complete;
}

Result<std::shared_ptr<const ModelWeights>> load_weights(const std::filesystem::path& model,
                                                         WeightFormat format, const LoadProgress& progress,
                                                         std::shared_ptr<kernels::Device> device) {
  auto config = LlamaConfig::load(model);
  if (!config) return config.error();
  auto files = WeightFiles::open(model);
  if (!files) return files.error();
  config->tie_word_embeddings = files->ties(config->tie_word_embeddings);
  const Status complete = check_weights(*config, *files);  // before gigabytes are read
  if (!complete) return complete.error();

  auto weights = std::make_shared<ModelWeights>();
  weights->device = std::move(device);
  weights->config = *std::move(config);
  weights->format = format;
  weights->digest = weights_digest(*files);
  Packer packer(*files, *weights->device, progress);
  const Status status = load_all(packer, *weights);
  if (!status) return status.error();
  return std::shared_ptr<const ModelWeights>(std::move(weights));
}

std::shared_ptr<const ModelWeights> random_weights(const LlamaConfig& config, WeightFormat format,
                                                   std::uint64_t seed,
                                                   std::shared_ptr<kernels::Device> device) {
  auto weights = std::make_shared<ModelWeights>();
  weights->device = std::move(device);
  weights->config = config;
  weights->format = format;
  weights->digest = fmt::format("random-{}", seed);
  Noise noise(*weights->device, seed);
  const std::int64_t hidden = config.hidden_size, width = config.intermediate_size;
  const std::int64_t q_rows = std::int64_t{config.heads} * config.head_dim;
  const std::int64_t kv_rows = std::int64_t{config.kv_heads} * config.head_dim;
  const std::vector<float> ones(static_cast<std::size_t>(hidden), 1.0f);
  const WeightFormat vocabulary = vocabulary_format(format);
  weights->embedding = noise.matrix(config.vocab_size, hidden, vocabulary);
  if (!config.tie_word_embeddings) weights->lm_head = noise.matrix(config.vocab_size, hidden, vocabulary);
  weights->final_norm = noise.vector(ones);
  for (int i = 0; i < config.layers; ++i) {
    LayerWeights& layer = weights->layers.emplace_back();
    layer.attention_norm = noise.vector(ones);
    layer.mlp_norm = noise.vector(ones);
    layer.qkv = noise.matrix(q_rows + 2 * kv_rows, hidden, format);
    layer.output = noise.matrix(hidden, q_rows, format);
    layer.gate_up = noise.matrix(2 * width, hidden, format);
    layer.down = noise.matrix(hidden, width, format);
    if (config.qkv_bias) layer.qkv_bias = noise.vector(q_rows + 2 * kv_rows, 0.0f, kBiasSpread);
    if (config.output_bias) layer.output_bias = noise.vector(hidden, 0.0f, kBiasSpread);
    if (config.mlp_bias) layer.gate_up_bias = noise.vector(2 * width, 0.0f, kBiasSpread);
    if (config.mlp_bias) layer.down_bias = noise.vector(hidden, 0.0f, kBiasSpread);
    if (config.qk_norm) layer.q_norm = noise.vector(config.head_dim, 1.0f, 1.0f);
    if (config.qk_norm) layer.k_norm = noise.vector(config.head_dim, 1.0f, 1.0f);
  }
  return weights;
}

}  // namespace dslad::worker
