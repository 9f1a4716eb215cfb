#include "kernels/cpu/huge_slab.h"

#include <cstring>
#include <memory>
#include <mutex>
#include <new>

namespace dslad::kernels {
namespace {

constexpr std::size_t kSlabBytes = std::size_t{32} << 20;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kLargestBlock = std::size_t{8} << 20;
constexpr std::size_t kHeader = 64;  // before each block: the reference that keeps its slab alive

struct Slab {
  AlignedBuffer memory = empty_buffer();
  std::size_t used = 0;
};
using SlabReference = std::shared_ptr<Slab>;

void release_block(std::byte* block) {
  if (block == nullptr) return;
  auto* reference = std::launder(reinterpret_cast<SlabReference*>(block - kHeader));
  const SlabReference last = std::move(*reference);  // the header itself lies in the slab
  reference->~SlabReference();
}

SlabReference make_slab() {
  auto slab = std::make_shared<Slab>();
  slab->memory = allocate_aligned(kSlabBytes + kHugePage);
  if (slab->memory == nullptr) return nullptr;
  slab->used = kHugePage - reinterpret_cast<std::uintptr_t>(slab->memory.get()) % kHugePage;
  return slab;
}

}  // namespace

AlignedBuffer allocate_in_slab(std::size_t bytes) {
  if (bytes > kLargestBlock) return allocate_aligned(bytes);
  static std::mutex mutex;
  static SlabReference current;
  const std::size_t size = kHeader + (bytes + 63) / 64 * 64;
  const std::lock_guard lock(mutex);
  if (current == nullptr || current->used + size > kSlabBytes) current = make_slab();
  if (current == nullptr) return empty_buffer();
  std::byte* header = current->memory.get() + current->used;
  current->used += size;
  new (header) SlabReference(current);
  return {header + kHeader, release_block};
}

}  // namespace dslad::kernels
