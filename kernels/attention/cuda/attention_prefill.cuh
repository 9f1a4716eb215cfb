// attention.h on a CUDA device, for pieces of several rows: tiles of queries against tiles of keys, by tensor
// cores.
//
// Bound by the tensor cores; values are on their way while scores are made, the next tile's keys while values
// are added. A block has kQueries queries of one KV head, numbered row-major over [rows,
// group] as they share keys; each of its warps has 16 of them. It walks the keys that they see in tiles that
// begin at multiples of kKeys tokens of the sequence, with an online softmax; a tile in which a query sees
// nothing changes nothing for it. bf16 pages are multiplied as they are, queries and weights rounded to bf16;
// float32 pages in two parts (mma.h).
#pragma once

#include <cmath>

#include "kernels/attention/cuda/attention_on_device.h"
#include "kernels/attention/cuda/page.cuh"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/pieces.h"
#include "kernels/cuda/reduce.h"

namespace dslad::kernels::cuda {

// kD: channels of a head at most; a multiple of 16.
template <class T, int kD>
struct AttendTile {
  using Args = AttentionOnDevice;
  static constexpr int kThreads = 128;
  static constexpr int kQueries = kThreads / kWarp * 16;
  static constexpr int kParts = kPartsOf<T>;
  static constexpr int kKeys = kParts == 1 ? 64 : 32;
  static constexpr int kPad = 8;  // elements: consecutive rows in other banks

  struct Shared {
    bf16 q[kParts][kQueries][kD + kPad];
    bf16 k[kParts][kD][kKeys + kPad];
    bf16 v[kParts][kKeys][kD + kPad];
  };

  static Grid grid(const Args& step) {
    const int group = step.args.n_heads / step.args.layout.n_kv;
    const std::int64_t tiles = (step.most_rows * group + kQueries - 1) / kQueries;
    return {piece_blocks(step.args.pieces.size(), tiles), step.args.layout.n_kv, 1, sizeof(Shared)};
  }

  static DSLAD_DEVICE void run(const Args& step) {
    const AttentionArgs& args = step.args;
    const PieceBlock block = piece_block(args.pieces.size());
    const AttentionPiece piece = args.pieces.data()[block.piece];
    const Tile tile{args, piece, args.n_heads / args.layout.n_kv, block.part * kQueries};
    if (piece.rows < 2 || tile.first >= tile.end() || tile.row(tile.end_query() - 1) < piece.silent) return;
    Shared& shared = *dynamic_shared<Shared>();
    tile.stage_queries(shared);
    Results results;
    for (float& x : results.largest) x = -INFINITY;
    const std::int64_t first_end = tile.visible(tile.first);
    const Later later{{static_cast<int>(tile.visible(tile.lane_query(0)) - first_end),
                       static_cast<int>(tile.visible(tile.lane_query(1)) - first_end)}};
    const std::int64_t end = tile.visible(tile.end_query() - 1);
    std::int64_t key = tile.oldest(tile.first) / kKeys * kKeys;
    tile.stage_keys(shared, key);
    for (; key < end; key += kKeys) {
      wait_for_copies();
      sync_block();  // the keys are there, and the queries; the former tile's values have been used
      tile.stage_values(shared, key, end);
      float scores[kKeys / 8][4] = {};
      tile.score(shared, scores);
      tile.weigh(first_end - key, later, scores, results);
      wait_for_copies();
      sync_block();  // the values are there, the keys have been used
      if (key + kKeys < end) tile.stage_keys(shared, key + kKeys);
      tile.add_values(shared, scores, results);
    }
    tile.write(results);
  }

 private:
  static constexpr float kLog2E = 1.44269504f;

  // How many rows a lane's queries lie behind the tile's first. Made once: a row is a query divided by the
  // group, which takes longer than all else that a tile of keys does for a query.
  struct Later {
    int rows[2];
  };

  // A lane's share of its warp's 16 queries: those of rows lane / 4 and lane / 4 + 8 of the fragments.
  struct Results {
    float values[kD / 8][4] = {};
    float largest[2];    // scores, in powers of two
    float sums[2] = {};  // of this lane's keys
  };

  struct Tile {
    const AttentionArgs& args;
    const AttentionPiece& piece;
    int group;
    std::int64_t first;  // query of the piece

