// Zeroed, 64-byte aligned memory for tensors; large blocks on huge pages, which streaming over weights needs.
//
// Pages of a large block are taken from the system when they are first touched. Thread-safe.
#pragma once

#include <cstddef>
#include <memory>

namespace dslad::kernels {

using AlignedBuffer = std::unique_ptr<std::byte, void (*)(std::byte*)>;

// Null when the system refuses.
[[nodiscard]] AlignedBuffer allocate_aligned(std::size_t bytes);

// Holds nothing: what a member is before it is allocated.
[[nodiscard]] AlignedBuffer empty_buffer();

}  // namespace dslad::kernels
