// Attention over pages and over windows, on every backend.
#include <fmt/format.h>

#include "tests/kernels/attention_world.h"
#include "tests/kernels/backends/backend_kinds.h"
#include "tests/kernels/backends/transfer.h"
#include "tests/kernels/window_world.h"

namespace dslad::kernels::testing {
namespace {

// Arguments of attention over pages or over windows, their rows in the device's memory.
template <class Args>
Args with_rows_there(Args args, Transfer& to) {
  const std::int64_t rows = rows_with(args.pieces);
  args.q = to.copy(args.q, rows * args.q_stride);
  args.k = to.copy(args.k, rows * args.kv_stride);
  args.v = to.copy(args.v, rows * args.kv_stride);
  args.o = to.copy_back(args.o, rows * args.o_stride);
  return args;
}

class AttentionOnEveryBackend : public OnEveryBackend {
 protected:
  // A world whose pages are as the backend wants them.
  [[nodiscard]] AttentionWorld world(AttentionShape shape, std::uint64_t seed) const {
    shape.pairs = backend->kv_layout({shape.dtype, shape.n_kv, shape.d}).pairs;
    return AttentionWorld(shape, seed);
  }

  // The rows of o, and the pool as the operation leaves it.
  std::vector<float> run(AttentionWorld& world, std::span<const AttentionPiece> pieces) {
    return world.run_by(
        [&](const AttentionArgs& here) {
          Transfer to(*device, *backend);
          AttentionArgs args = with_rows_there(here, to);
          args.pool = to.copy_back(world.pool().data(), std::ssize(world.pool()));
          backend->attention(args);
          to.fetch();
        },
        pieces);
  }

  void expect_reference(const AttentionShape& shape, std::int64_t window,
                        const std::vector<std::pair<std::int64_t, std::int64_t>>& sequences) {
    SCOPED_TRACE(fmt::format("{}/{} heads of {}, {}, window {}, {} sequences", shape.n_heads, shape.n_kv,
                             shape.d, shape.dtype == DType::kF32 ? "f32" : "bf16", window, sequences.size()));
    AttentionWorld there = world(shape, 7), here = world(shape, 7);
    for (AttentionWorld* const each : {&there, &here}) {
      each->see(window);
      for (const auto& [context, rows] : sequences) each->add(context, rows);
    }
    const auto actual = run(there, there.pieces()), expected = here.run_ref();
    for (const AttentionPiece& piece : here.pieces()) {
      EXPECT_TRUE(
          close(there.rows_of(actual, piece), here.rows_of(expected, piece), backend_tolerance(shape.dtype)))
          << piece.rows << " rows behind " << piece.context;
    }
    EXPECT_TRUE(there.pool() == here.pool()) << "keys and values are stored, and nothing else is touched";
  }
};

TEST_P(AttentionOnEveryBackend, EqualsTheReference) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const AttentionShape& shape :
         {AttentionShape{2, 2, 16, dtype}, AttentionShape{6, 2, 64, dtype}, AttentionShape{4, 1, 80, dtype},
          AttentionShape{8, 1, 128, dtype}, AttentionShape{1, 1, 256, dtype}}) {
      expect_reference(shape, 0, {{0, 1}, {63, 1}, {64, 1}, {130, 1}, {600, 1}});
      expect_reference(shape, 0, {{0, 63}, {5, 1}, {64, 65}, {100, 20}});
    }
    expect_reference({4, 2, 32, dtype}, 70, {{0, 1}, {69, 1}, {700, 1}, {30, 64}, {300, 9}});
  }
}

TEST_P(AttentionOnEveryBackend, EqualsTheReferenceOfLongSequences) {
  if (!is_fast()) GTEST_SKIP() << "too long for kernels on the host";
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    expect_reference({2, 1, 64, dtype}, 0, {{0, 1000}, {4096, 1}, {5000, 1}});
    expect_reference({1, 1, 16, dtype}, 0, {{0, 4097}});
  }
}

TEST_P(AttentionOnEveryBackend, ASequenceIsTheSameAloneInCompanyAndTwice) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    AttentionWorld first = world({6, 2, 64, dtype}, 3);
    for (const auto& [context, rows] :
         {std::pair{70, 1}, std::pair{0, 40}, std::pair{520, 1}, std::pair{3, 1}})
      first.add(context, rows);
    AttentionWorld again = first, alone = first;
    const auto together = run(first, first.pieces());
    EXPECT_TRUE(same_bits(run(again, again.pieces()), together));
    for (const AttentionPiece& piece : alone.pieces()) {
      const auto its = run(alone, {&piece, 1});
      EXPECT_TRUE(same_bits(alone.rows_of(its, piece), alone.rows_of(together, piece)));
    }
  }
}

