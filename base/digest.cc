#include "base/digest.h"

#include <fmt/format.h>
#include <new>
#include <xxhash.h>

namespace dslad {
namespace {

Hash from_xxh(const XXH128_hash_t& hash) {
  return {hash.high64, hash.low64};
}

}  // namespace

std::string Hash::hex() const {
  return fmt::format("{:016x}{:016x}", high, low);
}

Hash hash_of(std::string_view text) {
  return from_xxh(XXH3_128bits(text.data(), text.size()));
}

struct RunningHash::State {
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> xxh3{XXH3_createState(), XXH3_freeState};
};

RunningHash::RunningHash() : state_(std::make_unique<State>()) {
  if (state_->xxh3 == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_->xxh3.get());
}

RunningHash::RunningHash(RunningHash&&) noexcept = default;
RunningHash& RunningHash::operator=(RunningHash&&) noexcept = default;
RunningHash::~RunningHash() = default;

void RunningHash::add(std::string_view part) {
  XXH3_128bits_update(state_->xxh3.get(), part.data(), part.size());
}

Hash RunningHash::value() const {
  return from_xxh(XXH3_128bits_digest(state_->xxh3.get()));
}

}  // namespace dslad
