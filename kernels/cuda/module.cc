#include "kernels/cuda/module.h"

#include <array>
#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <vector>

namespace dslad::kernels::cuda {
namespace {

constexpr const char* kModule = "libdslad-cuda.so";

// Where the module may lie, the likeliest first.
std::vector<std::filesystem::path> places() {
  if (const char* named = std::getenv("DSLAD_CUDA_MODULE")) return {named};
  std::error_code unknown;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", unknown);
  return {std::filesystem::path(DSLAD_MODULE_DIR) / kModule,
          program.parent_path().parent_path() / "lib" / kModule};
}

}  // namespace

std::shared_ptr<Device> open_device(int index, std::string& error) {
  void* module = nullptr;
  for (const std::filesystem::path& path : places()) {
    std::error_code unknown;
    if (!std::filesystem::exists(path, unknown)) {
      error += (error.empty() ? "CUDA: there is no " : ", nor ") + path.string();
      continue;
    }
    module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (module != nullptr) break;
    error = std::string("CUDA: ") + dlerror() + "; libraries come with NVIDIA's packages (libcublas)";
    return nullptr;
  }
  if (module == nullptr) {
    error += "; build dslad where nvcc is, or install its module for CUDA";
    return nullptr;
  }
  auto* const open = reinterpret_cast<OpenDevice*>(dlsym(module, kOpenDevice));
  if (open == nullptr) {
    error = std::string("CUDA: ") + dlerror();
    return nullptr;
  }
  std::array<char, 512> why{};
  Device* const device = open(index, DSLAD_VERSION, why.data(), why.size());
  error = why.data();
  return std::shared_ptr<Device>(device);
}

}  // namespace dslad::kernels::cuda
