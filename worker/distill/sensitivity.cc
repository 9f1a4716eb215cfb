#include "worker/distill/sensitivity.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <numeric>
#include <random>

#include "worker/distill/held_out.h"
#include "worker/model/dsla_layer.h"

namespace dslad::worker {
namespace {

// Mean and spread of a layer's entropies, one prompt after the other.
class EntropySums {
 public:
  explicit EntropySums(int heads) : heads_(static_cast<std::size_t>(heads)) {}

  // entropy [rows, heads]; the prompt is rows [0, length).
  void add(std::span<const float> entropy, std::int64_t length) {
    const std::size_t heads = heads_.size();
    const auto rows = static_cast<std::size_t>(length);
    double last = 0;
    for (std::size_t head = 0; head < heads; ++head) {
      const auto value = static_cast<double>(entropy[(rows - 1) * heads + head]);
      heads_[head] += value;
      last += value / static_cast<double>(heads);
    }
    last_ += last;
    last_squares_ += last * last;
    for (std::size_t i = 0; i < rows * heads; ++i) all_ += static_cast<double>(entropy[i]);
    entries_ += static_cast<double>(rows * heads);
    prompts_ += 1;
  }

  [[nodiscard]] AttentionEntropy result() const {
    AttentionEntropy out;
    out.last = last_ / prompts_;
    out.last_spread = std::sqrt(std::max(0.0, last_squares_ / prompts_ - out.last * out.last));
    out.all = all_ / entries_;
    for (const double sum : heads_) out.heads.push_back(sum / prompts_);
    return out;
  }

