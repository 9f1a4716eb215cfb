// The chunk form by AMX. Internal to kernels/dsla.
#pragma once

#include <cstdint>

#include "kernels/dsla/dsla_head.h"

namespace dslad::kernels {

// Whether this process may run it, for heads of this shape: d_k in steps of 32, d_v of 16.
bool amx_chunks(const DslaShape& shape);

// Floats of workspace, 64-byte aligned; what dsla_chunks_vectors() needs is among them.
std::int64_t dsla_chunks_amx_workspace(const DslaShape& shape);

// As dsla_chunks(). REQUIRES: amx_chunks()
void dsla_chunks_amx(const DslaHead& head, float* workspace);

}  // namespace dslad::kernels
