// Fingerprints of weights: XXH3 with 128 bits, in hex. Guards against mix-ups and damage, not against an
// adversary.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "worker/model/weight_files.h"

namespace dslad::worker {

class Digest {
 public:
  Digest();
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  void add(std::span<const std::byte> bytes);
  void add(std::string_view text);
  [[nodiscard]] std::string hex() const;  // of what was added so far; 32 digits

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Of every tensor's name, type, shape and bytes, in the order of the files: a model's identity.
std::string weights_digest(const WeightFiles& files);

}  // namespace dslad::worker
