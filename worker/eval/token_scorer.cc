#include "worker/eval/token_scorer.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <optional>

#include "worker/model/device.h"

namespace dslad::worker {

struct TokenScorer::Reader {
  int plan;
  std::optional<SequenceCache> cache;  // none for plan 0, which reads as the baseline
  TokenSums sums;
};

Result<std::unique_ptr<TokenScorer>> TokenScorer::create(kernels::Backend& backend,
                                                         std::shared_ptr<const ModelWeights> weights,
                                                         PlanSet plans, std::size_t cache_bytes) {
  auto caches = CachePool::create(backend, kv_layout(weights->config, weights->kv_dtype()), cache_bytes);
  if (!caches) return caches.error();
  return std::unique_ptr<TokenScorer>(
      new TokenScorer(backend, std::move(weights), std::move(plans), *std::move(caches)));
}

TokenScorer::TokenScorer(kernels::Backend& backend, std::shared_ptr<const ModelWeights> weights,
                         PlanSet plans, std::unique_ptr<CachePool> caches)
    : backend_(backend),
      vocab_(weights->config.vocab_size),
      plans_(std::move(plans)),
      caches_(std::move(caches)),
      forward_(backend, std::move(weights), *caches_) {}

Result<std::vector<TokenSums>> TokenScorer::score(std::span<const std::int32_t> ids, std::size_t first,
                                                  std::span<const int> plans) {
  const auto length = static_cast<std::int64_t>(ids.size());
  std::vector<TokenSums> sums;
  while (sums.size() < plans.size()) {
    const auto baseline = caches_->allocate(plans_.plan(0), length);
    std::vector<Reader> readers;
    for (std::size_t i = sums.size(); baseline && i < plans.size(); ++i) {
      Reader reader{plans[i], std::nullopt, {}};
      if (reader.plan != 0) reader.cache = caches_->allocate(plans_.plan(reader.plan), length);
      if (reader.plan != 0 && !reader.cache) break;
      readers.push_back(std::move(reader));
    }
    if (readers.empty()) {
      return Error{ErrorCode::kResourceExhausted,
                   fmt::format("the caches of two plans over {} tokens do not fit the budget; raise it or "
                               "lower the window",
                               length)};
    }
    const Status scored = score_together(ids, first, *baseline, readers);
    if (!scored) return scored.error();
    for (const Reader& reader : readers) sums.push_back(reader.sums);
  }
  return sums;
}

Status TokenScorer::score_together(std::span<const std::int32_t> ids, std::size_t first,
                                   const SequenceCache& baseline, std::span<Reader> readers) {
  const std::size_t end = ids.size() - 1;  // the last token predicts nothing that is asked for
  for (std::size_t begin = 0; begin < end;) {
    const auto piece =
        ids.subspan(begin, std::min(end - begin, static_cast<std::size_t>(kernels::kPieceRows)));
    const auto next = ids.subspan(begin + 1, piece.size());  // what each row of the piece predicts
    const std::size_t skip = std::min(piece.size(), std::max(first, begin + 1) - (begin + 1));
    const LogitRows rows = skip < piece.size() ? LogitRows::kAll : LogitRows::kNone;
    Status ran = run(baseline, begin, piece, rows);
    if (!ran) return ran;
    if (rows == LogitRows::kAll) ran = read_logits(piece.size(), baseline_logits_, baseline_);
    if (!ran) return ran;
    for (Reader& reader : readers) {
      Status followed = reader.cache ? run(*reader.cache, begin, piece, rows) : ok_status();
      if (followed && reader.cache && rows == LogitRows::kAll)
        followed = read_logits(piece.size(), student_logits_, student_);
      if (!followed) return followed;
      for (std::size_t row = skip; row < piece.size(); ++row) add(reader, row, next[row]);
      if (!std::isfinite(reader.sums.nats) || !std::isfinite(reader.sums.kl)) {
        return Error{ErrorCode::kInternal,
                     fmt::format("under plan {} the model's numbers are not finite", reader.plan)};
      }
    }
    begin += piece.size();
  }
  return ok_status();
}

Status TokenScorer::read_logits(std::size_t rows, std::vector<float>& logits,
                                std::vector<Distribution>& distributions) {
  const auto vocab = static_cast<std::size_t>(vocab_);
  logits.resize(rows * vocab);
  backend_.read(logits.data(), forward_.logits(0).data(), logits.size() * sizeof(float));
  distributions.clear();
  for (std::size_t row = 0; row < rows; ++row)
    distributions.emplace_back(std::span(logits).subspan(row * vocab, vocab));
  return check_backend(backend_);
}

void TokenScorer::add(Reader& reader, std::size_t row, std::int32_t token) const {
  const Distribution& teacher = baseline_[row];
  if (!reader.cache) {
    reader.sums.nats -= teacher.log_p(static_cast<std::size_t>(token));
    return;
  }
  const Distribution& student = student_[row];
  reader.sums.nats -= student.log_p(static_cast<std::size_t>(token));
  reader.sums.kl += teacher.kl(student);
}

Status TokenScorer::run(const SequenceCache& cache, std::size_t context, std::span<const std::int32_t> piece,
                        LogitRows rows) {
  const StepSequence step{&cache, static_cast<std::int64_t>(context), piece, kernels::RowKind::kPrefill,
                          rows};
  return forward_.run({&step, 1});
}

}  // namespace dslad::worker
