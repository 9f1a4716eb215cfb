// The shape of a Llama, or of a model whose graph is Llama's with a few optional parts, as its Hugging Face
// directory declares it (config.json, generation_config.json).
//
// A plain value, checked once when loaded: every field lies in the range stated here, so that nothing
// further down has to look again. What dslad cannot compute (another architecture, experts, quantized
// weights) is refused with the key, its value and what to do instead. architecture.h has the architectures,
// rope_config.h the rotary embeddings.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/model/rope_config.h"

namespace dslad::worker {

struct LlamaConfig {
  std::string architecture = "LlamaForCausalLM";  // transformers' class
  std::int64_t hidden_size = 0;                   // 1 .. 2^20
  std::int64_t intermediate_size = 0;             // 1 .. 2^22
  std::int64_t vocab_size = 0;                    // 1 .. 2^24
  std::int64_t context = 0;  // the longest sequence, 1 .. 2^24: rope.context(max_position_embeddings)
  int layers = 0;            // 1 .. 1024
  int heads = 0;             // 1 .. 1024, a multiple of kv_heads
  int kv_heads = 0;
  int head_dim = 0;  // even, 8 .. 256; heads * head_dim need not be hidden_size
  double rms_norm_eps = 1e-6;
  RopeConfig rope;
  bool tie_word_embeddings = false;

  // Parts that a Llama's layers need not have.
  bool qkv_bias = false, output_bias = false;  // of attention's projections
  bool mlp_bias = false;                       // of gate, up and down
  bool qk_norm = false;                        // RMSNorm of each head of q and k, before rotary
  std::vector<std::int64_t>
      windows;                      // by layer: tokens that a token sees, 1 .. context - 1; 0: all. Or empty
  std::vector<bool> rotary_layers;  // by layer: q and k are rotated. Or empty: all layers'
  std::optional<std::int32_t> bos_token_id;
  std::vector<std::int32_t> eos_token_ids;  // of both files, each once; any of them ends a text

  // Reads `dir`/config.json and, where present, `dir`/generation_config.json; of a GGUF file its metadata.
  // Errors: kNotFound without config.json; kCorrupt for malformed JSON; kInvalidArgument for a value.
  static Result<LlamaConfig> load(const std::filesystem::path& dir);

  // The same from the files' text; `generation` may be empty. `dir` is only named in errors.
  static Result<LlamaConfig> parse(std::string_view config, std::string_view generation,
                                   std::string_view dir);

  // [head_dim / 2]; with rope.attention_factor they make the table of cosines and sines.
  [[nodiscard]] std::vector<double> inverse_frequencies() const { return rope.inverse_frequencies(head_dim); }
  [[nodiscard]] std::int64_t window(int layer) const {
    return windows.empty() ? 0 : windows[static_cast<std::size_t>(layer)];
  }
  [[nodiscard]] bool rotates(int layer) const {
    return rotary_layers.empty() || rotary_layers[static_cast<std::size_t>(layer)];
  }

  // What its layers have and a Llama's need not, for people: "biases", "sliding windows", ...
  [[nodiscard]] std::vector<std::string_view> optional_parts() const;
};

}  // namespace dslad::worker
