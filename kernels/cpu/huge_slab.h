// Many weight matrices on shared huge pages.
//
// A small model's matrices are each smaller than a huge page; on pages of their own, reading them costs a
// quarter of the memory bandwidth in address translation. Blocks are carved from 32 MiB slabs in turn; a slab
// goes back to the system with its last block. For memory that is allocated and freed in large groups.
// Thread-safe.
#pragma once

#include <cstddef>

#include "kernels/cpu/aligned_buffer.h"

namespace dslad::kernels {

// Zeroed and 64-byte aligned; null when the system refuses. Large blocks get a mapping of their own.
[[nodiscard]] AlignedBuffer allocate_in_slab(std::size_t bytes);

}  // namespace dslad::kernels
