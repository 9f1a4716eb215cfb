#include "kernels/attention/sequence_attention_waves.h"

#include <cstddef>

namespace dslad::kernels {
namespace {

// A few blocks of queries and of keys: large enough to load them once for many pairs, small enough that a
// sequence of training has work for several threads.
constexpr std::int64_t kChunkTokens = 192;

// The waves that a chunk takes part in already.
class Calendar {
 public:
  [[nodiscard]] bool is_free(std::size_t wave) const { return wave >= taken_.size() || !taken_[wave]; }
  void take(std::size_t wave) {
    if (wave >= taken_.size()) taken_.resize(wave + 1);
    taken_[wave] = true;
  }

 private:
  std::vector<bool> taken_;
};

struct Chunk {
  TokenRun tokens;
  Calendar as_queries, as_keys;
};

std::vector<Chunk> cut(const TokenRun& run) {
  std::vector<Chunk> chunks;
  for (std::int64_t first = 0; first < run.rows; first += kChunkTokens) {
    chunks.push_back({run.part(first, kChunkTokens), {}, {}});
  }
  return chunks;
}

void add_pair(Chunk& queries, Chunk& keys, const Reach& reach, std::vector<std::vector<ChunkPair>>& waves) {
  const auto seen = seen_parts(queries.tokens, keys.tokens, reach);
  if (seen[0].rows + seen[1].rows == 0) return;
  std::size_t wave = 0;
  while (!queries.as_queries.is_free(wave) || !keys.as_keys.is_free(wave)) ++wave;
  queries.as_queries.take(wave);
  keys.as_keys.take(wave);
  if (wave >= waves.size()) waves.resize(wave + 1);
  waves[wave].push_back({queries.tokens, keys.tokens});
}

}  // namespace

std::vector<std::vector<ChunkPair>> find_waves(std::span<const Segment> segments, const Reach& reach) {
  std::vector<std::vector<ChunkPair>> waves;
  std::vector<std::vector<Chunk>> chunks;
  for (const Segment& segment : segments) {
    std::vector<Chunk>& own = chunks.emplace_back(cut(run_of(segments, segment)));
    for (Chunk& queries : own) {
      if (segment.parent >= 0) {
        for (Chunk& keys : chunks[static_cast<std::size_t>(segment.parent)]) {
          add_pair(queries, keys, reach, waves);
        }
      }
      for (Chunk& keys : own) add_pair(queries, keys, reach, waves);
    }
  }
  return waves;
}

}  // namespace dslad::kernels
