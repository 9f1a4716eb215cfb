// Arrays of a test in a device's memory: what an operation's arguments name on the host, there.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <vector>

#include "kernels/backend.h"

namespace dslad::kernels::testing {

class Transfer {
 public:
  Transfer(Device& device, Backend& backend) : device_(device), backend_(backend) {}

  // A copy of the array.
  template <class T>
  const T* copy(const T* host, std::int64_t count) {
    return reinterpret_cast<const T*>(send(host, bytes_of<T>(count)));
  }
  // One that fetch() copies back.
  template <class T>
  T* copy_back(T* host, std::int64_t count) {
    std::byte* const there = send(host, bytes_of<T>(count));
    back_.push_back({reinterpret_cast<std::byte*>(host), there, bytes_of<T>(count)});
    return reinterpret_cast<T*>(there);
  }
  // Once the operation is asked for.
  void fetch() {
    for (const Back& each : back_) backend_.read(each.host, each.there, each.bytes);
  }

 private:
  struct Back {
    std::byte *host, *there;
    std::size_t bytes;
  };

  template <class T>
  static std::size_t bytes_of(std::int64_t count) {
    return static_cast<std::size_t>(count) * sizeof(T);
  }
  std::byte* send(const void* host, std::size_t bytes) {
    Device::Buffer& buffer = buffers_.emplace_back(device_.allocate(bytes));
    if (buffer == nullptr) throw std::runtime_error("the test's device has too little memory");
    device_.write(buffer.get(), host, bytes);
    return buffer.get();
  }

  Device& device_;
  Backend& backend_;
  std::vector<Device::Buffer> buffers_;
  std::vector<Back> back_;
};

// Rows that the pieces of a call lie in.
template <class Piece>
std::int64_t rows_with(std::span<const Piece> pieces) {
  std::int64_t end = 0;
  for (const Piece& piece : pieces) end = std::max(end, piece.first_row + piece.rows);
  return end;
}

}  // namespace dslad::kernels::testing
