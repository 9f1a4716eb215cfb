// Rotary position embedding in the half-rotated layout of Hugging Face's Llama, in place.
//
//   for j < d/2:  (x_j, x_{j+d/2}) <- (x_j cos - x_{j+d/2} sin, x_{j+d/2} cos + x_j sin),  angle = position *
//   inv_freq_j
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dslad::kernels {

class ThreadPool;

// Cosines and sines of every position times a scale, [positions, d/2] each, computed in double from the
// inverse frequencies.
class RopeTable {
 public:
  // In host memory.
  RopeTable(std::span<const double> inv_freq, std::int64_t positions, double scale = 1.0);
  // A view of values(), wherever they were copied to.
  RopeTable(const float* values, std::int64_t half, std::int64_t positions);
  // [2, positions, d/2]: the cosines, then the sines.
  static std::vector<float> values(std::span<const double> inv_freq, std::int64_t positions,
                                   double scale = 1.0);
  RopeTable(RopeTable&&) = default;
  RopeTable& operator=(RopeTable&&) = default;

  [[nodiscard]] std::int64_t half() const { return half_; }
  [[nodiscard]] std::int64_t positions() const { return positions_; }
  [[nodiscard]] const float* cos(std::int64_t position) const { return cos_ + position * half_; }
  [[nodiscard]] const float* sin(std::int64_t position) const { return cos(positions_ + position); }

 private:
  std::vector<float> own_;
  const float* cos_;
  std::int64_t half_, positions_;
};

struct RopeArgs {
  float* x;  // [rows, heads, d], row stride x_stride floats, d = 2 * table->half()
  std::int64_t x_stride;
  const std::int32_t* positions;  // [rows], each < table->positions()
  std::int64_t rows;
  int heads;
  const RopeTable* table;
  bool inverse = false;  // turns back (and scales as before): the gradient
};

void rope_ref(const RopeArgs& args);
void rope_cpu(ThreadPool& pool, const RopeArgs& args);

}  // namespace dslad::kernels
