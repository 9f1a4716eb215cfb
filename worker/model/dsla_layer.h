// One converted layer's parameters as training holds them, and their file beside chain.json.
//
// docs/formats.md has the file's tensors: the paper's reference implementation's names. Plain values; the
// functions are safe from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/tensor.h"
#include "worker/files/mapped_file.h"
#include "worker/model/chain.h"
#include "worker/model/config.h"
#include "worker/model/dsla_variant.h"
#include "worker/model/weight_files.h"

namespace dslad::worker {

// Row-major float32. D = head_dim, H = heads, G = kv_heads, E = the variant's key_channels(D), K = its
// gates_of_kind() for each KV head: state_width(D), or 1 with the delta rule.
struct DslaLayerTensors {
  std::vector<float> q, k, v;  // [H * E, hidden], [G * E, hidden], [G * D, hidden]
  std::vector<float> o;        // [hidden, H * D]
  // Of two states; with one g2, c2 and alpha are empty. The delta rule has its beta's in g2 and c2.
  std::vector<float> g1, g2;  // gates' projections, history and recency [G * K, hidden]
  std::vector<float> c1, c2;  // their biases [G * K]
  std::vector<float> alpha;   // [2], or [2, H] where the variant has one per head; mix = softmax over the two
  std::vector<float> o_norm;  // [D] where the variant normalises the output, else empty
  std::vector<float> share;   // [H] of the states beside the window, where the variant has one, else empty
  // What the teacher's projections have beyond matrices (config.h), else empty.
  std::vector<float> q_bias, k_bias, v_bias;  // [H * E], [G * E], [G * D]
  std::vector<float> o_bias;                  // [hidden]
  std::vector<float> q_norm, k_norm;          // [D], of every D channels of q and k as projected
  bool operator==(const DslaLayerTensors&) const = default;
};

// What training starts from: q, k, v, o of the teacher, with their biases and norms; what q and k have beyond
// its channels random mixtures of them, the same of q's and of k's, so that it is alike where they are; G_1
// the identity (rectangular for grouped queries); G_2 uniform in +-1/sqrt(hidden), of a beta 0 with its bias;
// other biases by the variant's form, alpha 0, o_norm 1, share 0. Deterministic in `layer`. Errors: those of
// WeightFiles::require.
Result<DslaLayerTensors> initial_dsla_layer(const WeightFiles& teacher, const LlamaConfig& config, int layer,
                                            const DslaVariant& variant);

// What c_1 and c_2 start from. The paper's gates start alike; ours apart, history's open and recency's closed
// (docs/quality.md has why).
struct GateBiases {
  float history = 0, recency = 0;
};
GateBiases initial_gate_biases(LayerForm form);

// G_1 and G_2 as above, each [rows, hidden].
void initial_gates(std::int64_t rows, std::int64_t hidden, int layer, std::vector<float>& history,
                   std::vector<float>& recency);

struct SavedLayer {
  std::string file;      // its name in `dir`
  std::string checksum;  // XXH3-128 of its bytes, hex
};

// A layer's file, where it has no other name.
std::string layer_file_name(int layer);  // "layer-07.safetensors"

// Writes the layer's file `name` into `dir` (the folder of chain.json, made when missing), replacing an older
// one atomically. Matrices are stored as `dtype`; biases, alpha and o_norm as float32. chain.json is written
// after it, so that it never names what is not there.
// Errors: kInvalidArgument for a tensor of the wrong size or with numbers that are not finite (names it);
// those of write_safetensors.
Result<SavedLayer> save_dsla_layer(const std::filesystem::path& dir, const std::string& name,
                                   const LlamaConfig& config, const DslaVariant& variant,
                                   const DslaLayerTensors& tensors, kernels::DType dtype);

// The bytes of the file that `layer` of a manifest names. Errors: kNotFound, kUnavailable; kCorrupt
// (checksum).
Result<MappedFile> open_dsla_layer(const std::filesystem::path& dir, const DistilledLayer& layer);

// Reads what `layer` of a manifest names, in full: checksum, names, shapes against config and variant.
// Errors: kNotFound, kUnavailable; kCorrupt (checksum, header); kInvalidArgument (a tensor is missing, has
// another shape, or is not finite). All name the file.
Result<DslaLayerTensors> load_dsla_layer(const std::filesystem::path& dir, const DistilledLayer& layer,
                                         const LlamaConfig& config, const DslaVariant& variant);

}  // namespace dslad::worker
