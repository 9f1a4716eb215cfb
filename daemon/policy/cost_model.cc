#include "daemon/policy/cost_model.h"

#include <algorithm>
#include <cmath>

namespace dslad::daemon::policy {
namespace {

constexpr double kFarOff = 8;  // times the prediction: beyond it a job tells nothing but "more"
constexpr std::uint64_t kJobsToTrust = 8;
constexpr double kNewShare = 0.05;   // of a new value in a running mean
constexpr double kMost = 0.95;       // of the jobs, by which most_prompt_tokens() goes
constexpr double kMostKnown = 0.95;  // of a prompt: its question at least is its own

bool is_amount(double value) {
  return std::isfinite(value) && value >= 0;
}

// What one absurd observation can do to the model is bounded once the model has seen some.
double within_reason(double seen, double predicted, std::uint64_t jobs) {
  if (jobs < kJobsToTrust || predicted <= 0) return seen;
  return std::clamp(seen, predicted / kFarOff, predicted * kFarOff);
}

void move_mean(double& mean, double value, std::uint64_t seen) {
  mean += (value - mean) * std::max(kNewShare, 1.0 / static_cast<double>(seen + 1));
}

std::array<double, 3> prefill_row(double prompt, const PlanShape& plan) {
  return {prompt, plan.attention * prompt * prompt, plan.states * prompt};
}

// Of the tokens that were read.
std::array<double, 3> prefill_row(const Observation& seen, const PlanShape& plan) {
  std::array<double, 3> row = prefill_row(seen.prompt_tokens, plan);
  const std::array<double, 3> reused = prefill_row(seen.reused_tokens, plan);
  for (std::size_t i = 0; i < row.size(); ++i) row[i] -= reused[i];
  return row;
}

std::array<double, 4> decode_row(double prompt, double output, const PlanShape& plan, double batch) {
  return {output, output / std::max(1.0, batch), plan.attention * output * (prompt + output / 2),
          plan.states * output};
}

// Before anything is known: how the time of a job on plan 0 divides among the terms; the last is what the
// states of all layers would take beside it.
constexpr std::array<double, 3> kPrefillGuess = {0.7, 0.3, 0.1};
constexpr std::array<double, 4> kDecodeGuess = {0.2, 0.6, 0.2, 0.1};
constexpr double kGuessWeight = 0.3;  // of an observation

// Of a row that stands for this part of a job: errors are relative to the whole job, or the smallest guesses
// would be the firmest.
double guess_weight(double part) {
  return kGuessWeight * part * part;
}

}  // namespace

void CostModel::Recent::add(double value) {
  if (values.size() < kLatest) {
    values.push_back(value);
  } else {
    values[next] = value;
    next = (next + 1) % kLatest;
  }
}

double CostModel::Recent::quantile(double share) const {
  if (values.empty()) return 0;
  std::vector<double> sorted = values;
  const std::ptrdiff_t at = std::lround(share * static_cast<double>(sorted.size() - 1));
  std::nth_element(sorted.begin(), sorted.begin() + at, sorted.end());
  return sorted[static_cast<std::size_t>(at)];
}

void CostModel::learn(const Observation& seen) {
  const bool sane = is_amount(seen.work.prefill_ms) && is_amount(seen.work.decode_ms) &&
                    is_amount(seen.prompt_tokens) && is_amount(seen.output_tokens) && is_amount(seen.batch) &&
                    is_amount(seen.plan.attention) && is_amount(seen.plan.states) && seen.prompt_tokens > 0 &&
                    seen.work.total_ms() > 0 && seen.reused_tokens >= 0 &&
                    seen.reused_tokens < seen.prompt_tokens;
  if (!sane) return;
  if (jobs_ == 0) guess(seen);
  if (jobs_ > 0 && seen.reused_tokens == 0) {
    errors_.add(std::abs(of(seen.size, seen.plan).total_ms() / seen.work.total_ms() - 1));
  }
  const std::array<double, 3> read = prefill_row(seen, seen.plan);
  const double reading_ms = prefill_of_plan_.of(seen.plan) * prefill_.predict(read);
  const double read_ms = within_reason(seen.work.prefill_ms, reading_ms, jobs_);
  prefill_.add(read, read_ms);
  prefill_of_plan_.add(seen.plan, read, read_ms, reading_ms);
  prefill_of_plan_.follow(prefill_.weights());
  if (seen.output_tokens > 0) {
    const std::array<double, 4> written =
        decode_row(seen.prompt_tokens, seen.output_tokens, seen.plan, seen.batch);
    const double writing_ms = decode_of_plan_.of(seen.plan) * decode_.predict(written);
    const double written_ms = within_reason(seen.work.decode_ms, writing_ms, jobs_);
    decode_.add(written, written_ms);
    decode_of_plan_.add(seen.plan, written, written_ms, writing_ms);
    decode_of_plan_.follow(decode_.weights());
    move_mean(batch_, std::max(1.0, seen.batch), jobs_);
  }
  if (seen.size.bytes > 0) {
    tokens_per_byte_.add(seen.prompt_tokens / static_cast<double>(seen.size.bytes));
    most_tokens_per_byte_ = tokens_per_byte_.quantile(kMost);
    move_mean(bytes_per_token_, static_cast<double>(seen.size.bytes) / seen.prompt_tokens, jobs_);
  }
  const double allowed = seen.size.answers() * seen.size.max_tokens;
  if (allowed > 0) move_mean(output_share_, std::min(1.0, seen.output_tokens / allowed), jobs_);
  ++jobs_;
}

// A row for each term alone, as if every layer were attention, or had its states.
void CostModel::guess(const Observation& first) {
  const PlanShape all{1, 1};
  const std::array<double, 3> prefill = prefill_row(first, all);
  for (std::size_t i = 0; i < prefill.size(); ++i) {
    std::array<double, 3> row{};
    row[i] = prefill[i];
    prefill_.add(row, kPrefillGuess[i] * first.work.prefill_ms, guess_weight(kPrefillGuess[i]));
  }
  if (first.output_tokens <= 0) return;
  const std::array<double, 4> decode = decode_row(first.prompt_tokens, first.output_tokens, all, first.batch);
  for (std::size_t i = 0; i < decode.size(); ++i) {
    std::array<double, 4> row{};
    row[i] = decode[i];
    decode_.add(row, kDecodeGuess[i] * first.work.decode_ms, guess_weight(kDecodeGuess[i]));
  }
}

Work CostModel::of_tokens(double prompt, double output, const PlanShape& plan, double batch) const {
  return {prefill_of_plan_.of(plan) * prefill_.predict(prefill_row(prompt, plan)),
          decode_of_plan_.of(plan) * decode_.predict(decode_row(prompt, output, plan, batch))};
}

Work CostModel::of(const JobSize& size, const PlanShape& plan, std::uint32_t context, double known) const {
  const double tokens = prompt_tokens(size);
  const bool whole = context == 0 || tokens <= context || size.overflow == schema::Overflow::kError;
  Work work = of_tokens(whole ? tokens : context, output_tokens(size), plan, batch_);
  if (whole && known > 0) {
    work.prefill_ms -= of_tokens(std::min(known, kMostKnown * tokens), 0, plan, batch_).prefill_ms;
  }
  if (whole || size.overflow == schema::Overflow::kTruncate) return work;
  const double parts = tokens / context;
  return {parts * work.prefill_ms, parts * work.decode_ms};
}

double CostModel::prompt_tokens(const JobSize& size) const {
  return std::max(1.0, static_cast<double>(size.bytes) / bytes_per_token_);
}

double CostModel::most_prompt_tokens(const JobSize& size) const {
  if (most_tokens_per_byte_ <= 0) return prompt_tokens(size);
  return std::max(1.0, static_cast<double>(size.bytes) * most_tokens_per_byte_);
}

double CostModel::output_tokens(const JobSize& size) const {
  return size.answers() * size.max_tokens * output_share_;
}

double CostModel::error(double share) const {
  return errors_.quantile(share);
}

CostModel CostModel::recorded(const std::vector<double>& coefficients, double bytes_per_token,
                              double output_share, double batch, const std::vector<PlanSpeed>& plans) {
  CostModel model;
  std::array<double, 7> all{};
  std::copy_n(coefficients.begin(), std::min(coefficients.size(), all.size()), all.begin());
  model.prefill_.set({all[0], all[1], all[2]});
  model.decode_.set({all[3], all[4], all[5], all[6]});
  for (const PlanSpeed& one : plans) {
    model.prefill_of_plan_.set(one.plan, one.prefill);
    model.decode_of_plan_.set(one.plan, one.decode);
  }
  if (bytes_per_token > 0) model.bytes_per_token_ = bytes_per_token;
  if (output_share > 0) model.output_share_ = output_share;
  model.batch_ = std::max(1.0, batch);
  model.jobs_ = 1;
  return model;
}

std::vector<double> CostModel::coefficients() const {
  std::vector<double> all(prefill_.weights().begin(), prefill_.weights().end());
  all.insert(all.end(), decode_.weights().begin(), decode_.weights().end());
  return all;
}

std::vector<PlanSpeed> CostModel::plan_speeds() const {
  std::vector<PlanSpeed> speeds;
  for (const auto& one : prefill_of_plan_.plans())
    speeds.push_back({one.shape, one.factor, decode_of_plan_.of(one.shape)});
  return speeds;
}

}  // namespace dslad::daemon::policy
