#include "worker/distill/teacher.h"

#include <array>
#include <cstring>
#include <fmt/format.h>

#include "worker/model/digest.h"
#include "worker/model/weight_files.h"
#include "worker/model/weights.h"

namespace dslad::worker {
namespace {

using kernels::bf16;
using kernels::DType;

class Reader {
 public:
  Reader(const WeightFiles& files, kernels::TrainingBackend& backend, DType dtype)
      : files_(files), backend_(backend), dtype_(dtype) {}

  // The tensors, one below the other.
  FrozenMatrix matrix(std::initializer_list<std::pair<std::string, std::int64_t>> parts,
                      std::int64_t columns) {
    std::int64_t rows = 0;
    for (const auto& part : parts) rows += part.second;
    auto data = backend_.allocate(static_cast<std::size_t>(rows * columns) * size_of(dtype_));
    if (data == nullptr) {
      fail({ErrorCode::kResourceExhausted, fmt::format("no memory for the weights {}; use a smaller model or "
                                                       "--compute bf16",
                                                       parts.begin()->first)});
      return {};
    }
    std::int64_t first = 0;
    for (const auto& [name, part_rows] : parts) {
      const std::array<std::int64_t, 2> shape{part_rows, columns};
      const auto view = files_.require(name, shape);
      if (!view) {
        fail(view.error());
        return {};
      }
      read(**view, data.get() + static_cast<std::size_t>(first * columns) * size_of(dtype_));
      first += part_rows;
    }
    return FrozenMatrix(std::move(data), rows, columns, dtype_);
  }

  // The tensors, one behind the other.
  std::vector<float> vector(std::initializer_list<std::pair<std::string, std::int64_t>> parts) {
    std::vector<float> out;
    for (const auto& [name, size] : parts) {
      const std::array<std::int64_t, 1> shape{size};
      const std::size_t first = out.size();
      out.resize(first + static_cast<std::size_t>(size));
      const auto view = files_.require(name, shape);
      if (!view) {
        fail(view.error());
      } else {
        remember(read_weights(**view, 0, 1, out.data() + first));
      }
    }
    return out;
  }
  std::vector<float> vector(const std::string& name, std::int64_t size) { return vector({{name, size}}); }

  [[nodiscard]] const Status& status() const { return status_; }

 private:
  void read(const TensorView& view, std::byte* out) {
    const std::int64_t columns = view.row_elements();
    if (dtype_ == DType::kF32) {
      remember(read_weights(view, 0, view.rows(), reinterpret_cast<float*>(out)));
      return;
    }
    row_.resize(static_cast<std::size_t>(columns));
    auto* rounded = reinterpret_cast<bf16*>(out);
    for (std::int64_t row = 0; row < view.rows() && status_; ++row) {
      remember(read_weights(view, row, 1, row_.data()));
      for (const float value : row_) *rounded++ = kernels::to_bf16(value);
    }
  }

  void fail(Error error) {
    if (status_) status_ = std::move(error);
  }
  void remember(const Status& status) {
    if (!status) fail(status.error());
  }

  const WeightFiles& files_;
  kernels::TrainingBackend& backend_;
  DType dtype_;
  std::vector<float> row_;
  Status status_ = ok_status();
};

TeacherLayer read_layer(Reader& reader, const LlamaConfig& c, int index) {
  const std::string prefix = fmt::format("model.layers.{}.", index);
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  const std::int64_t q_rows = std::int64_t{c.heads} * c.head_dim,
                     kv_rows = std::int64_t{c.kv_heads} * c.head_dim;
  TeacherLayer layer;
  layer.attention_norm = reader.vector(prefix + "input_layernorm.weight", c.hidden_size);
  layer.mlp_norm = reader.vector(prefix + "post_attention_layernorm.weight", c.hidden_size);
  layer.qkv = reader.matrix({{attention + "q_proj.weight", q_rows},
                             {attention + "k_proj.weight", kv_rows},
                             {attention + "v_proj.weight", kv_rows}},
                            c.hidden_size);
  layer.output = reader.matrix({{attention + "o_proj.weight", c.hidden_size}}, q_rows);
  layer.gate_up = reader.matrix(
      {{mlp + "gate_proj.weight", c.intermediate_size}, {mlp + "up_proj.weight", c.intermediate_size}},
      c.hidden_size);
  layer.down = reader.matrix({{mlp + "down_proj.weight", c.hidden_size}}, c.intermediate_size);
  layer.window = c.window(index);
  layer.rotary = c.rotates(index);
  if (c.qkv_bias) {
    layer.qkv_bias = reader.vector({{attention + "q_proj.bias", q_rows},
                                    {attention + "k_proj.bias", kv_rows},
                                    {attention + "v_proj.bias", kv_rows}});
  }
  if (c.output_bias) layer.output_bias = reader.vector(attention + "o_proj.bias", c.hidden_size);
  if (c.mlp_bias) {
    layer.gate_up_bias = reader.vector(
        {{mlp + "gate_proj.bias", c.intermediate_size}, {mlp + "up_proj.bias", c.intermediate_size}});
    layer.down_bias = reader.vector(mlp + "down_proj.bias", c.hidden_size);
  }
  if (c.qk_norm) {
    layer.q_norm = reader.vector(attention + "q_norm.weight", c.head_dim);
    layer.k_norm = reader.vector(attention + "k_norm.weight", c.head_dim);
  }
  return layer;
}

}  // namespace

void FrozenMatrix::copy_row(std::int64_t row, float* out) const {
  const auto columns = static_cast<std::size_t>(columns_);
  const std::byte* source = data_.get() + static_cast<std::size_t>(row) * columns * size_of(dtype_);
  if (dtype_ == DType::kF32) {
    std::memcpy(out, source, columns * sizeof(float));
    return;
  }
  const auto* rounded = reinterpret_cast<const bf16*>(source);
  for (std::size_t i = 0; i < columns; ++i) out[i] = kernels::to_float(rounded[i]);
}

Result<std::shared_ptr<const Teacher>> load_teacher(const std::filesystem::path& dir,
                                                    kernels::TrainingBackend& backend, DType dtype) {
  auto config = LlamaConfig::load(dir);
  if (!config) return config.error();
  auto files = WeightFiles::open(dir);
  if (!files) return files.error();
  config->tie_word_embeddings = files->ties(config->tie_word_embeddings);
  const Status complete = check_weights(*config, *files);
  if (!complete) return complete.error();

  auto teacher = std::make_shared<Teacher>();
  teacher->config = *std::move(config);
  teacher->digest = weights_digest(*files);
  const LlamaConfig& c = teacher->config;
  Reader reader(*files, backend, dtype);
  teacher->embedding = reader.matrix({{"model.embed_tokens.weight", c.vocab_size}}, c.hidden_size);
  if (!c.tie_word_embeddings) {
    teacher->lm_head = reader.matrix({{"lm_head.weight", c.vocab_size}}, c.hidden_size);
  }
  teacher->final_norm = reader.vector("model.norm.weight", c.hidden_size);
  for (int i = 0; i < c.layers && reader.status(); ++i) {
    teacher->layers.push_back(read_layer(reader, c, i));
  }
  if (!reader.status()) return reader.status().error();
  return std::shared_ptr<const Teacher>(std::move(teacher));
}

}  // namespace dslad::worker
