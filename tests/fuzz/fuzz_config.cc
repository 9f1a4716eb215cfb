// config.json and, behind a null byte, generation_config.json.
#include "tests/fuzz/fuzz.h"
#include "worker/model/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = dslad::fuzz::text_of(data, size);
  const std::size_t end = std::min(text.find('\0'), size);
  const auto config =
      dslad::worker::LlamaConfig::parse(text.substr(0, end), text.substr(std::min(end + 1, size)), "model");
  if (!config) return 0;
  // What is taken must be fit for use.
  if (config->layers < 1 || config->heads < 1 || config->kv_heads < 1 ||
      config->heads % config->kv_heads != 0)
    std::abort();
  if (config->context < 1 || config->vocab_size < 1) std::abort();
  const auto few = static_cast<std::int64_t>(1) << 16;
  if (config->head_dim <= few && std::ssize(config->inverse_frequencies()) > config->head_dim / 2)
    std::abort();
  for (int layer = 0; layer < std::min<std::int64_t>(config->layers, few); ++layer) {
    if (config->window(layer) < 0 || config->window(layer) >= config->context) std::abort();
    (void)config->rotates(layer);
  }
  return 0;
}
