// How a time that a person has named is divided: what a pass costs, and how many steps that leaves.
//
// A run measures what one step takes, then asks here: how many layer-wise steps (of all layers at once) and
// how many held-out tokens to measure on at its beginning, and before each layer, the easiest first, how many
// chained steps. What is measured later corrects what was foreseen, since each answer counts from the time
// used so far. Pure; safe from any thread.
//
// Where time is short a layer goes without chained steps: what the layer-wise stage made of it, measured
// behind the layers below. A few chained steps gain nothing, and in their time other layers come out
// (docs/quality.md).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace dslad::worker {

// What passes cost, for one token, in units of a softmax layer's forward pass. A layer's backward pass counts
// as two; the teacher runs beside the student, which is the teacher itself below the first converted layer.
struct PassCosts {
  int layers = 0;
  double vocabulary = 0;  // of the output projection, in the same unit

  // Of a chained step of `layer`, `first` being the lowest converted one (itself or one below).
  [[nodiscard]] double chained(int first, int layer) const;
  // Of a chained step of all layers of a plan, `first` being the lowest.
  [[nodiscard]] double joint_chained(int first) const { return chained(first, first); }
  // Of a forward pass of student and teacher.
  [[nodiscard]] double held_out(int first) const;
  // Of measuring every layer converted alone.
  [[nodiscard]] double alone() const;
};

struct AllotmentLimits {
  std::int64_t least_joint = 2, most_joint = 200;        // layer-wise steps
  std::int64_t least_chained = 12, most_chained = 1000;  // of a layer, where it has any
  double joint_share = 0.4;                              // of the budget, at most, for the layer-wise stage
  // Chained steps with which the stage has its full learning rate. In fewer, full steps lead away from the
  // teacher and do not come back (docs/quality.md).
  std::int64_t full_rate_steps = 50;
  double order_share = 0.1;  // and for measuring the order
  // For measuring layers: this much of the budget, or as many chained steps' time for each.
  double measuring_share = 0.1, measuring_steps = 0.5;
  std::int64_t least_held_out = 512;  // tokens, or all there are
};

// What is known when a run begins, in seconds.
struct FirstMeasures {
  double joint_step = 0;
  double order = 0;    // measuring every layer alone, for one held-out token
  double measure = 0;  // what a layer's measurements take, for one held-out token
  double chained_step = 0;
};

struct FirstAllotment {
  std::int64_t joint_steps = 0;
  std::int64_t held_out = 0;  // tokens of those there are
};

// Which of sequences of so many `rows` to measure on, of `tokens` in all: one from each of equal parts of the
// tokens that they have, so that long ones, in which windows hide most, are among them. The shortest where
// none is as short as `tokens`. Ascending. REQUIRES: rows is not empty, each is above 0.
std::vector<std::size_t> representatives(std::span<const std::int64_t> rows, double tokens);

// The least budget with which a run that has used `used` seconds comes to a layer.
// `held_out`: tokens that there are.
double least_budget(double used, const FirstMeasures& measures, std::int64_t held_out,
                    const AllotmentLimits& limits);

// REQUIRES: budget >= least_budget(...); layers > 0, to be converted at most; held_out > 0, tokens.
FirstAllotment first_allotment(double budget, double used, const FirstMeasures& measures, int layers,
                               std::int64_t held_out, const AllotmentLimits& limits);

// A layer to come, in seconds as far as they are known.
struct LayerCost {
  double chained_step = 0;
  double other = 0;  // all but the chained steps: its measurements and files
};

// Chained steps of the first of `to_come`, which are in the order of conversion: as many layers as come out
// without any share evenly what time remains; 0 where that is too few. Nothing: there is no time for another
// layer.
std::optional<std::int64_t> chained_steps(double budget, double used, std::span<const LayerCost> to_come,
                                          const AllotmentLimits& limits);

// Chained steps of all layers at once, of `step` seconds each, where `closing` seconds must follow; 0: too
// few.
std::int64_t joint_chained_steps(double budget, double used, double step, double closing,
                                 const AllotmentLimits& limits);

// Of the full learning rate, for a chained stage of `steps`.
double rate_share(std::int64_t steps, const AllotmentLimits& limits);

// Whether there is time for another step where `closing` seconds must follow it.
bool time_for_step(double budget, double used, double step, double closing);

}  // namespace dslad::worker
