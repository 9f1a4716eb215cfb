#include "worker/tools/speed_probe.h"

#include <algorithm>
#include <numeric>

#include "worker/distill/chain_students.h"
#include "worker/distill/stopwatch.h"

namespace dslad::worker {
namespace {

constexpr std::int64_t kProbeTokens = 1024;  // of a step, about: a large model's is slow enough

// Seconds for one of the tokens that `step` trains on: of the last of some steps, since the first of all is
// slow, and of the first alone where it took as long as `enough`.
template <class Step>
Result<double> token_seconds(double enough, const Step& step) {
  constexpr int kMostSteps = 8;
  const Stopwatch all;
  for (int steps = 1;; ++steps) {
    const Stopwatch watch;
    const Result<std::int64_t> tokens = step();
    if (!tokens) return tokens.error();
    if (steps < kMostSteps && all.seconds() < enough) continue;
    return watch.seconds() / static_cast<double>(*tokens);
  }
}

}  // namespace

PassCosts pass_costs(const LlamaConfig& config) {
  const auto attention = static_cast<double>(2 * (config.heads + config.kv_heads) * config.head_dim);
  const double layer = attention + 3.0 * static_cast<double>(config.intermediate_size);
  return {config.layers, static_cast<double>(config.vocab_size) / layer};
}

Result<TrainingSpeed> measure_speed(kernels::TrainingBackend& backend, Network& network,
                                    const ChainSetup& setup, const ChainManifest& manifest, double seconds) {
  const LlamaConfig& config = network.teacher().config;
  std::vector<int> layers(static_cast<std::size_t>(config.layers));
  std::iota(layers.begin(), layers.end(), 0);
  const auto students = first_students(backend, config, setup, layers, manifest);
  if (!students) return students.error();
  DistilOptions options = *setup.training.options;
  options.batch_tokens = std::min(options.batch_tokens, kProbeTokens);
  options.accumulation = 1;
  const double enough = 0.005 * seconds;

  JointTraining training(network, Stage::kLayerwise, {{0, by_layer(*students, config.layers)}}, options,
                         setup.training.training);
  const auto joint = token_seconds(enough, [&]() -> Result<std::int64_t> {
    const auto step = training.step();
    if (!step) return step.error();
    return step->tokens;
  });
  if (!joint) return joint.error();

  StudentLayer& student = *(*students)[students->size() / 2];
  BatchSource batches(setup.training.training, options.batch_tokens, options.seed);
  const auto chained = token_seconds(enough, [&]() -> Result<std::int64_t> {
    const TrainingBatch batch = batches.next();
    const auto losses =
        network.train_chained(batch, StudentLayers(students->size()), student, options.losses, 1.0);
    if (!losses) return losses.error();
    return batch.rows();
  });
  if (!chained) return chained.error();
  return TrainingSpeed{*joint, *chained / pass_costs(config).chained(student.layer(), student.layer())};
}

}  // namespace dslad::worker
