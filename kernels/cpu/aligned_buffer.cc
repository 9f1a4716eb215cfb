#include "kernels/cpu/aligned_buffer.h"

#include <cstring>
#include <limits>
#include <new>
#include <sys/mman.h>

namespace dslad::kernels {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kLargeBytes = std::size_t{4} << 20;

void free_small(std::byte* memory) {
  ::operator delete (memory, std::align_val_t{kAlignment});
}

AlignedBuffer allocate_small(std::size_t bytes) {
  auto* memory = static_cast<std::byte*>(::operator new (bytes, std::align_val_t{kAlignment}, std::nothrow));
  if (memory != nullptr) std::memset(memory, 0, bytes);
  return {memory, free_small};
}

// The deleter gets no size: a mapping keeps its own in the 64 bytes before the memory.
void unmap_large(std::byte* memory) {
  if (memory == nullptr) return;
  std::byte* mapping = memory - kAlignment;
  std::size_t size = 0;
  std::memcpy(&size, mapping, sizeof(size));
  ::munmap(mapping, size);
}

AlignedBuffer allocate_large(std::size_t bytes) {
  const std::size_t size = bytes + kAlignment;
  void* mapping = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return empty_buffer();
  ::madvise(mapping, size, MADV_HUGEPAGE);  // advice: a kernel without huge pages is only slower
  std::memcpy(mapping, &size, sizeof(size));
  return {static_cast<std::byte*>(mapping) + kAlignment, unmap_large};
}

}  // namespace

AlignedBuffer empty_buffer() {
  return {nullptr, free_small};
}

AlignedBuffer allocate_aligned(std::size_t bytes) {
  if (bytes > std::numeric_limits<std::size_t>::max() / 2) return empty_buffer();
  return bytes < kLargeBytes ? allocate_small(bytes) : allocate_large(bytes);
}

}  // namespace dslad::kernels