    [[nodiscard]] DSLAD_DEVICE int d() const { return args.layout.head_dim; }
    [[nodiscard]] DSLAD_DEVICE int kv_head() const { return static_cast<int>(block_index().y); }
    [[nodiscard]] DSLAD_DEVICE std::int64_t end() const { return piece.rows * group; }
    [[nodiscard]] DSLAD_DEVICE std::int64_t end_query() const {
      return first + kQueries < end() ? first + kQueries : end();
    }
    [[nodiscard]] DSLAD_DEVICE std::int64_t row(std::int64_t query) const { return query / group; }
    // The tokens that a query sees, [oldest, visible).
    [[nodiscard]] DSLAD_DEVICE std::int64_t visible(std::int64_t query) const {
      return piece.context + row(query) + 1;
    }
    [[nodiscard]] DSLAD_DEVICE std::int64_t oldest(std::int64_t query) const {
      return args.window == 0 || visible(query) < args.window ? 0 : visible(query) - args.window;
    }
    [[nodiscard]] DSLAD_DEVICE std::int64_t channel(std::int64_t query) const {
      return (std::int64_t{kv_head()} * group + query % group) * d();
    }
    [[nodiscard]] DSLAD_DEVICE std::int64_t lane_query(int half) const {
      return first + thread_index() / kWarp * 16 + thread_index() % kWarp / 4 + 8 * half;
    }

    DSLAD_DEVICE void stage_queries(Shared& shared) const {
      for (int i = thread_index(); i < kQueries * kD; i += kThreads) {
        const int c = i % kD;
        const std::int64_t query = first + i / kD;
        const float x = query < end() && c < d()
                            ? args.q[(piece.first_row + row(query)) * args.q_stride + channel(query) + c]
                            : 0.0f;
        DSLAD_UNROLL for (int p = 0; p < kParts; ++p) shared.q[p][i / kD][c] = part_of<kParts>(x, p);
      }
    }

    // Slots that no query of the tile sees may hold anything: their scores are not used, their values are
    // zeros, as a weight of 0 does not make 0 of everything. What is staged is there behind
    // wait_for_copies().
    DSLAD_DEVICE void stage_keys(Shared& shared, std::int64_t key) const {
      const T* keys = key_of<T>(args, piece, kv_head(), key);
      for (int i = thread_index(); i < kD * kKeys / 8; i += kThreads) {
        const int t = i % (kKeys / 8) * 8, c = i / (kKeys / 8);
        stage(keys + c * kPageTokens + t, c < d() ? 8 : 0, true, &shared.k[0][c][t], kD * (kKeys + kPad));
      }
    }
    DSLAD_DEVICE void stage_values(Shared& shared, std::int64_t key, std::int64_t visible_end) const {
      const T* values = value_of<T>(args, piece, kv_head(), key);
      const bool aligned = d() % 8 == 0;
      for (int i = thread_index(); i < kKeys * kD / 8; i += kThreads) {
        const int c = i % (kD / 8) * 8, t = i / (kD / 8);
        stage(values + t * d() + c, key + t < visible_end ? d() - c : 0, aligned, &shared.v[0][t][c],
              kKeys * (kD + kPad));
      }
    }
    // The first `count` of eight elements (all if more) in their parts; the others are 0. `aligned`: those
    // that count are eight or none, from a multiple of 16 bytes on.
    static DSLAD_DEVICE void stage(const float* from, int count, bool aligned, bf16* to, int part_stride) {
      const Float8 x = load8(from, count, aligned);
      DSLAD_UNROLL for (int p = 0; p < kParts; ++p) {
        Bf16x8 part;
        DSLAD_UNROLL for (int j = 0; j < 8; ++j) part.at[j] = part_of<kParts>(x.at[j], p);
        *reinterpret_cast<Bf16x8*>(to + p * part_stride) = part;
      }
    }
    static DSLAD_DEVICE void stage(const bf16* from, int count, bool aligned, bf16* to, int) {
      if (aligned) {
        copy16_later(to, from, count > 0);
      } else {
        DSLAD_UNROLL for (int j = 0; j < 8; ++j) to[j] = j < count ? from[j] : bf16{};
      }
    }