 private:
  std::vector<double> heads_;
  double last_ = 0, last_squares_ = 0, all_ = 0, entries_ = 0, prompts_ = 0;
};

Status stopped(const std::atomic<bool>* stop) {
  if (stop == nullptr || !*stop) return ok_status();
  return Error{ErrorCode::kUnavailable, "stopped"};
}

Status train_alone(JointTraining& training, const SensitivitySetup& setup) {
  while (!training.done()) {
    if (Status going = stopped(setup.stop); !going) return going;
    const auto step = training.step();
    if (!step) return step.error();
    if (setup.on_step) setup.on_step(*step);
  }
  return ok_status();
}

bool by_evidence(std::string_view method) {
  return method == "kl" || method == "entropy-ascending" || method == "entropy-descending";
}

Error no_order(std::string_view method) {
  return {
      ErrorCode::kInvalidArgument,
      fmt::format("'{}' is no order; use entropy-ascending, entropy-descending, kl, greedy, index, reverse, "
                  "random or a file",
                  method)};
}

Result<std::vector<double>> sort_keys(std::string_view method, std::span<const LayerEvidence> evidence,
                                      int layers) {
  std::vector<double> keys(static_cast<std::size_t>(layers), std::numeric_limits<double>::quiet_NaN());
  for (const LayerEvidence& e : evidence) {
    double& key = keys[static_cast<std::size_t>(e.layer)];
    if (method == "kl" && e.kl) key = *e.kl;
    if (method == "entropy-ascending" && e.entropy) key = e.entropy->last;
    if (method == "entropy-descending" && e.entropy) key = -e.entropy->last;
  }
  if (std::ranges::any_of(keys, [](double key) { return std::isnan(key); })) {
    return Error{
        ErrorCode::kInvalidArgument,
        fmt::format("the order '{}' needs every layer measured; run dslad-model sensitivity", method)};
  }
  return keys;
}

}  // namespace

Result<std::vector<AttentionEntropy>> measure_entropy(Network& network,
                                                      std::span<const TrainingBatch> sequences,
                                                      const std::atomic<bool>* stop) {
  const LlamaConfig& config = network.teacher().config;
  std::vector<EntropySums> sums(static_cast<std::size_t>(config.layers), EntropySums(config.heads));
  for (const TrainingBatch& sequence : sequences) {
    if (Status going = stopped(stop); !going) return going.error();
    const std::int64_t length = sequence.segments.front().rows;
    const Status measured = network.measure_entropy(sequence, [&](int layer, std::span<const float> entropy) {
      sums[static_cast<std::size_t>(layer)].add(entropy, length);
    });
    if (!measured) return measured.error();
  }
  std::vector<AttentionEntropy> out;
  out.reserve(sums.size());
  for (const EntropySums& sum : sums) out.push_back(sum.result());
  return out;
}

Result<ConvertedAlone> convert_alone(kernels::TrainingBackend& backend, Network& network,
                                     const WeightFiles& weights, const SensitivitySetup& setup) {
  const LlamaConfig& config = network.teacher().config;
  ConvertedAlone out;
  TrainedLayers learning;
  for (int layer = 0; layer < config.layers; ++layer) {
    const auto initial = initial_dsla_layer(weights, config, layer, setup.variant);
    if (!initial) return initial.error();
    auto student = StudentLayer::create(backend, config, layer, setup.variant, *initial);
    if (!student) return student.error();
    learning.push_back(student->get());
    out.students.push_back(*std::move(student));
  }
  {  // the optimizers' memory is not needed beside the measurement's
    JointTraining training(network, Stage::kLayerwise, {{0, learning}}, *setup.options, setup.training);
    const Status trained = train_alone(training, setup);
    if (!trained) return trained.error();
    out.tokens = training.tokens();
  }
  const auto losses = held_out_losses_alone(network, setup.held_out, setup.options->batch_tokens,
                                            {learning.begin(), learning.end()}, setup.stop);
  if (!losses) return losses.error();
  for (const Losses& alone : *losses) out.kl.push_back(std::max(0.0, alone.kl));
  return out;
}

Result<std::vector<int>> greedy_order(
    Network& network, const ConvertedAlone& alone, const SensitivitySetup& setup,
    const std::function<void(std::size_t tried, std::size_t of)>& on_tried) {
  const std::size_t layers = alone.students.size();
  StudentLayers converted(layers);
  std::vector<int> order;
  const auto convert = [&](std::size_t layer) {
    converted[layer] = alone.students[layer].get();
    order.push_back(static_cast<int>(layer));
  };
  // The first one's divergence is known, the last one is all that is left.
  convert(static_cast<std::size_t>(std::ranges::min_element(alone.kl) - alone.kl.begin()));
  std::size_t tried = 0;
  while (order.size() < layers) {
    double least = std::numeric_limits<double>::infinity();
    std::size_t best = layers;
    for (std::size_t layer = 0; layer < layers; ++layer) {
      if (converted[layer] != nullptr) continue;
      if (best == layers) best = layer;
      if (order.size() + 1 == layers) break;
      if (Status going = stopped(setup.stop); !going) return going.error();
      StudentLayers with = converted;
      with[layer] = alone.students[layer].get();
      const auto losses = held_out_losses(network, setup.held_out, setup.options->batch_tokens, with);
      if (!losses) return losses.error();
      if (losses->kl < least) {
        least = losses->kl;
        best = layer;
      }
      if (on_tried) on_tried(++tried, layers * (layers - 1) / 2 - 1);
    }
    convert(best);
  }
  return order;
}

Status check_order_method(std::string_view method) {
  constexpr std::array<std::string_view, 4> kWithoutEvidence = {"greedy", "index", "reverse", "random"};
  const bool known =
      by_evidence(method) || std::ranges::find(kWithoutEvidence, method) != kWithoutEvidence.end();
  return known ? ok_status() : Status(no_order(method));
}

Result<std::vector<int>> order_by(std::string_view method, std::span<const LayerEvidence> evidence,
                                  int layers, std::uint64_t seed) {
  std::vector<int> order(static_cast<std::size_t>(layers));
  std::iota(order.begin(), order.end(), 0);
  if (method == "index") return order;
  if (method == "reverse") {
    std::ranges::reverse(order);
    return order;
  }
  if (method == "random") {
    std::mt19937_64 random(seed);
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
    return order;
  }
  if (!by_evidence(method)) return no_order(method);
  const auto keys = sort_keys(method, evidence, layers);
  if (!keys) return keys.error();
  std::ranges::stable_sort(order, {}, [&](int layer) { return (*keys)[static_cast<std::size_t>(layer)]; });
  return order;
}

}  // namespace dslad::worker
