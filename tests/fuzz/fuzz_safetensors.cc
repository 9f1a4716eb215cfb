// A safetensors file: what is taken lies within it.
#include "tests/fuzz/fuzz.h"
#include "worker/model/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span file(reinterpret_cast<const std::byte*>(data), size);
  const auto tensors = dslad::worker::parse_safetensors(file, "file");
  if (!tensors) return 0;
  volatile unsigned sum = 0;  // every byte is read
  for (const dslad::worker::TensorView& tensor : *tensors) {
    for (const std::byte byte : tensor.bytes) sum = sum + static_cast<unsigned>(byte);
  }
  return 0;
}
