#include "worker/engine/forward.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "worker/model/device.h"

namespace dslad::worker {

using kernels::RowBlock;
using kernels::RowKind;

namespace {

kernels::Device::Buffer empty_buffer() {
  return {nullptr, [](std::byte*) {}};
}

float* floats(const kernels::Device::Buffer& buffer) {
  return reinterpret_cast<float*>(buffer.get());
}

// Whether the states read q and k from a copy, map_features', and not where they were projected.
bool copies_features(const DslaVariant& variant) {
  return variant.feature_map != kernels::FeatureMap::kNone || variant.rotates_for_window_only() ||
         variant.expand_k > 1;
}

Error no_memory_for_step(const kernels::Device& device) {
  return no_memory(device, "the device has no memory for a step's activations; lower the budgets");
}

}  // namespace

Forward::Forward(kernels::Backend& backend, std::shared_ptr<const ModelWeights> weights,
                 const CachePool& caches)
    : backend_(backend),
      weights_(std::move(weights)),
      caches_(caches),
      rope_values_(empty_buffer()),
      rope_(nullptr, 0, 0),
      x_(empty_buffer()),
      h_(empty_buffer()),
      qkv_(empty_buffer()),
      gates_(empty_buffer()),
      heads_(empty_buffer()),
      gate_up_(empty_buffer()),
      logits_(empty_buffer()),
      selected_(empty_buffer()),
      selected_heads_(empty_buffer()),
      state_heads_(empty_buffer()),
      mapped_(empty_buffer()) {
  static_cast<void>(make_rope());  // run() tries again, and can say that there is no memory
}

std::array<std::int64_t, Forward::kRowBuffers> Forward::row_floats(const LlamaConfig& c,
                                                                   const RowWidths& widths) {
  const std::int64_t heads = std::int64_t{c.heads} * c.head_dim;
  return {c.hidden_size,
          c.hidden_size,
          widths.qkv,
          2 * c.kv_heads * widths.d_k,
          (c.heads + c.kv_heads) * widths.d_k,
          heads,
          2 * std::int64_t{c.intermediate_size},
          widths.window ? heads : 0};
}

std::array<std::int64_t, Forward::kLogitBuffers> Forward::logit_row_floats(const LlamaConfig& c) {
  return {c.hidden_size, std::int64_t{c.heads} * c.head_dim, c.vocab_size};
}

std::size_t Forward::bytes(const LlamaConfig& config, const RowWidths& widths, std::int64_t rows,
                           std::int64_t logit_rows) {
  const auto sum = [](const auto& floats) {
    return std::accumulate(floats.begin(), floats.end(), std::int64_t{0});
  };
  const auto rope = 2 * std::ssize(config.inverse_frequencies()) * config.context;
  return static_cast<std::size_t>(rows * sum(row_floats(config, widths)) +
                                  logit_rows * sum(logit_row_floats(config)) + rope) *
         sizeof(float);
}

Status Forward::reserve(std::int64_t rows, std::int64_t logit_rows, const RowWidths& widths) {
  const LlamaConfig& c = weights_->config;
  const auto grow = [&](kernels::Device::Buffer& buffer, std::int64_t row_count, std::int64_t width) {
    buffer = empty_buffer();
    if (width == 0) return true;
    buffer = backend_.device().allocate(static_cast<std::size_t>(row_count * width) * sizeof(float));
    return buffer != nullptr;
  };
  const auto grow_all = [&](const auto& buffers, const auto& widths_of, std::int64_t row_count) {
    bool enough = true;
    for (std::size_t i = 0; i < buffers.size(); ++i)
      enough = enough && grow(*buffers[i], row_count, widths_of[i]);
    return enough;
  };
  bool enough = true;
  RowWidths wider = widths_;
  wider.cover(widths);
  if (rows > capacity_ || wider != widths_) {
    rows = std::max(rows, capacity_);
    widths_ = wider;
    const std::array<kernels::Device::Buffer*, kRowBuffers> buffers = {
        &x_, &h_, &qkv_, &gates_, &mapped_, &heads_, &gate_up_, &state_heads_};
    enough = grow_all(buffers, row_floats(c, widths_), rows);
    capacity_ = enough ? rows : 0;
  }
  if (enough && logit_rows > logit_capacity_) {
    const std::array<kernels::Device::Buffer*, kLogitBuffers> buffers = {&selected_, &selected_heads_,
                                                                         &logits_};
    enough = grow_all(buffers, logit_row_floats(c), logit_rows);
    logit_capacity_ = enough ? logit_rows : 0;
  }
  if (enough) return ok_status();
  return no_memory_for_step(backend_.device());
}

// Cosines and sines of all positions of the context. False: no memory.
bool Forward::make_rope() {
  const LlamaConfig& c = weights_->config;
  const std::vector<double> frequencies = c.inverse_frequencies();
  const std::vector<float> values =
      kernels::RopeTable::values(frequencies, c.context, c.rope.attention_factor);
  rope_values_ = backend_.device().allocate(values.size() * sizeof(float));
  if (rope_values_ == nullptr) return false;
  backend_.device().write(rope_values_.get(), values.data(), values.size() * sizeof(float));
  rope_ = kernels::RopeTable(floats(rope_values_), std::ssize(frequencies), c.context);
  return true;
}

Status Forward::run(std::span<const StepSequence> step) {
  const StepRows rows(step, weights_->device->piece_rows());
  RowWidths widths;
  for (const StepSequence& s : step) widths.cover(s.cache->plan().widths());
  if (rope_values_ == nullptr && !make_rope()) return no_memory_for_step(backend_.device());
  Status room = reserve(rows.count(), static_cast<std::int64_t>(rows.logit_rows.size()), widths);
  if (!room) return room;

  backend_.embed(rows.ids, *weights_->embedding, floats(x_));
  for (int layer = 0; layer + 1 < weights_->config.layers; ++layer) {
    const LayerBlocks blocks = rows.blocks_of(layer);
    mix(layer, rows, blocks);
    add_outputs(layer, floats(heads_), floats(x_), rows.count(), blocks, rows.all);
  }
  last_layer(rows);
  backend_.submit();
  return check_backend(backend_);
}

std::span<const float> Forward::logits(std::size_t i) const {
  const auto vocab = static_cast<std::size_t>(weights_->config.vocab_size);
  return {floats(logits_) + i * vocab, vocab};
}

void Forward::mix(int layer, const StepRows& rows, const LayerBlocks& blocks) {
  const LlamaConfig& c = weights_->config;
  const LayerWeights& w = weights_->layers[static_cast<std::size_t>(layer)];
  const std::int64_t hidden = c.hidden_size;
  backend_.rms_norm({floats(x_), hidden, w.attention_norm.data(), floats(h_), hidden, rows.count(), hidden,
                     static_cast<float>(c.rms_norm_eps)});
  project(floats(h_), *w.qkv, floats(qkv_), widths_.qkv, false, blocks.shared);
  add_bias(w.qkv_bias, floats(qkv_), widths_.qkv, blocks.shared);
  normalize_qk(w.q_norm, w.k_norm, c.head_dim, blocks.shared);
  for (const DslaRows& mine : blocks.dsla) {
    const DslaWeights& dsla = *mine.dsla;
    if (!dsla.own_projections()) continue;
    project(floats(h_), *dsla.qkv, floats(qkv_), widths_.qkv, false, mine.blocks);
    add_bias(dsla.qkv_bias, floats(qkv_), widths_.qkv, mine.blocks);
    normalize_qk(dsla.q_norm, dsla.k_norm, dsla.variant.key_channels(c.head_dim), mine.blocks);
  }
  if (!blocks.softmax.empty()) softmax_attention(layer, rows, blocks.softmax);
  for (const DslaRows& mine : blocks.dsla) linear_attention(layer, rows, mine);
}

void Forward::add_outputs(int layer, const float* heads, float* x, std::int64_t count,
                          const LayerBlocks& blocks, std::span<const RowBlock> all) {
  const LlamaConfig& c = weights_->config;
  const LayerWeights& w = weights_->layers[static_cast<std::size_t>(layer)];
  const std::int64_t hidden = c.hidden_size, width = c.intermediate_size;
  project(heads, *w.output, x, hidden, true, blocks.shared);
  add_bias(w.output_bias, x, hidden, blocks.shared);
  for (const DslaRows& mine : blocks.dsla) {
    if (!mine.dsla->own_projections()) continue;
    project(heads, *mine.dsla->output, x, hidden, true, mine.blocks);
    add_bias(mine.dsla->output_bias, x, hidden, mine.blocks);
  }

  backend_.rms_norm(
      {x, hidden, w.mlp_norm.data(), floats(h_), hidden, count, hidden, static_cast<float>(c.rms_norm_eps)});
  project(floats(h_), *w.gate_up, floats(gate_up_), 2 * width, false, all);
  add_bias(w.gate_up_bias, floats(gate_up_), 2 * width, all);
  backend_.swiglu({floats(gate_up_), 2 * width, floats(gate_up_), 2 * width, count, width});
  backend_.gemm({floats(gate_up_), 2 * width, w.down.get(), x, hidden, true, all});
  add_bias(w.down_bias, x, hidden, all);
}

void Forward::project(const float* x, const kernels::WeightMatrix& w, float* y, std::int64_t y_stride,
                      bool accumulate, std::span<const RowBlock> blocks) {
  if (!blocks.empty()) backend_.gemm({x, w.k(), &w, y, y_stride, accumulate, blocks});
}

void Forward::add_bias(const kernels::Vector& bias, float* y, std::int64_t y_stride,
                       std::span<const RowBlock> blocks) {
  if (bias.empty()) return;
  each_run(blocks, [&](std::int64_t first, std::int64_t rows) {
    backend_.bias({y + first * y_stride, y_stride, bias.data(), rows, bias.size()});
  });
}

void Forward::normalize_qk(const kernels::Vector& q_norm, const kernels::Vector& k_norm,
                           std::int64_t key_channels, std::span<const RowBlock> blocks) {
  if (q_norm.empty()) return;
  const LlamaConfig& c = weights_->config;
  const auto normalize = [&](float* heads, std::int64_t channels, const kernels::Vector& weight,
                             std::int64_t rows) {
    backend_.rms_norm({heads, widths_.qkv, weight.data(), heads, widths_.qkv, rows, c.head_dim,
                       static_cast<float>(c.rms_norm_eps), channels / c.head_dim});
  };
  each_run(blocks, [&](std::int64_t first, std::int64_t rows) {
    float* const q = floats(qkv_) + first * widths_.qkv;
    normalize(q, c.heads * key_channels, q_norm, rows);
    normalize(q + c.heads * key_channels, c.kv_heads * key_channels, k_norm, rows);
  });
}

Forward::Qkv Forward::qkv() const {
  const LlamaConfig& c = weights_->config;
  const std::int64_t q_width = std::int64_t{c.heads} * c.head_dim,
                     kv_width = std::int64_t{c.kv_heads} * c.head_dim;
  const float* q = floats(qkv_);
  return {q, q + q_width, q + q_width + kv_width, widths_.qkv};
}

void Forward::rotate(int layer, const StepRows& rows, std::span<const RowBlock> blocks) {
  const LlamaConfig& c = weights_->config;
  if (!c.rotates(layer)) return;
  each_run(blocks, [&](std::int64_t first, std::int64_t count) {
    // q and k lie side by side: one call rotates the heads of both.
    backend_.rope({floats(qkv_) + first * widths_.qkv, widths_.qkv, rows.positions.data() + first, count,
                   c.heads + c.kv_heads, &rope_});
  });
}

void Forward::softmax_attention(int layer, const StepRows& rows, std::span<const RowBlock> blocks) {
  const LlamaConfig& c = weights_->config;
  const bool last = layer == c.layers - 1;
  rotate(layer, rows, blocks);
  std::vector<kernels::AttentionPiece> pieces;
  for (const std::size_t i : rows.order) {
    const StepSequence& s = rows.step[i];
    if (rows.dsla(i, layer) != nullptr) continue;
    const std::int64_t silent = last ? rows.rows_of(i) - rows.wanted_of(i) : 0;
    for (const RowBlock& block : rows.blocks[i]) {
      const std::int64_t done = block.first - rows.first_row[i];
      pieces.push_back({block.first, block.rows, s.context + done, s.cache->pages(layer),
                        std::clamp<std::int64_t>(silent - done, 0, block.rows)});
    }
  }
  const Qkv x = qkv();
  backend_.attention({x.q, x.stride, x.k, x.v, x.stride, floats(heads_), std::int64_t{c.heads} * c.head_dim,
                      c.heads, 1.0f / std::sqrt(static_cast<float>(c.head_dim)), caches_.base(), caches_.kv(),
                      pieces, c.window(layer)});
}

void Forward::linear_attention(int layer, const StepRows& rows, const DslaRows& mine) {
  const DslaWeights& dsla = *mine.dsla;
  const std::vector<RowBlock>& blocks = mine.blocks;
  const DslaVariant& variant = dsla.variant;
  const bool windowed = variant.window > 0;
  float* state_heads = floats(windowed ? state_heads_ : heads_);
  project(floats(h_), *dsla.gates, floats(gates_), dsla.gates->n(), false, blocks);
  // q and k are rotated in place: states that want them as projected take their copy before.
  if (!variant.rotary && copies_features(variant)) map_features(variant, blocks);
  if (variant.expand_k > 1) narrow_heads(variant, blocks);
  if (variant.rotary || windowed) rotate(layer, rows, blocks);
  if (windowed) window_attention(layer, rows, dsla);
  if (variant.rotary && copies_features(variant)) map_features(variant, blocks);
  dual_state_attention(layer, rows, dsla, state_heads);
  if (variant.output_norm()) normalize_heads(state_heads, dsla.output_norm, blocks);
  if (windowed) add_shares(state_heads, dsla.share, blocks);
}

void Forward::window_attention(int layer, const StepRows& rows, const DslaWeights& dsla) {
  const LlamaConfig& c = weights_->config;
  std::vector<kernels::WindowPiece> pieces;
  for (const std::size_t i : rows.order) {
    if (rows.dsla(i, layer) != &dsla) continue;
    const StepSequence& s = rows.step[i];
    pieces.push_back({rows.first_row[i], rows.rows_of(i), s.context, s.cache->ring(layer)});
  }
  const Qkv x = qkv();
  backend_.window_attention({slot_shape(c, dsla.variant).window, x.q, x.stride, x.k, x.v, x.stride,
                             floats(heads_), std::int64_t{c.heads} * c.head_dim,
                             1.0f / std::sqrt(static_cast<float>(c.head_dim)), pieces});
}

void Forward::dual_state_attention(int layer, const StepRows& rows, const DslaWeights& dsla, float* heads) {
  const LlamaConfig& c = weights_->config;
  std::vector<kernels::DslaPiece> pieces;
  for (const std::size_t i : rows.order) {
    if (rows.dsla(i, layer) != &dsla) continue;
    const StepSequence& s = rows.step[i];
    pieces.push_back({rows.first_row[i], rows.rows_of(i), s.cache->state(layer)});
  }
  const kernels::DslaShape shape = slot_shape(c, dsla.variant).states;
  const Qkv x = qkv();
  const float *q = x.q, *k = x.k;
  std::int64_t qk_stride = x.stride;
  if (copies_features(dsla.variant)) {
    q = floats(mapped_);
    k = q + std::int64_t{c.heads} * shape.d_k;
    qk_stride = std::int64_t{c.heads + c.kv_heads} * shape.d_k;
  }
  const std::int64_t gates = dsla.gates->n(), width = std::int64_t{c.heads} * c.head_dim;
  if (dsla.variant.delta) {
    backend_.delta_rule({shape, q, qk_stride, k, qk_stride, x.v, x.stride, floats(gates_), gates,
                         dsla.gate_bias.data(), heads, width, pieces});
  } else {
    backend_.dsla({shape, q, qk_stride, k, qk_stride, x.v, x.stride, floats(gates_), gates,
                   dsla.gate_bias.data(), dsla.mix.data(), heads, width, pieces});
  }
}

void Forward::map_features(const DslaVariant& variant, std::span<const RowBlock> blocks) {
  const LlamaConfig& c = weights_->config;
  const Qkv x = qkv();
  const std::int64_t width = std::int64_t{c.heads + c.kv_heads} * variant.state_width(c.head_dim);
  each_run(blocks, [&](std::int64_t first, std::int64_t rows) {
    // q and k lie side by side, before and after.
    backend_.feature_map({variant.feature_map, x.q + first * x.stride, x.stride,
                          floats(mapped_) + first * width, width, rows, c.heads + c.kv_heads,
                          variant.key_channels(c.head_dim)});
  });
}

void Forward::narrow_heads(const DslaVariant& variant, std::span<const RowBlock> blocks) {
  const LlamaConfig& c = weights_->config;
  const std::int64_t heads = c.heads + c.kv_heads, channels = variant.key_channels(c.head_dim);
  each_run(blocks, [&](std::int64_t first, std::int64_t rows) {
    backend_.narrow_heads({floats(qkv_) + first * widths_.qkv, widths_.qkv, rows, heads, channels, c.head_dim,
                           std::int64_t{c.kv_heads} * c.head_dim});
  });
}

void Forward::normalize_heads(float* heads, const kernels::Vector& weight, std::span<const RowBlock> blocks) {
  const LlamaConfig& c = weights_->config;
  each_run(blocks, [&](std::int64_t first, std::int64_t rows) {
    float* o = heads + first * c.heads * c.head_dim;
    backend_.rms_norm({o, c.head_dim, weight.data(), o, c.head_dim, rows * c.heads, c.head_dim,
                       static_cast<float>(c.rms_norm_eps)});
  });
}

void Forward::add_shares(const float* x, const kernels::Vector& share, std::span<const RowBlock> blocks) {
  const LlamaConfig& c = weights_->config;
  const std::int64_t width = std::int64_t{c.heads} * c.head_dim;
  each_run(blocks, [&](std::int64_t first, std::int64_t rows) {
    backend_.head_share({x + first * width, width, share.data(), floats(heads_) + first * width, width, rows,
                         c.heads, c.head_dim});
  });
}

void Forward::last_layer(const StepRows& rows) {
  const LlamaConfig& c = weights_->config;
  const int layer = c.layers - 1;
  mix(layer, rows, rows.blocks_of(layer));
  const auto count = static_cast<std::int64_t>(rows.logit_rows.size());
  if (count == 0) return;
  const RowBlock all{0, count, RowKind::kDecode};
  backend_.gather({floats(x_), c.hidden_size, rows.logit_rows, floats(selected_)});
  backend_.gather(
      {floats(heads_), std::int64_t{c.heads} * c.head_dim, rows.logit_rows, floats(selected_heads_)});
  add_outputs(layer, floats(selected_heads_), floats(selected_), count, rows.logit_blocks(layer), {&all, 1});
  output_logits(count);
}

void Forward::output_logits(std::int64_t count) {
  const LlamaConfig& c = weights_->config;
  const std::int64_t hidden = c.hidden_size;
  backend_.rms_norm({floats(selected_), hidden, weights_->final_norm.data(), floats(selected_), hidden, count,
                     hidden, static_cast<float>(c.rms_norm_eps)});
  const RowBlock block{0, count, RowKind::kDecode};
  backend_.gemm({floats(selected_),
                 hidden,
                 &weights_->output_projection(),
                 floats(logits_),
                 c.vocab_size,
                 false,
                 {&block, 1}});
}

}  // namespace dslad::worker
