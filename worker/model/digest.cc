#include "worker/model/digest.h"

#include <algorithm>
#include <fmt/format.h>
#include <new>
#include <xxhash.h>

#include "worker/files/mapped_file.h"

namespace dslad::worker {

struct Digest::State {
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> xxh3{XXH3_createState(), XXH3_freeState};
};

Digest::Digest() : state_(std::make_unique<State>()) {
  if (state_->xxh3 == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_->xxh3.get());
}

Digest::~Digest() = default;

void Digest::add(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->xxh3.get(), bytes.data(), bytes.size());
}

void Digest::add(std::string_view text) {
  add(std::as_bytes(std::span(text)));
}

std::string Digest::hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->xxh3.get());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

std::string weights_digest(const WeightFiles& files) {
  Digest digest;
  for (const TensorView& tensor : files.tensors()) {
    digest.add(fmt::format("{}|{}|{}|", tensor.name, to_string(tensor.type), fmt::join(tensor.shape, ",")));
    constexpr std::size_t kPart = std::size_t{16} << 20;
    for (std::size_t at = 0; at < tensor.bytes.size(); at += kPart) {
      const auto part = tensor.bytes.subspan(at, std::min(kPart, tensor.bytes.size() - at));
      digest.add(part);
      release_pages(part);
    }
  }
  return digest.hex();
}

}  // namespace dslad::worker
