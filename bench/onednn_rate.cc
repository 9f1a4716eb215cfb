#include "bench/onednn_rate.h"

#include <cstring>
#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>
#include <thread>

#include "bench/peaks.h"

namespace dslad::bench {

namespace {

using dnnl::memory;

// Empty where oneDNN has no product of the type on this machine.
dnnl::matmul::primitive_desc describe(const dnnl::engine& engine, std::int64_t rows, std::int64_t k,
                                      std::int64_t n, memory::data_type type) {
  const memory::desc x({rows, k}, type, memory::format_tag::any);
  const memory::desc w({k, n}, type, memory::format_tag::any);
  const memory::desc y({rows, n}, memory::data_type::f32, memory::format_tag::any);
#if DNNL_VERSION_MAJOR >= 3
  return {engine, x, w, y, dnnl::primitive_attr(), true};
#else
  return {dnnl::matmul::desc(x, w, y), engine, true};
#endif
}

}  // namespace

double onednn_seconds(std::int64_t n, std::int64_t k, kernels::DType dtype, std::int64_t rows, int threads) {
  double seconds = 0;
  std::thread([&] {
    omp_set_num_threads(threads);
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    dnnl::stream stream(engine);
    dnnl::matmul::primitive_desc description;
    if (dtype == kernels::DType::kBf16) description = describe(engine, rows, k, n, memory::data_type::bf16);
    if (!description) description = describe(engine, rows, k, n, memory::data_type::f32);
    const memory source(description.src_desc(), engine), weights(description.weights_desc(), engine);
    const memory result(description.dst_desc(), engine);
    std::memset(source.get_data_handle(), 0, description.src_desc().get_size());
    std::memset(weights.get_data_handle(), 0, description.weights_desc().get_size());
    const dnnl::matmul matmul(description);
    seconds = best_step_seconds(threads, 7, [&] {
      matmul.execute(stream, {{DNNL_ARG_SRC, source}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, result}});
      stream.wait();
    });
  }).join();
  return seconds;
}

}  // namespace dslad::bench
