// The shape of a Llama as its Hugging Face directory declares it (config.json, generation_config.json).
//
// A plain value, checked once when loaded: every field lies in the range stated here, so that nothing
// further down has to look again. What dslad cannot compute (scaled rotary embeddings, biases, another
// architecture, quantized weights) is refused with the key, its value and what to do instead.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "schema/result.h"

namespace dslad::worker {

struct LlamaConfig {
  std::int64_t hidden_size = 0;        // 1 .. 2^20
  std::int64_t intermediate_size = 0;  // 1 .. 2^22
  std::int64_t vocab_size = 0;         // 1 .. 2^24
  std::int64_t context = 0;            // max_position_embeddings, 1 .. 2^24
  int layers = 0;                      // 1 .. 1024
  int heads = 0;                       // 1 .. 1024, a multiple of kv_heads
  int kv_heads = 0;
  int head_dim = 0;  // even, 8 .. 256; heads * head_dim need not be hidden_size
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  bool tie_word_embeddings = false;
  std::optional<std::int32_t> bos_token_id;
  std::vector<std::int32_t> eos_token_ids;  // of both files, each once; any of them ends a text

  // Reads `dir`/config.json and, where present, `dir`/generation_config.json; of a GGUF file its metadata.
  // Errors: kNotFound without config.json; kCorrupt for malformed JSON; kInvalidArgument for a value.
  static Result<LlamaConfig> load(const std::filesystem::path& dir);

  // The same from the files' text; `generation` may be empty. `dir` is only named in errors.
  static Result<LlamaConfig> parse(std::string_view config, std::string_view generation,
                                   std::string_view dir);

  // rope_theta^(-2j / head_dim) for j < head_dim / 2.
  [[nodiscard]] std::vector<double> inverse_frequencies() const;
};

}  // namespace dslad::worker
