#include "worker/tools/distil_progress.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace dslad::worker {

std::string DistilProgress::left(double in_stage) const {
  std::string out = readable_seconds(in_stage) + " left in the stage";
  if (budget_left_) out += fmt::format(", {} of the budget", readable_seconds(std::max(0.0, budget_left_())));
  return out + quality_;
}

void DistilProgress::step(const StepReport& report, int position) {
  const std::string parts = report.loss != Stage::kLayerwise
                                ? fmt::format(" (ce {:.4f} kl {:.4f} align {:.3g})", report.losses.ce,
                                              report.losses.kl, report.losses.align)
                                : "";
  const double in_stage = static_cast<double>(report.steps - report.step) * seconds_per_step(report);
  line_.show(fmt::format("layer {} ({} of {}), {}: step {} of {}, loss {:.5g}{}, {:.0f} tokens/s, {}",
                         report.layer, position + 1, layers_, report.stage, report.step, report.steps,
                         report.losses.total, parts, report.tokens_per_second, left(in_stage)));
}

void DistilProgress::joint_step(const JointStep& step, double tokens_per_second) {
  const double in_stage = static_cast<double>(step.steps - step.step) * static_cast<double>(step.tokens) /
                          std::max(1e-9, tokens_per_second);
  const Losses& losses = step.losses;
  const std::string what =
      step.stage == Stage::kChained
          ? fmt::format("plan {} at once, chained: step {} of {}, loss {:.5g} (ce {:.4f} kl {:.4f})",
                        step.plan, step.step, step.steps, losses.total, losses.ce, losses.kl)
          : fmt::format("{} layers at once, layerwise: step {} of {}, mean loss {:.5g}", step.layers.size(),
                        step.step, step.steps, losses.total);
  line_.show(fmt::format("{}, {:.0f} tokens/s, {}", what, tokens_per_second, left(in_stage)));
}

void DistilProgress::plans(const PlansReport& report) {
  line_.clear();
  if (json_) {
    const nlohmann::ordered_json out = {{"plans", report.plans}, {"kl_before", report.before},
                                        {"kl", report.after},    {"undone", report.undone},
                                        {"steps", report.steps}, {"tokens", report.tokens}};
    fmt::print("{}\n", out.dump());
    std::fflush(stdout);
    return;
  }
  for (std::size_t i = 0; i < report.plans.size(); ++i) {
    fmt::print("plan {}: kl {:.5f} -> {:.5f} by {} steps of all layers at once{}\n", report.plans[i],
               report.before[i], report.after[i], report.steps, report.undone ? "; undone" : "");
  }
  std::fflush(stdout);
}

void DistilProgress::layer(const LayerReport& report) {
  line_.clear();
  const int plan = report.position + 1;
  const double kl = *report.quality.kl, perplexity = *report.quality.perplexity_ratio;
  if (budget_left_) quality_ = fmt::format("; plan {}: kl {:.5f}, perplexity x{:.4f}", plan, kl, perplexity);
  if (json_) {
    const nlohmann::ordered_json out = {{"layer", report.layer},
                                        {"plan", plan},
                                        {"held_out_kl", report.outcome.kl},
                                        {"reached_kl", report.outcome.reached_kl},
                                        {"kl", kl},
                                        {"perplexity_ratio", perplexity},
                                        {"tokens", report.outcome.tokens}};
    fmt::print("{}\n", out.dump());
  } else {
    const bool undone = report.outcome.reached_kl != report.outcome.kl;
    fmt::print("plan {}: layer {} converted; kl {:.5f} -> {:.5f}, perplexity x{:.4f}{}\n", plan, report.layer,
               report.outcome.kl.front(), kl, perplexity,
               undone ? "; a stage that raised kl was undone" : "");
  }
  std::fflush(stdout);
}

// Smoothed over the stage's steps.
double DistilProgress::seconds_per_step(const StepReport& report) {
  const auto now = std::chrono::steady_clock::now();
  if (report.step == 1 || steps_ == 0) {
    began_ = now;
    steps_ = 0;
  }
  const double seconds = std::chrono::duration<double>(now - began_).count();
  return steps_++ == 0 ? 0.0 : seconds / static_cast<double>(steps_ - 1);
}

}  // namespace dslad::worker
