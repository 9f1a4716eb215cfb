// How a worker's engine divides its time among its jobs: in steps that take in 512 tokens of prompts and a
// token of each answer. The prompt tokens are the oldest prompt's, but a quarter of them the shortest's
// (worker/engine/engine.h); all is a flow, so that events are few and exact. The works of jobs add up to the
// time that passes; an answer takes as many steps as it has tokens, however small its own share of them is.
#pragma once

#include <cstddef>
#include <vector>

#include "daemon/policy/cost_model.h"

namespace dslad::daemon::policy {

struct EngineJob {
  std::size_t id = 0;
  Work work;
  double prompt_tokens = 1;
  double steps = 0;  // of decode
};

class SimulatedEngine {
 public:
  // It takes so many jobs at a time, at most.
  explicit SimulatedEngine(std::size_t room) : room_(room) {}

  // Whether another job would be of use: a prompt beside the one that is being read.
  [[nodiscard]] bool has_room() const;
  [[nodiscard]] std::size_t jobs() const { return jobs_.size(); }
  void begin(const EngineJob& job);

  // Until a prompt has been read or an answer is complete; infinity: it has nothing to do.
  [[nodiscard]] double next_ms() const;
  void pass(double ms);  // REQUIRES: no more than next_ms()
  // Jobs that are done, which it forgets.
  std::vector<std::size_t> take_done();

  struct Left {
    std::size_t id = 0;
    double share = 1;  // of the job's work
  };
  [[nodiscard]] std::vector<Left> left() const;

 private:
  struct Running {
    EngineJob job;
    double prefill_left_ms = 0;
    double steps_left = 0;
    [[nodiscard]] bool reads() const;
    [[nodiscard]] bool done() const;
    [[nodiscard]] double prompt_left() const;
    [[nodiscard]] double ms_a_token() const { return job.work.prefill_ms / job.prompt_tokens; }
    [[nodiscard]] double ms_a_step() const { return job.work.decode_ms / job.steps; }
  };
  // What a job gets of each step.
  struct Flow {
    std::vector<double> prompt_tokens;  // by job
    double step_ms = 0;
  };
  [[nodiscard]] Flow flow() const;

  std::size_t room_;
  std::vector<Running> jobs_;  // as they came
};

}  // namespace dslad::daemon::policy