// Pages whose bytes and values 32 bits do not count, behind gigabytes that nobody touches.
TEST_P(AttentionOnEveryBackend, ReadsAndWritesPagesFarIntoThePool) {
  if (GetParam() == BackendKind::kCudaOnHost) {
    device = std::make_shared<cuda::testing::HostDevice>(std::size_t{6} << 30);
    backend = device->make_backend(3);
  }
  const AttentionShape shape{4, 2, 64, DType::kBf16};
  AttentionWorld there = world(shape, 17), here = world(shape, 17);
  for (AttentionWorld* const each : {&there, &here}) {
    for (const auto& [context, rows] : {std::pair{0, 1}, std::pair{130, 1}, std::pair{5, 70}})
      each->add(context, rows);
  }
  const std::size_t page = there.layout().page_bytes(), bytes = there.pool().size();
  const std::size_t skipped = (std::size_t{1} << 32) / page + 1;
  const Device::Buffer pool = device->allocate(skipped * page + bytes);
  ASSERT_NE(pool, nullptr);
  std::byte* const far = pool.get() + skipped * page;
  device->write(far, there.pool().data(), bytes);
  std::vector<std::vector<std::int32_t>> pages;
  std::vector<AttentionPiece> pieces = there.pieces();
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    std::vector<std::int32_t>& its = pages.emplace_back(there.pages(i));
    for (std::int32_t& number : its) number += static_cast<std::int32_t>(skipped);
    pieces[i].pages = its.data();
  }
  const std::vector<float> actual = there.run_by(
      [&](const AttentionArgs& args) {
        Transfer to(*device, *backend);
        AttentionArgs moved = with_rows_there(args, to);
        moved.pool = pool.get();
        backend->attention(moved);
        to.fetch();
      },
      pieces);
  backend->read(there.pool().data(), far, bytes);
  const std::vector<float> expected = here.run_ref();
  for (const AttentionPiece& piece : here.pieces()) {
    EXPECT_TRUE(
        close(there.rows_of(actual, piece), here.rows_of(expected, piece), backend_tolerance(shape.dtype)));
  }
  EXPECT_TRUE(there.pool() == here.pool());
}

INSTANTIATE_TEST_SUITE_P(Backends, AttentionOnEveryBackend, ::testing::ValuesIn(kBackendKinds), backend_name);

class WindowOnEveryBackend : public OnEveryBackend {};

TEST_P(WindowOnEveryBackend, EqualsTheReference) {
  for (const WindowShape& shape : {WindowShape{2, 1, 16, 1}, WindowShape{6, 2, 64, 20},
                                   WindowShape{4, 4, 128, 64}, WindowShape{9, 3, 64, 64, 4}}) {
    SCOPED_TRACE(fmt::format("{}/{} heads of {}, window {}, sinks {}", shape.n_heads, shape.n_kv,
                             shape.head_dim, shape.window, shape.sinks));
    WindowWorld world(shape, 5);
    for (const auto& [context, rows] :
         {std::pair{0, 1}, std::pair{19, 1}, std::pair{300, 1}, std::pair{0, 130}, std::pair{50, 7}})
      world.add(context, rows);
    const WindowOutcome expected = world.run_ref();
    const WindowOutcome actual = world.run_by([&](const WindowAttentionArgs& here) {
      Transfer to(*device, *backend);
      WindowAttentionArgs args = with_rows_there(here, to);
      std::vector<WindowPiece> pieces(args.pieces.begin(), args.pieces.end());
      for (WindowPiece& piece : pieces)
        piece.ring = to.copy_back(piece.ring, static_cast<std::int64_t>(shape.ring_floats()));
      args.pieces = pieces;
      backend->window_attention(args);
      to.fetch();
    });
    for (std::size_t i = 0; i < world.size(); ++i) {
      EXPECT_TRUE(
          close(world.rows_of(actual, i), world.rows_of(expected, i), backend_tolerance(DType::kF32)));
      EXPECT_TRUE(same_bits(actual.rings[i], expected.rings[i])) << "sequence " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, WindowOnEveryBackend, ::testing::ValuesIn(kBackendKinds), backend_name);

}  // namespace
}  // namespace dslad::kernels::testing
