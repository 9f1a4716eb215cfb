// What libdslad-cuda.so has for the program that loads it, and how it is loaded.
//
// The module and the program share C++ interfaces, so both must come from one build of one version.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "kernels/device.h"

namespace dslad::kernels::cuda {

// Opens device `index`. Null: why not is in `error`, ended by 0. `version`: the program's.
using OpenDevice = Device*(int index, const char* version, char* error, std::size_t error_bytes);
inline constexpr const char* kOpenDevice = "dslad_cuda_open_device";

// Device `index` through the module: beside the program's own libraries (PREFIX/lib/dslad, or ../lib in a
// build), or where the variable DSLAD_CUDA_MODULE says. Null: why not is in `error`, which names CUDA.
// The module stays loaded.
std::shared_ptr<Device> open_device(int index, std::string& error);

}  // namespace dslad::kernels::cuda
