#include "bench/model_shapes.h"

namespace dslad::bench {

worker::LlamaConfig model_shape(std::string_view name) {
  worker::LlamaConfig c;
  c.rms_norm_eps = 1e-5;
  if (name == "S") {
    c.hidden_size = 576, c.intermediate_size = 1536, c.layers = 30, c.heads = 9, c.kv_heads = 3;
    c.head_dim = 64, c.vocab_size = 49152, c.tie_word_embeddings = true;
  } else if (name == "M") {
    c.hidden_size = 2048, c.intermediate_size = 5632, c.layers = 22, c.heads = 32, c.kv_heads = 4;
    c.head_dim = 64, c.vocab_size = 32000;
  } else if (name == "7B") {
    c.hidden_size = 4096, c.intermediate_size = 11008, c.layers = 32, c.heads = 32, c.kv_heads = 32;
    c.head_dim = 128, c.vocab_size = 32000;
  } else {
    c.hidden_size = 4096, c.intermediate_size = 14336, c.layers = 32, c.heads = 32, c.kv_heads = 8;
    c.head_dim = 128, c.vocab_size = 128256;
  }
  return c;
}

}  // namespace dslad::bench
