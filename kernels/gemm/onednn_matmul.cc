#include "kernels/gemm/onednn_matmul.h"

#include <exception>
#include <map>
#include <mutex>
#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <shared_mutex>
#include <string_view>

#include "kernels/cpu/workspace.h"
#include "kernels/gemm/panel_product.h"

namespace dslad::kernels {
namespace {

using dnnl::memory;

void use_one_thread() {
  thread_local const bool once = [] {
    omp_set_num_threads(1);
    return true;
  }();
  static_cast<void>(once);
}

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

memory::desc source_desc(const MatmulShape& shape, memory::data_type type) {
  return {{shape.rows, shape.padded_k}, type, memory::dims{shape.padded_k, 1}};
}

memory::desc weights_desc(const MatmulShape& shape, memory::data_type type) {
  const auto tag =
      shape.dtype == DType::kBf16 ? memory::format_tag::BA16a64b2a : memory::format_tag::BA16a64b;
  return {{shape.padded_k, shape.columns}, type, tag};
}

memory::desc result_desc(const MatmulShape& shape) {
  return {{shape.rows, shape.columns}, memory::data_type::f32, memory::dims{shape.ldy, 1}};
}

dnnl::matmul::primitive_desc describe(const MatmulShape& shape) {
  const auto type = shape.dtype == DType::kBf16 ? memory::data_type::bf16 : memory::data_type::f32;
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // the library's own is not for many threads
  if (shape.accumulate) {
    dnnl::post_ops add_y;
    add_y.append_sum();
    attributes.set_post_ops(add_y);
  }
  const auto x = source_desc(shape, type), w = weights_desc(shape, type), y = result_desc(shape);
#if DNNL_VERSION_MAJOR >= 3
  return {cpu_engine(), x, w, y, attributes};
#else
  return {dnnl::matmul::desc(x, w, y), attributes, cpu_engine()};
#endif
}

// "brg:avx512_core_bf16", "jit:avx2", ...; but "gemm:jit" is a fallback that copies, and "ref:any" slower
// still.
bool is_tuned(std::string_view implementation) {
  return implementation.starts_with("brg");
}

std::optional<dnnl::matmul::primitive_desc> describe_tuned(const MatmulShape& shape) {
  try {
    dnnl::matmul::primitive_desc description = describe(shape);
    if (is_tuned(description.impl_info_str())) return description;
  } catch (const std::exception&) {
    // Not supported here.
  }
  return std::nullopt;
}

// The same product in rows that lie close together.
MatmulShape compact(MatmulShape shape) {
  shape.ldy = shape.columns;
  shape.accumulate = false;
  return shape;
}

}  // namespace

struct OneDnnMatmul::Impl {
  Impl(const dnnl::matmul::primitive_desc& description, const MatmulShape& of, bool by_tile)
      : shape(of),
        through_tile(by_tile),
        x(description.src_desc()),
        w(description.weights_desc()),
        y(description.dst_desc()),
        scratch(description.scratchpad_desc()),
        primitive(description) {}

  MatmulShape shape;
  bool through_tile;  // the product is made in rows of `columns`, and goes from there into y
  memory::desc x, w, y, scratch;
  dnnl::matmul primitive;
};

OneDnnMatmul::OneDnnMatmul(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
OneDnnMatmul::~OneDnnMatmul() = default;

const OneDnnMatmul* OneDnnMatmul::find(const MatmulShape& shape) {
  static std::shared_mutex mutex;
  static std::map<MatmulShape, std::unique_ptr<OneDnnMatmul>> prepared;  // null: there is no tuned code
  {
    const std::shared_lock lock(mutex);
    if (const auto found = prepared.find(shape); found != prepared.end()) return found->second.get();
  }
  use_one_thread();
  const std::unique_lock lock(mutex);
  const auto [entry, added] = prepared.try_emplace(shape);
  if (!added) return entry->second.get();
  // Version 3.7 (Debian 13) gives wrong values in a single column of a wider result: kernels_test has the
  // case.
  if (shape.columns == 1) return nullptr;
  // Its AMX code of version 2.6 takes no y whose rows lie apart; a copy costs little beside what AMX gains.
  try {
    for (const MatmulShape& made : {shape, compact(shape)}) {
      const auto description = describe_tuned(made);
      if (!description) continue;
      entry->second.reset(new OneDnnMatmul(std::make_unique<Impl>(*description, shape, made != shape)));
      break;
    }
  } catch (const std::exception&) {
    // No memory for its code: the entry stays null.
  }
  return entry->second.get();
}

bool OneDnnMatmul::run(const std::byte* x, const std::byte* w, float* y) const {
  use_one_thread();
  const auto handle = [](const std::byte* data) { return const_cast<std::byte*>(data); };  // oneDNN's API
  try {
    thread_local dnnl::stream stream(cpu_engine());
    thread_local Workspace scratchpad, tile;
    const MatmulShape& shape = impl_->shape;
    float* const out =
        impl_->through_tile ? tile.floats(static_cast<std::size_t>(shape.rows * shape.columns)) : y;
    const memory source(impl_->x, cpu_engine(), handle(x)), weights(impl_->w, cpu_engine(), handle(w));
    const memory result(impl_->y, cpu_engine(), out);
    const memory scratch(impl_->scratch, cpu_engine(),
                         scratchpad.floats(impl_->scratch.get_size() / sizeof(float) + 1));
    impl_->primitive.execute(stream, {{DNNL_ARG_SRC, source},
                                      {DNNL_ARG_WEIGHTS, weights},
                                      {DNNL_ARG_DST, result},
                                      {DNNL_ARG_SCRATCHPAD, scratch}});
    stream.wait();
    if (impl_->through_tile)
      store_tile(out, shape.columns, shape.rows, shape.columns, y, shape.ldy, shape.accumulate);
    return true;
  } catch (const std::exception&) {  // dnnl::error, or no memory
    return false;
  }
}

}  // namespace dslad::kernels
