// What clang lacks as a CUDA compiler, included before everything else. For clang alone.
#pragma once

// CUDA's headers define it as a macro, which GCC's <memory> spells as an attribute; to clang it is a word
// anyhow.
#undef __noinline__

// New in clang 20. Without it clang finds by itself that nothing writes to a kernel's arguments, and reads
// them where they are.
#if !__has_attribute(grid_constant)
#undef __grid_constant__
#define __grid_constant__
#endif
