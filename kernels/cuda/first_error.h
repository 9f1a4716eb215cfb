// What a device said first: the cause of whatever it says afterwards. Thread safety: any thread.
#pragma once

#include <mutex>
#include <string>
#include <string_view>

namespace dslad::kernels::cuda {

class FirstError {
 public:
  void keep(std::string error) {
    const std::lock_guard lock(mutex_);
    if (error_.empty()) error_ = std::move(error);
  }
  // Empty while there is none; what is shown stays as it is.
  [[nodiscard]] std::string_view get() const {
    const std::lock_guard lock(mutex_);
    return error_;
  }

 private:
  mutable std::mutex mutex_;
  std::string error_;
};

}  // namespace dslad::kernels::cuda
