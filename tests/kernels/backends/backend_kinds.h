// Every backend that there is, for tests that hold all of them to the same references.
#pragma once

#include <array>
#include <cstdint>
#include <gtest/gtest.h>
#include <memory>
#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/module.h"
#include "tests/kernels/cuda_on_host/host_device.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels::testing {

// The CUDA kernels run on the host too (cuda_on_host), some thousand times slower.
enum class BackendKind : std::uint8_t { kCpu, kCudaOnHost, kGpu };

inline constexpr std::array kBackendKinds = {BackendKind::kCpu, BackendKind::kCudaOnHost, BackendKind::kGpu};

// Against references in double, by the type that operands are stored in.
constexpr double backend_tolerance(DType dtype) {
  return dtype == DType::kF32 ? 1e-4 : 1e-2;
}

// A backend of each kind in turn; tests of one that is not there skip themselves.
class OnEveryBackend : public ::testing::TestWithParam<BackendKind> {
 protected:
  void SetUp() override {
    std::string why;
    switch (GetParam()) {
      case BackendKind::kCpu:
        device = cpu_device();
        break;
      case BackendKind::kCudaOnHost:
        device = std::make_shared<cuda::testing::HostDevice>(std::size_t{256} << 20);
        break;
      case BackendKind::kGpu:
        device = cuda::open_device(0, why);
        if (device == nullptr) GTEST_SKIP() << "skipped: no CUDA device (" << why << ")";
        break;
    }
    backend = device->make_backend(3);
    ASSERT_NE(backend, nullptr);
  }
  void TearDown() override {
    if (backend != nullptr) {
      EXPECT_EQ(backend->error(), "");
    }
  }

  // Whether long inputs take no time.
  [[nodiscard]] static bool is_fast() { return GetParam() != BackendKind::kCudaOnHost; }

  std::shared_ptr<Device> device;
  std::unique_ptr<Backend> backend;
};

inline std::string backend_name(const ::testing::TestParamInfo<BackendKind>& info) {
  static constexpr std::array kNames = {"Cpu", "CudaOnHost", "Gpu"};
  return kNames[static_cast<std::size_t>(info.param)];
}

}  // namespace dslad::kernels::testing
