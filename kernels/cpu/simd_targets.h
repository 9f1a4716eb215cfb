// The instruction sets that our vectorised code is compiled for. Include before <hwy/foreach_target.h>.
//
// The baseline runs everywhere, AVX2 and AVX-512 nearly everywhere; what lies between adds only build time.
// Vectors of unknown size (SVE, RVV) cannot stand in arrays, which our register tiles are.
#pragma once

#ifndef DSLAD_MORE_DISABLED_TARGETS  // a build's own choice
#define DSLAD_MORE_DISABLED_TARGETS 0
#endif
#define HWY_DISABLED_TARGETS                                                                        \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | \
   DSLAD_MORE_DISABLED_TARGETS)