    DSLAD_DEVICE void score(const Shared& shared, float (&scores)[kKeys / 8][4]) const {
      const int warp_row = thread_index() / kWarp * 16, lane = thread_index() % kWarp;
      DSLAD_UNROLL for (int c = 0; c < kD; c += 16) {
        if (c >= d()) break;
        FragmentA<kParts> a;
        DSLAD_UNROLL for (int p = 0; p < kParts; ++p) {
          DSLAD_UNROLL for (int r = 0; r < 4; ++r) {
            a.part[p][r] = *reinterpret_cast<const std::uint32_t*>(
                &shared.q[p][warp_row + lane / 4 + r % 2 * 8][c + lane % 4 * 2 + r / 2 * 8]);
          }
        }
        DSLAD_UNROLL for (int t = 0; t < kKeys; t += 16) {
          const auto b = load_fragments_b<kParts>(&shared.k[0][c][t], kKeys + kPad, kD * (kKeys + kPad));
          multiply(scores[t / 8], a, b.left);
          multiply(scores[t / 8 + 1], a, b.right);
        }
      }
    }

    // Scores become weights, 0 where a query does not see a key; former results are scaled to them.
    // `first_end`: of the tile of keys, what the first query sees.
    DSLAD_DEVICE void weigh(std::int64_t first_end, const Later& later, float (&scores)[kKeys / 8][4],
                            Results& results) const {
      const float scale = args.scale * kLog2E;  // 2^x is an instruction, e^x is not
      DSLAD_UNROLL for (int half = 0; half < 2; ++half) {
        const std::int64_t end = first_end + later.rows[half];
        const int to = in_tile(end), from = args.window == 0 ? 0 : in_tile(end - args.window);
        float largest = -INFINITY;
        DSLAD_UNROLL for (int i = 0; i < kKeys / 8; ++i) {
          DSLAD_UNROLL for (int j = 0; j < 2; ++j) {
            const int token = 8 * i + thread_index() % 4 * 2 + j;
            float& score = scores[i][2 * half + j];
            score = token >= from && token < to ? score * scale : -INFINITY;
            largest = larger(largest, score);
          }
        }
        largest = larger(results.largest[half], warp_max<4>(largest));
        const float factor = results.largest[half] == largest ? 1.0f : exp2f(results.largest[half] - largest);
        results.largest[half] = largest;
        results.sums[half] *= factor;
        const float anchor = largest == -INFINITY ? 0.0f : largest;  // so that unseen keys weigh exp2(-inf)
        DSLAD_UNROLL for (int i = 0; i < kKeys / 8; ++i) {
          DSLAD_UNROLL for (int j = 0; j < 2; ++j) {
            float& score = scores[i][2 * half + j];
            score = exp2f(score - anchor);
            results.sums[half] += score;
          }
        }
        DSLAD_UNROLL for (int i = 0; i < kD / 8; ++i) {
          results.values[i][2 * half] *= factor;
          results.values[i][2 * half + 1] *= factor;
        }
      }
    }
    static DSLAD_DEVICE int in_tile(std::int64_t key) {
      return key < 0 ? 0 : key < kKeys ? static_cast<int>(key) : kKeys;
    }

    // Fragments of a result are those of the next product's left operand, two side by side.
    DSLAD_DEVICE void add_values(const Shared& shared, const float (&weights)[kKeys / 8][4],
                                 Results& results) const {
      DSLAD_UNROLL for (int t = 0; t < kKeys; t += 16) {
        FragmentA<kParts> a;
        DSLAD_UNROLL for (int r = 0; r < 4; ++r) {
          const auto& from = weights[t / 8 + r / 2];
          split<kParts>(from[r % 2 * 2], from[r % 2 * 2 + 1], a.part, r);
        }
        DSLAD_UNROLL for (int c = 0; c < kD; c += 16) {
          if (c >= d()) break;
          const auto b = load_fragments_b<kParts>(&shared.v[0][t][c], kD + kPad, kKeys * (kD + kPad));
          multiply(results.values[c / 8], a, b.left);
          multiply(results.values[c / 8 + 1], a, b.right);
        }
      }
    }

    DSLAD_DEVICE void write(const Results& results) const {
      DSLAD_UNROLL for (int half = 0; half < 2; ++half) {
        const float share = 1.0f / warp_sum<4>(results.sums[half]);
        const std::int64_t query = lane_query(half);
        if (query >= end() || row(query) < piece.silent) continue;
        float* o = args.o + (piece.first_row + row(query)) * args.o_stride + channel(query);
        DSLAD_UNROLL for (int i = 0; i < kD / 8; ++i) {
          DSLAD_UNROLL for (int j = 0; j < 2; ++j) {
            const int c = 8 * i + thread_index() % 4 * 2 + j;
            if (c < d()) o[c] = results.values[i][2 * half + j] * share;
          }
        }
      }
    }
  };
};

}  // namespace dslad::kernels::cuda
