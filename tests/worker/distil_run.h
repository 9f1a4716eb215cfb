// Whole distillation runs on a small random model, in one process or in parts.
#pragma once

#include <gtest/gtest.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tests/worker/test_files.h"
#include "worker/distill/chain_training.h"
#include "worker/distill/training_log.h"

namespace dslad::worker {

// Of 12 to 31 rows, or `factor` times as many.
inline std::vector<TrainingBatch> random_sequences(int count, std::uint64_t seed, int factor = 1) {
  std::mt19937_64 random(seed);
  std::vector<TrainingBatch> out;
  for (int i = 0; i < count; ++i) {
    TrainingBatch& s = out.emplace_back();
    const int rows = factor * (12 + static_cast<int>(random() % 20));
    for (int t = 0; t < rows; ++t) {
      s.ids.push_back(static_cast<std::int32_t>(random() % 96));
      s.positions.push_back(t);
    }
    s.labels.assign(s.ids.begin() + 1, s.ids.end());
    s.labels.push_back(kernels::kNoLabel);
    s.kl_weight.assign(s.ids.size(), 1.0f);
    s.segments = {{0, s.rows(), -1}};
  }
  return out;
}

class DistilRun : public ::testing::Test {
 protected:
  DistilRun()
      : training_(random_sequences(24, 1)),
        held_out_(random_sequences(4, 2)),
        longer_(random_sequences(6, 3, 4)) {
    // A window as long as these sequences would leave nothing to learn.
    variant_.rotary = true;
    options_.layerwise = {6, 1e-2, 1e-3, 2};
    options_.chained = {5, 3e-3, 1e-4, 1};
    options_.batch_tokens = 64;
    options_.compute = kernels::DType::kF32;
    files_ = std::make_unique<WeightFiles>(*WeightFiles::open(model_));
  }

  // A stage behind the chained one, by its losses.
  static LayerStage further(std::int64_t steps, double above_kl = -1) {
    return {.name = {}, .options = {steps, 1e-3, 1e-4, 0}, .above_kl = above_kl};
  }

  // One process' part of a run; `stop_after` steps, or to the end.
  Status run(const std::filesystem::path& dir, int layers, int stop_after = -1) {
    std::atomic<bool> stop{stop_after == 0};
    return run_until(dir, layers, stop, stop_after, nullptr);
  }

  // The same; `within` of it, once it is set, ends the run amid a step.
  Status run_until(const std::filesystem::path& dir, int layers, std::atomic<bool>& stop, int stop_after,
                   const std::atomic<bool>* within) {
    auto backend = kernels::make_cpu_training_backend(1);
    Network network(*backend, *load_teacher(model_, *backend, kernels::DType::kF32), kernels::DType::kF32,
                    variant_);
    auto found = load_chain_manifest(dir);
    ChainManifest manifest = found ? *found : fresh(network.teacher());
    if (within != nullptr) network.stop_when(*within);
    int steps = 0;
    ChainSetup setup;
    setup.training = {&options_, training_, held_out_, further_sequences_, dir, 0.0, {}, &stop, {}};
    setup.training.on_step = [&](const StepReport&) { stop = ++steps == stop_after; };
    setup.training.on_joint_step = [&](const JointStep&, double) { stop = ++steps == stop_after; };
    setup.weights = files_.get();
    setup.layers = layers;
    setup.stored = kernels::DType::kF32;
    std::filesystem::create_directories(dir);
    return distil_chain(*backend, network, setup, manifest);
  }

  ChainManifest fresh(const Teacher& teacher) const {
    ChainManifest manifest;
    manifest.teacher_digest = teacher.digest;
    manifest.layers = teacher.config.layers;
    manifest.program = "distill_test";
    manifest.version = "1";
    manifest.variant = variant_;
    manifest.order_method = "file";
    manifest.order = {3, 1, 0, 4, 2};
    return manifest;
  }

  // The losses that the log tells, in order; timings left out.
  static std::vector<std::string> logged(const std::filesystem::path& dir) {
    std::istringstream lines(testing::read_text(dir / "log.jsonl"));
    std::vector<std::string> out;
    for (std::string line; std::getline(lines, line);) {
      auto json = nlohmann::json::parse(line);
      json.erase("tokens_per_second");
      out.push_back(json.dump());
    }
    return out;
  }

  const std::filesystem::path model_ = testing::golden_path("training/teacher");
  testing::TempDir folder_;
  std::vector<TrainingBatch> training_, held_out_, longer_;
  std::vector<std::span<const TrainingBatch>> further_sequences_;
  DistilOptions options_;
  DslaVariant variant_ = *named_variant("paper");
  std::unique_ptr<WeightFiles> files_;
};

}  // namespace dslad::worker
