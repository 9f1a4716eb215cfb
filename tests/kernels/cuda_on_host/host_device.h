// A CUDA device without a GPU: kernels run by the executor, in memory that only operations can touch.
//
// Between operations the memory is closed to the host: who reads or writes it there is killed, as what it
// found on a real device would be worthless. So a test that passes on it shows that nothing outside the
// backend looks at a tensor. Thread safety: one device and one user at a time.
#pragma once

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_device.h"

namespace dslad::kernels::cuda::testing {

class HostDevice final : public CudaDevice {
 public:
  // At most so many bytes of memory. Pieces are shorter than a GPU's, so that tests with several take less
  // time.
  explicit HostDevice(std::size_t bytes = std::size_t{64} << 20, std::int64_t piece_rows = kPieceRows);

  [[nodiscard]] std::string_view name() const override { return "cuda on the host"; }
  [[nodiscard]] std::string_view error() const override;
  [[nodiscard]] Buffer allocate(std::size_t bytes) override;
  void write(void* to, const void* from, std::size_t bytes) override;
  [[nodiscard]] std::int64_t piece_rows() const override { return piece_rows_; }
  [[nodiscard]] std::optional<std::size_t> free_bytes() const override;
  // After so many operations every further one fails, and allocations with them, as after a fault of a real
  // device.
  void break_down(int after = 0);
  // From now on there is no memory, as where others have taken all that was free.
  void refuse_memory() { refuses_ = true; }
  // What operations made from now on will say to take while steps run.
  void take_later(std::size_t bytes) { later_bytes_ = bytes; }
  [[nodiscard]] std::unique_ptr<Operations> make_operations() override;

  // Every step that backends have asked for so far.
  struct Asked {
    std::string key;
    std::size_t operations;
  };
  [[nodiscard]] const std::vector<Asked>& steps() const { return *steps_; }
  // Operations that were queued and that nobody has waited for: on a GPU they may not have begun.
  [[nodiscard]] int under_way() const { return *under_way_; }

 private:
  std::size_t bytes_;
  std::int64_t piece_rows_;
  bool refuses_ = false;
  std::size_t later_bytes_ = 0;
  std::shared_ptr<std::vector<Asked>> steps_ = std::make_shared<std::vector<Asked>>();
  std::shared_ptr<int> under_way_ = std::make_shared<int>(0);
  std::shared_ptr<int> operations_left_ = std::make_shared<int>(std::numeric_limits<int>::max());
};

}  // namespace dslad::kernels::cuda::testing
