// What a converted layer computes where that differs from the paper's layer (arXiv 2506.09316), recorded in
// chain.json so that serving and training agree.
//
//   q, k = map(rotary(W_q x)), map(rotary(W_k x));  o = DSLA(q, k, W_v x);  y = W_o norm(o)
// with each part there or not; of DSLA's two states the history's may stand alone, or one state that follows
// the gated delta rule (kernels/delta) may take their place: for layers that look facts up. With a window of
// W tokens
//   y = W_o (softmax_attention(rotary(W_q x), rotary(W_k x), v over the W latest tokens) + share_h norm(o))
// (with sinks, also over a sequence's first tokens)
// whether or not the states' q and k are rotated, and one learned share a head, 0 at first: training starts
// from the teacher's attention cut to the window. With expand_k above 1 a head's q and k have that many times
// head_dim channels: the map sees all, the window the first head_dim of them. What the model's attention has
// beyond this (config.h) its converted layers have too: biases of the projections, a norm of every head_dim
// channels of q and k right behind them, no rotary embedding where the layer has none. A sliding window is
// the attention's alone. Plain values; safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "kernels/attention/window_attention.h"
#include "kernels/dsla/feature_map.h"

namespace dslad::worker {

// How a head's output is made of its states.
enum class LayerForm : std::uint8_t {
  kPaper,  // of two states one mixture for all heads, alpha [2]
  kDslad,  // one for each, alpha [2, heads]; RMSNorm of each head's output, one weight [d_v] for all
};

struct DslaVariant {
  std::string name = "paper";  // for people; the other fields say what it means
  LayerForm form = LayerForm::kPaper;
  bool rotary = false;  // the model's rotary embedding on the q and k that the states see
  kernels::FeatureMap feature_map = kernels::FeatureMap::kNone;  // on q and k, after rotary
  int states = 2;                                                // 1: the history's alone, without mixture
  bool delta = false;       // that one state follows the delta rule, with a gate and a beta for each KV head
  int expand_k = 1;         // channels of a head's q and k before the map, in head_dims
  std::int64_t window = 0;  // tokens of exact attention beside the states; 0: none
  std::int64_t sinks = 0;   // with a window: first tokens of a sequence that it has as well

  [[nodiscard]] bool alpha_per_head() const { return form == LayerForm::kDslad; }
  // Values of alpha in a layer of so many query heads: a single state has none.
  [[nodiscard]] std::int64_t alpha_size(std::int64_t heads) const {
    return states == 1 ? 0 : 2 * (alpha_per_head() ? heads : 1);
  }
  [[nodiscard]] bool output_norm() const { return form == LayerForm::kDslad; }
  // Channels of a head's q and k as they are projected, for heads of `head_dim`.
  [[nodiscard]] int key_channels(int head_dim) const { return expand_k * head_dim; }
  // d_k of the states, and so of the gates.
  [[nodiscard]] int state_width(int head_dim) const {
    return kernels::feature_width(feature_map, key_channels(head_dim));
  }
  // Whether q and k exist twice: rotated for the window, as projected for the states.
  [[nodiscard]] bool rotates_for_window_only() const { return window > 0 && !rotary; }
  // Kinds of logits that a layer projects for its states, and how many of each in a layer of so many KV
  // heads: history's and recency's gates, of every channel; or the delta rule's gates and betas, of every KV
  // head.
  [[nodiscard]] int gate_kinds() const { return delta ? 2 : states; }
  [[nodiscard]] std::int64_t gates_of_kind(std::int64_t kv_heads, int head_dim) const {
    return delta ? kv_heads : kv_heads * state_width(head_dim);
  }
  bool operator==(const DslaVariant&) const = default;
};

inline constexpr int kMaxExpandK = 16;

// kInvalidArgument: rotary with expand_k above 1, as rotary turns head_dim channels; sinks without a window;
// the delta rule with two states.
Status check_variant(const DslaVariant& variant);

// Whether layers of both may stand in one chain: they may differ in rotary, feature map, states,
// delta and expand_k.
bool fit_one_chain(const DslaVariant& a, const DslaVariant& b);

// A variant whose buffers hold a layer of either. REQUIRES: fit_one_chain(a, b).
DslaVariant widest(const DslaVariant& a, const DslaVariant& b);

// "paper": the paper's layer. "dslad", the default (docs/quality.md has why): its own form, a window of 256
// tokens and 4 sinks, rotary, softmax map. kInvalidArgument for another name; says which there are.
Result<DslaVariant> named_variant(std::string_view name);

// "none", "softmax", "softmax_pair", as chain.json spells them.
std::string_view to_string(kernels::FeatureMap map);
Result<kernels::FeatureMap> parse_feature_map(std::string_view name);

}  // namespace dslad::worker
