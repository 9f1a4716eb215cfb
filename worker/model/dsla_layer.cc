#include "worker/model/dsla_layer.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <random>
#include <system_error>

#include "worker/model/digest.h"
#include "worker/model/safetensors.h"
#include "worker/model/safetensors_writer.h"

namespace dslad::worker {
namespace {

using kernels::DType;

enum class Kind : std::uint8_t {
  kProjection,      // a matrix that the teacher's layer has too
  kTeachersVector,  // a vector that it has, stored as float32 whatever type the matrices have
  kGate,            // a matrix of the converted layer alone
  kVector,          // a vector of the converted layer alone, stored as float32
};

bool is_vector(Kind kind) {
  return kind == Kind::kVector || kind == Kind::kTeachersVector;
}

bool is_teachers(Kind kind) {
  return kind == Kind::kProjection || kind == Kind::kTeachersVector;
}

// A tensor of the file and the member that holds it.
struct Slot {
  std::string_view name;
  std::vector<std::int64_t> shape;
  std::vector<float> DslaLayerTensors::*values;
  Kind kind;

  [[nodiscard]] std::size_t size() const {
    std::int64_t product = 1;
    for (const std::int64_t dimension : shape) product *= dimension;
    return static_cast<std::size_t>(product);
  }
};

std::vector<Slot> slots_of(const LlamaConfig& c, const DslaVariant& v) {
  using Tensors = DslaLayerTensors;
  const std::int64_t hidden = c.hidden_size, heads = c.heads;
  const std::int64_t output_width = heads * c.head_dim, v_rows = std::int64_t{c.kv_heads} * c.head_dim;
  const std::int64_t channels = v.key_channels(c.head_dim);
  const std::int64_t q_rows = heads * channels, k_rows = c.kv_heads * channels;
  const std::int64_t gate_rows = v.gates_of_kind(c.kv_heads, c.head_dim);
  std::vector<Slot> slots = {{"q_proj.weight", {q_rows, hidden}, &Tensors::q, Kind::kProjection},
                             {"k_proj.weight", {k_rows, hidden}, &Tensors::k, Kind::kProjection},
                             {"v_proj.weight", {v_rows, hidden}, &Tensors::v, Kind::kProjection},
                             {"o_proj.weight", {hidden, output_width}, &Tensors::o, Kind::kProjection},
                             {"gk_proj.weight", {gate_rows, hidden}, &Tensors::g1, Kind::kGate},
                             {"gk_proj.bias", {gate_rows}, &Tensors::c1, Kind::kVector}};
  if (v.delta) {
    slots.push_back({"b_proj.weight", {gate_rows, hidden}, &Tensors::g2, Kind::kGate});
    slots.push_back({"b_proj.bias", {gate_rows}, &Tensors::c2, Kind::kVector});
  }
  if (v.states == 2) {
    std::vector<std::int64_t> alpha = {2};
    if (v.alpha_per_head() && heads > 1) alpha.push_back(heads);
    slots.push_back({"gk_proj2.weight", {gate_rows, hidden}, &Tensors::g2, Kind::kGate});
    slots.push_back({"gk_proj2.bias", {gate_rows}, &Tensors::c2, Kind::kVector});
    slots.push_back({"alpha_list", std::move(alpha), &Tensors::alpha, Kind::kVector});
  }
  if (v.output_norm()) slots.push_back({"o_norm.weight", {c.head_dim}, &Tensors::o_norm, Kind::kVector});
  if (v.window > 0) slots.push_back({"state_share", {heads}, &Tensors::share, Kind::kVector});
  if (c.qkv_bias) {
    slots.push_back({"q_proj.bias", {q_rows}, &Tensors::q_bias, Kind::kTeachersVector});
    slots.push_back({"k_proj.bias", {k_rows}, &Tensors::k_bias, Kind::kTeachersVector});
    slots.push_back({"v_proj.bias", {v_rows}, &Tensors::v_bias, Kind::kTeachersVector});
  }
  if (c.output_bias) slots.push_back({"o_proj.bias", {hidden}, &Tensors::o_bias, Kind::kTeachersVector});
  if (c.qk_norm) {
    slots.push_back({"q_norm.weight", {c.head_dim}, &Tensors::q_norm, Kind::kTeachersVector});
    slots.push_back({"k_norm.weight", {c.head_dim}, &Tensors::k_norm, Kind::kTeachersVector});
  }
  return slots;
}

bool all_finite(std::span<const float> values) {
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

Error unfit(const std::filesystem::path& path, std::string_view what) {
  return {ErrorCode::kInvalidArgument, fmt::format("{}: {}", path.string(), what)};
}

Status read_slot(const TensorView& view, const Slot& slot, const std::filesystem::path& path,
                 std::vector<float>& out) {
  if (view.shape != slot.shape) {
    return unfit(path, fmt::format("\"{}\" has the shape [{}], the model asks for [{}]", slot.name,
                                   fmt::join(view.shape, ", "), fmt::join(slot.shape, ", ")));
  }
  out.resize(slot.size());
  const Status read = read_rows(view, 0, view.rows(), out.data());
  if (!read) return read.error().with_context(path.string());
  if (!all_finite(out))
    return unfit(path, fmt::format("\"{}\" holds numbers that are not finite", slot.name));
  return ok_status();
}

// Between -bound and bound.
void fill_uniform(std::mt19937_64& random, double bound, std::span<float> out) {
  for (float& value : out) {
    // The top 53 bits as a double in [0, 1): the same on every standard library.
    value = static_cast<float>((static_cast<double>(random() >> 11) * 0x1p-53 * 2.0 - 1.0) * bound);
  }
}

Status read_teacher(const WeightFiles& teacher, const std::string& name, std::span<const std::int64_t> shape,
                    std::vector<float>& out) {
  const auto view = teacher.require(name, shape);
  if (!view) return view.error();
  return read_rows(**view, 0, (*view)->rows(), out.data());
}

// Mixtures of a head's channels, [kv_heads, `more`, head_dim], for q and k alike. Under a softmax map they
// begin as random features (arXiv 2009.14794): the mean of exp(u q) exp(u k) over normal u of variance
// head_dim^-1/2 is the teacher's exp(q k / sqrt(head_dim)), but for factors of q's and k's norms. These are
// uniform, of that variance.
std::vector<float> random_mixtures(const LlamaConfig& c, std::int64_t more, int layer) {
  // Its own numbers, not those of G_2 again.
  std::mt19937_64 random(static_cast<std::uint64_t>(layer) + (std::uint64_t{1} << 32));
  std::vector<float> mixtures(static_cast<std::size_t>(c.kv_heads * more * c.head_dim));
  fill_uniform(random, std::sqrt(3.0) * std::pow(c.head_dim, -0.25), mixtures);
  return mixtures;
}

// The teacher's q or k [heads * head_dim, columns], or its bias as one column, with each head's channels
// followed by its KV head's mixtures of them: [heads * (head_dim + more), columns].
std::vector<float> widen(const LlamaConfig& c, std::int64_t more, std::span<const float> mixtures,
                         std::span<const float> teacher, std::int64_t columns) {
  const std::int64_t own = c.head_dim * columns, heads = std::ssize(teacher) / own;
  std::vector<float> out(static_cast<std::size_t>(heads * (own + more * columns)));
  auto row = out.begin();
  for (std::int64_t head = 0; head < heads; ++head) {
    const float* const channels = teacher.data() + head * own;
    row = std::copy_n(channels, own, row);
    const float* mixture = mixtures.data() + head / (heads / c.kv_heads) * more * c.head_dim;
    for (std::int64_t i = 0; i < more; ++i, row += columns, mixture += c.head_dim) {
      for (std::int64_t channel = 0; channel < c.head_dim; ++channel) {
        for (std::int64_t j = 0; j < columns; ++j)
          row[j] += mixture[channel] * channels[channel * columns + j];
      }
    }
  }
  return out;
}

}  // namespace

GateBiases initial_gate_biases(LayerForm form) {
  return form == LayerForm::kDslad ? GateBiases{6, -6} : GateBiases{};
}

void initial_gates(std::int64_t rows, std::int64_t hidden, int layer, std::vector<float>& history,
                   std::vector<float>& recency) {
  const auto size = static_cast<std::size_t>(rows * hidden);
  history.assign(size, 0.0f);
  for (std::int64_t i = 0; i < std::min(rows, hidden); ++i)
    history[static_cast<std::size_t>(i * hidden + i)] = 1.0f;

  std::mt19937_64 random(static_cast<std::uint64_t>(layer));
  recency.resize(size);
  fill_uniform(random, 1.0 / std::sqrt(static_cast<double>(hidden)), recency);
}

Result<DslaLayerTensors> initial_dsla_layer(const WeightFiles& teacher, const LlamaConfig& config, int layer,
                                            const DslaVariant& variant) {
  DslaLayerTensors tensors;
  const std::string prefix = fmt::format("model.layers.{}.self_attn.", layer);
  const std::vector<Slot> slots = slots_of(config, variant), known = slots_of(config, DslaVariant{});
  for (const Slot& slot : slots) {
    std::vector<float>& values = tensors.*slot.values;
    if (!is_teachers(slot.kind)) {
      values.assign(slot.size(), 0.0f);
      continue;
    }
    const auto own = std::ranges::find(known, slot.name, &Slot::name);
    values.resize(own->size());
    const Status read = read_teacher(teacher, prefix + std::string(own->name), own->shape, values);
    if (!read) return read.error();
  }
  if (const std::int64_t more = variant.key_channels(config.head_dim) - config.head_dim; more > 0) {
    const std::vector<float> mixtures = random_mixtures(config, more, layer);
    for (auto* weight : {&tensors.q, &tensors.k}) {
      *weight = widen(config, more, mixtures, *weight, config.hidden_size);
    }
    for (auto* bias : {&tensors.q_bias, &tensors.k_bias}) {
      if (!bias->empty()) *bias = widen(config, more, mixtures, *bias, 1);
    }
  }
  std::vector<float> recency;
  initial_gates(std::ssize(tensors.c1), config.hidden_size, layer, tensors.g1, recency);
  if (variant.states == 2) tensors.g2 = std::move(recency);
  const GateBiases biases = initial_gate_biases(variant.form);
  std::ranges::fill(tensors.c1, biases.history);
  if (variant.states == 2) std::ranges::fill(tensors.c2, biases.recency);
  std::ranges::fill(tensors.o_norm, 1.0f);
  return tensors;
}

std::string layer_file_name(int layer) {
  return fmt::format("layer-{:02}.safetensors", layer);
}

Result<SavedLayer> save_dsla_layer(const std::filesystem::path& dir, const std::string& name,
                                   const LlamaConfig& config, const DslaVariant& variant,
                                   const DslaLayerTensors& tensors, DType dtype) {
  std::vector<TensorToWrite> out;
  for (const Slot& slot : slots_of(config, variant)) {
    const std::vector<float>& values = tensors.*slot.values;
    if (values.size() != slot.size()) {
      return unfit(dir / name, fmt::format("\"{}\" has {} values, its shape [{}] asks for {}", slot.name,
                                           values.size(), fmt::join(slot.shape, ", "), slot.size()));
    }
    if (!all_finite(values)) {
      return unfit(dir / name, fmt::format("\"{}\" holds numbers that are not finite", slot.name));
    }
    out.push_back({std::string(slot.name), slot.shape, values, is_vector(slot.kind) ? DType::kF32 : dtype});
  }
  std::error_code failed;
  std::filesystem::create_directories(dir, failed);
  if (failed) {
    return Error{ErrorCode::kUnavailable, fmt::format("{}: {}", dir.string(), failed.message())};
  }
  auto checksum = write_safetensors(dir / name, out);
  if (!checksum) return checksum.error();
  return SavedLayer{name, *std::move(checksum)};
}

Result<MappedFile> open_dsla_layer(const std::filesystem::path& dir, const DistilledLayer& layer) {
  const std::filesystem::path path = dir / layer.file;
  auto file = MappedFile::open(path);
  if (!file) return file;
  Digest digest;
  digest.add(file->bytes());
  if (digest.hex() == layer.checksum) return file;
  return Error{
      ErrorCode::kCorrupt,
      fmt::format("{}: the checksum is {}, chain.json says {}; the file is damaged or not the chain's",
                  path.string(), digest.hex(), layer.checksum)};
}

Result<DslaLayerTensors> load_dsla_layer(const std::filesystem::path& dir, const DistilledLayer& layer,
                                         const LlamaConfig& config, const DslaVariant& variant) {
  const std::filesystem::path path = dir / layer.file;
  const auto whole = open_dsla_layer(dir, layer);
  if (!whole) return whole.error();
  const auto file = SafetensorsFile::open(path);
  if (!file) return file.error();
  const std::vector<Slot> slots = slots_of(config, variant);
  DslaLayerTensors tensors;
  for (const TensorView& view : file->tensors()) {
    const auto slot = std::ranges::find(slots, view.name, &Slot::name);
    if (slot == slots.end())
      return unfit(path, fmt::format("\"{}\" is no tensor of variant {}", view.name, variant.name));
    const Status read = read_slot(view, *slot, path, tensors.*slot->values);
    if (!read) return read.error();
  }
  for (const Slot& slot : slots) {
    if ((tensors.*slot.values).empty()) return unfit(path, fmt::format("lacks \"{}\"", slot.name));
  }
  return tensors;
}

}  // namespace dslad::worker
