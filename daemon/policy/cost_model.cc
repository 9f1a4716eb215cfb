#include "daemon/policy/cost_model.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

namespace dslad::daemon::policy {
namespace {

constexpr double kForget = 0.98;  // an observation counts for about the 50 after it
constexpr double kRidge = 1e-3;   // of a term's own weight: decides where observations do not
constexpr double kFarOff = 8;     // times the prediction: beyond it a job tells nothing but "more"
constexpr std::uint64_t kJobsToTrust = 8;
constexpr double kForgetOwn = 0.95;      // what a plan's factor goes by: its latest 20 jobs,
constexpr double kForgetOthers = 0.998;  // for about 500 of other plans
constexpr double kOne = 0.5;             // jobs for which it counts that a factor is 1 as a rule
constexpr std::size_t kMostPlans = 128;
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

// Solves the terms of `chosen` (bits) alone; the others are 0. False where they cannot be told apart.
template <std::size_t N>
bool solve_chosen(std::array<std::array<double, N>, N> products, std::array<double, N> targets,
                  unsigned chosen, std::array<double, N>& weights) {
  for (std::size_t i = 0; i < N; ++i) {
    if ((chosen >> i & 1U) != 0) continue;
    products[i].fill(0);
    for (auto& row : products) row[i] = 0;
    products[i][i] = 1;
    targets[i] = 0;
  }
  for (std::size_t pivot = 0; pivot < N; ++pivot) {  // symmetric and positive: no need to look for pivots
    const double own = products[pivot][pivot];
    if (!(own > 0)) return false;
    for (std::size_t row = pivot + 1; row < N; ++row) {
      const double factor = products[row][pivot] / own;
      for (std::size_t column = pivot; column < N; ++column)
        products[row][column] -= factor * products[pivot][column];
      targets[row] -= factor * targets[pivot];
    }
  }
  for (std::size_t i = N; i-- > 0;) {
    double value = targets[i];
    for (std::size_t column = i + 1; column < N; ++column) value -= products[i][column] * weights[column];
    weights[i] = value / products[i][i];
  }
  return std::all_of(weights.begin(), weights.end(),
                     [](double weight) { return std::isfinite(weight) && weight >= 0; });
}

template <std::size_t N>
double squared_error(const std::array<std::array<double, N>, N>& products,
                     const std::array<double, N>& targets, const std::array<double, N>& weights) {
  double error = 0;  // up to a constant
  for (std::size_t i = 0; i < N; ++i) {
    error -= 2 * weights[i] * targets[i];
    for (std::size_t k = 0; k < N; ++k) error += weights[i] * products[i][k] * weights[k];
  }
  return error;
}

}  // namespace

template <std::size_t N>
void StreamFit<N>::add(const Row& x, double y, double weight) {
  if (!(y > 0)) return;
  const double scale = std::max(y, predict(x));
  for (std::size_t i = 0; i < N; ++i) {
    for (std::size_t k = 0; k < N; ++k) {
      products_[i][k] = kForget * products_[i][k] + weight * (x[i] / scale) * (x[k] / scale);
    }
    targets_[i] = kForget * targets_[i] + weight * (x[i] / scale) * (y / scale);
  }
  solve();
}

// Few terms: every choice of those that are not 0 is tried.
template <std::size_t N>
void StreamFit<N>::solve() {
  std::array<Row, N> products = products_;
  Row scale{};
  Row targets{};
  for (std::size_t i = 0; i < N; ++i) scale[i] = products_[i][i] > 0 ? 1 / std::sqrt(products_[i][i]) : 0;
  for (std::size_t i = 0; i < N; ++i) {
    for (std::size_t k = 0; k < N; ++k) products[i][k] = products_[i][k] * scale[i] * scale[k];
    products[i][i] += kRidge;
    targets[i] = targets_[i] * scale[i];
  }
  Row best{};
  double least = 0;
  for (unsigned chosen = 1; chosen < 1U << N; ++chosen) {
    Row weights{};
    if (!solve_chosen<N>(products, targets, chosen, weights)) continue;
    const double error = squared_error<N>(products, targets, weights);
    if (error >= least) continue;
    least = error;
    best = weights;
  }
  for (std::size_t i = 0; i < N; ++i) weights_[i] = best[i] * scale[i];
}

template <std::size_t N>
double StreamFit<N>::predict(const Row& x) const {
  double sum = 0;
  for (std::size_t i = 0; i < N; ++i) sum += weights_[i] * x[i];
  return sum;
}

template class StreamFit<3>;
template class StreamFit<4>;

namespace {

// Larger plans first keep less of a token.
bool converts_less(const PlanShape& a, const PlanShape& b) {
  return std::pair(-a.attention, a.states) < std::pair(-b.attention, b.states);
}

}  // namespace

template <std::size_t N>
typename PlanFactors<N>::Plan& PlanFactors<N>::plan_of(const PlanShape& shape) {
  const auto at = std::lower_bound(
      plans_.begin(), plans_.end(), shape,
      [](const Plan& one, const PlanShape& wanted) { return converts_less(one.shape, wanted); });
  if (at != plans_.end() && !converts_less(shape, at->shape)) return *at;
  return *plans_.insert(at, Plan{.shape = shape});
}

template <std::size_t N>
void PlanFactors<N>::add(const PlanShape& plan, const Row& x, double y, double predicted) {
  if (!(y > 0)) return;
  for (Plan& one : plans_) fade(one, kForgetOthers);
  Plan& own = plan_of(plan);
  fade(own, kForgetOwn);
  const double scale = std::max(y, predicted);
  for (std::size_t i = 0; i < N; ++i) {
    for (std::size_t k = 0; k < N; ++k) own.products[i][k] += (x[i] / scale) * (x[k] / scale);
    own.targets[i] += (x[i] / scale) * (y / scale);
  }
  ++own.jobs;
  if (plans_.size() <= kMostPlans) return;
  plans_.erase(std::min_element(plans_.begin(), plans_.end(),
                                [](const Plan& a, const Plan& b) { return a.jobs < b.jobs; }));
}

template <std::size_t N>
void PlanFactors<N>::fade(Plan& plan, double kept) {
  plan.jobs *= kept;
  for (std::size_t i = 0; i < N; ++i) {
    for (double& product : plan.products[i]) product *= kept;
    plan.targets[i] *= kept;
  }
}

// Of the plan's jobs with the sums P and t the factor f of the prediction w.x with the least (f w.x - y)^2 is
// w't / w'Pw.
template <std::size_t N>
void PlanFactors<N>::follow(const Row& weights) {
  for (Plan& plan : plans_) {
    double seen = kOne;
    double predicted = kOne;
    for (std::size_t i = 0; i < N; ++i) {
      seen += weights[i] * plan.targets[i];
      for (std::size_t k = 0; k < N; ++k) predicted += weights[i] * plan.products[i][k] * weights[k];
    }
    plan.factor = seen / predicted;
  }
}

template <std::size_t N>
double PlanFactors<N>::of(const PlanShape& plan) const {
  if (plans_.empty()) return 1;
  const auto above = std::lower_bound(
      plans_.begin(), plans_.end(), plan,
      [](const Plan& one, const PlanShape& wanted) { return converts_less(one.shape, wanted); });
  if (above == plans_.end()) return plans_.back().factor;
  if (above == plans_.begin() || !converts_less(plan, above->shape)) return above->factor;
  const Plan& below = *std::prev(above);
  const double apart = below.shape.attention - above->shape.attention;
  const double share = apart > 0 ? (below.shape.attention - plan.attention) / apart : 0.5;
  return below.factor + share * (above->factor - below.factor);
}

template <std::size_t N>
void PlanFactors<N>::set(const PlanShape& plan, double factor) {
  plan_of(plan).factor = factor;
}

template class PlanFactors<3>;
template class PlanFactors<4>;

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
