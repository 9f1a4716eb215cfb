// sample.h on a CUDA device: a block for each row, which stays in the second-level cache while it is looked
// at again.
//
// Weights are integers, 2^40 for the largest: their sums have no order, so threads may add as they come and a
// row's token depends on the row alone. The smallest set of likeliest tokens is found without sorting: four
// looks at the row, each for a byte more of the least likely logit that belongs to it.
#pragma once

#include <bit>
#include <cmath>

#include "kernels/cuda/reduce.h"
#include "kernels/sample/cuda/sample_on_device.h"
#include "kernels/sample/draw.h"

namespace dslad::kernels::cuda {

// Larger for the larger logit; the zeros are equal.
DSLAD_DEVICE std::uint32_t order_of(float logit) {
  const auto bits = std::bit_cast<std::uint32_t>(logit == 0.0f ? 0.0f : logit);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

struct SampleRow {
  using Args = SampleOnDevice;
  static constexpr int kThreads = 512;
  static constexpr float kOne = 1099511627776.0f;  // 2^40

  static Grid grid(const Args& args) { return {args.count}; }

  static DSLAD_DEVICE void run(const Args& args) {
    const Row row{args.rows[block_index().x]};
    const Best best = row.best();
    if (!best.finite || row.args.temperature <= 0) {
      if (thread_index() == 0) args.tokens[block_index().x] = best.finite ? best.token() : kNoToken;
      return;
    }
    const float largest = row.args.logits.data()[best.token()];
    Kept kept{0, row.count()};
    if (row.args.top_p < 1) kept = row.nucleus(largest);
    row.draw(largest, kept, args.tokens + block_index().x);
  }

 private:
  static constexpr int kDigits = 256, kNoDigit = -1;
  struct Shared {
    std::uint64_t weights[kDigits];  // of the logits with each next digit
    std::uint64_t of_thread[kThreads];
    std::int64_t ties[kThreads];
    std::uint32_t digit;
    std::uint64_t missing;  // what the logits above those with the digits so far lack of what is wanted
  };

  struct Best {
    std::uint64_t key;  // order of the logit, then lower ids first
    bool finite;
    [[nodiscard]] DSLAD_DEVICE std::int32_t token() const {
      return static_cast<std::int32_t>(~static_cast<std::uint32_t>(key));
    }
  };

  // Logits above `order` belong to the draw, and the first `ties` of those that equal it.
  struct Kept {
    std::uint32_t order;
    std::int64_t ties;
  };

  struct Row {
    const SampleArgs& args;

    [[nodiscard]] DSLAD_DEVICE std::int64_t count() const {
      return static_cast<std::int64_t>(args.logits.size());
    }
    [[nodiscard]] DSLAD_DEVICE float logit(std::int64_t id) const { return args.logits.data()[id]; }
    [[nodiscard]] DSLAD_DEVICE std::uint64_t weight(std::int64_t id, float largest) const {
      return static_cast<std::uint64_t>(expf((logit(id) - largest) / args.temperature) * kOne);
    }
    // f(id) for this thread's share: neighbours' side by side, or a run of its own.
    template <class F>
    DSLAD_DEVICE void each(const F& f) const {
      for (std::int64_t id = thread_index(); id < count(); id += kThreads) f(id);
    }
    template <class F>
    DSLAD_DEVICE void each_of_run(int thread, const F& f) const {
      const std::int64_t run = (count() + kThreads - 1) / kThreads;
      for (std::int64_t id = thread * run; id < (thread + 1) * run && id < count(); ++id) f(id);
    }

    [[nodiscard]] DSLAD_DEVICE Best best() const {
      std::uint64_t key = 0;
      int strange = 0;
      each([&](std::int64_t id) {
        const float x = logit(id);
        strange |= x - x == 0.0f ? 0 : 1;  // NaN and the infinities
        const std::uint64_t mine = std::uint64_t{order_of(x)} << 32 | ~static_cast<std::uint32_t>(id);
        if (mine > key) key = mine;
      });
      key = block_reduce<kThreads>(key, [](std::uint64_t a, std::uint64_t b) { return a > b ? a : b; });
      strange = block_reduce<kThreads>(strange, [](int a, int b) { return a | b; });
      return {key, strange == 0};
    }

    // The smallest set of likeliest tokens whose weight reaches top_p of all.
    [[nodiscard]] DSLAD_DEVICE Kept nucleus(float largest) const {
      auto& shared = static_shared<Shared>();
      std::uint32_t prefix = 0;   // digits found so far
      std::uint64_t missing = 0;  // the first thread's
      for (int shift = 24; shift >= 0; shift -= 8) {
        for (int i = thread_index(); i < kDigits; i += kThreads) shared.weights[i] = 0;
        sync_block();
        if (shift == 24) {
          add_first_digits(largest, shared);
        } else {
          each([&](std::int64_t id) {
            const std::uint32_t order = order_of(logit(id));
            if (order >> (shift + 8) != prefix) return;
            const std::uint64_t w = weight(id, largest);
            if (w != 0) atomic_add(&shared.weights[order >> shift & 255u], w);
          });
        }
        sync_block();
        if (thread_index() == 0) {
          if (shift == 24) missing = wanted(shared);
          std::uint32_t digit = kDigits - 1;
          while (digit > 0 && shared.weights[digit] < missing) missing -= shared.weights[digit--];
          shared.digit = digit;
          shared.missing = missing;
        }
        sync_block();
        prefix = prefix << 8 | shared.digit;
      }
      return {prefix, ties_wanted(prefix, largest, shared.missing)};
    }

    // The first digit is a sign and most of an exponent: a whole vocabulary has a few, and shared memory adds
    // 64 bits by compare and swap, a lane at a time where they meet. So a warp adds up what it has of a digit
    // first, the largest first, and one lane brings it.
    DSLAD_DEVICE void add_first_digits(float largest, Shared& shared) const {
      constexpr int kBatch = 4;
      for (std::int64_t first = 0; first < count(); first += kBatch * kThreads) {
        int digits[kBatch];
        std::uint64_t weights[kBatch];
        DSLAD_UNROLL for (int b = 0; b < kBatch; ++b) {
          const std::int64_t id = first + b * kThreads + thread_index();
          weights[b] = id < count() ? weight(id, largest) : 0;
          digits[b] = weights[b] != 0 ? static_cast<int>(order_of(logit(id)) >> 24) : kNoDigit;
        }
        for (;;) {
          int digit = kNoDigit;
          DSLAD_UNROLL for (int b = 0; b < kBatch; ++b) digit = digits[b] > digit ? digits[b] : digit;
          digit = warp_reduce(digit, [](int a, int b) { return a > b ? a : b; });
          if (digit == kNoDigit) break;
          std::uint64_t sum = 0;
          DSLAD_UNROLL for (int b = 0; b < kBatch; ++b) {
            if (digits[b] != digit) continue;
            sum += weights[b];
            digits[b] = kNoDigit;
          }
          sum = warp_reduce(sum, [](std::uint64_t a, std::uint64_t b) { return a + b; });
          if (thread_index() % kWarp == 0) atomic_add(&shared.weights[digit], sum);
        }
      }
    }

    [[nodiscard]] DSLAD_DEVICE std::uint64_t wanted(const Shared& shared) const {
      std::uint64_t total = 0;
      for (const std::uint64_t w : shared.weights) total += w;
      return static_cast<std::uint64_t>(ceil(double{args.top_p} * static_cast<double>(total)));
    }

    // How many tokens of a logit it takes to weigh as much as is wanted.
    [[nodiscard]] DSLAD_DEVICE std::int64_t ties_wanted(std::uint32_t order, float largest,
                                                        std::uint64_t wanted) const {
      std::uint64_t one = 0;
      each([&](std::int64_t id) {
        if (order_of(logit(id)) == order) one = weight(id, largest);
      });
      one = block_reduce<kThreads>(one, [](std::uint64_t a, std::uint64_t b) { return a > b ? a : b; });
      return one == 0 ? 0 : static_cast<std::int64_t>((wanted + one - 1) / one);
    }

    // Runs of ids belong to threads, so that the first thread finds the run, and in it the token.
    DSLAD_DEVICE void draw(float largest, const Kept& kept, std::int32_t* token) const {
      auto& shared = static_shared<Shared>();
      const int thread = thread_index();
      std::int64_t ties = 0;
      each_of_run(thread, [&](std::int64_t id) { ties += order_of(logit(id)) == kept.order ? 1 : 0; });
      shared.ties[thread] = ties;
      sync_block();
      std::uint64_t sum = 0;
      each_kept(thread, kept, shared, [&](std::int64_t id) { sum += weight(id, largest); });
      shared.of_thread[thread] = sum;
      sync_block();
      if (thread != 0) return;
      std::uint64_t total = 0;
      for (const std::uint64_t w : shared.of_thread) total += w;
      const auto target =
          static_cast<std::uint64_t>(uniform_draw(args.seed, args.position) * static_cast<double>(total));
      std::uint64_t reached = 0;
      int run = 0;
      while (run < kThreads - 1 && reached + shared.of_thread[run] <= target)
        reached += shared.of_thread[run++];
      bool found = false;
      each_kept(run, kept, shared, [&](std::int64_t id) {
        const std::uint64_t w = weight(id, largest);
        if (found || w == 0) return;
        reached += w;
        *token = static_cast<std::int32_t>(id);
        found = reached > target;
      });
    }

    // f(id) for the tokens of a thread's run that belong to the draw.
    template <class F>
    DSLAD_DEVICE void each_kept(int thread, const Kept& kept, const Shared& shared, const F& f) const {
      std::int64_t ties = kept.ties;
      for (int t = 0; t < thread; ++t) ties -= shared.ties[t];
      each_of_run(thread, [&](std::int64_t id) {
        const std::uint32_t order = order_of(logit(id));
        if (order > kept.order || (order == kept.order && ties-- > 0)) f(id);
      });
    }
  };
};

struct LogProbability {
  using Args = LogProbabilityOnDevice;
  static constexpr int kThreads = 512;

  static Grid grid(const Args& args) { return {args.count}; }

  static DSLAD_DEVICE void run(const Args& args) {
    const ChosenToken& row = args.rows[block_index().x];
    const float* logits = row.logits.data();
    const auto vocabulary = static_cast<std::int64_t>(row.logits.size());
    float largest = -INFINITY, sum = 0;
    for (std::int64_t id = thread_index(); id < vocabulary; id += kThreads)
      largest = larger(largest, logits[id]);
    largest = block_max<kThreads>(largest);
    for (std::int64_t id = thread_index(); id < vocabulary; id += kThreads) sum += expf(logits[id] - largest);
    sum = block_sum<kThreads>(sum);
    if (thread_index() == 0) {
      args.nats[block_index().x] =
          double{logits[row.token]} - double{largest} - log(static_cast<double>(sum));
    }
  }
};

}  // namespace dslad::kernels::cuda
