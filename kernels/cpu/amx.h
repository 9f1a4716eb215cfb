// AMX: products of bf16 tiles of 16 x 32 in one instruction of x86-64.
#pragma once

namespace dslad::kernels {

// Whether this process may use AMX for bf16, with AVX-512 and its bf16 conversions beside it. Linux gives a
// process the registers on request; the first call makes it. Thread-safe.
bool may_use_amx();

}  // namespace dslad::kernels
