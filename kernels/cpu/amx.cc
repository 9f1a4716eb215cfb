#include "kernels/cpu/amx.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace dslad::kernels {
namespace {

// asm/prctl.h, which not every system has.
constexpr long kRequestState = 0x1023, kTileData = 18;

bool processor_has_it() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  return (d & kAmxBf16) != 0 && (d & kAmxTile) != 0 && __builtin_cpu_supports("avx512f") != 0 &&
         __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vl") != 0 &&
         __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512bf16") != 0;
}

}  // namespace

bool may_use_amx() {
  static const bool granted = processor_has_it() && syscall(SYS_arch_prctl, kRequestState, kTileData) == 0;
  return granted;
}

}  // namespace dslad::kernels

#else

namespace dslad::kernels {
bool may_use_amx() {
  return false;
}
}  // namespace dslad::kernels

#endif
