// How much of an engine's time a job takes, learnt from jobs that have ended.
//
// "Work" is a job's share of the engine's time: the time of each step divided among those who take part in
// it, so that the works of jobs add up to the time until they are all done. With L prompt tokens, T output
// tokens, B sequences in a step of decoding, and of the plan (PlanShape) attention A and states S:
//
//   prefill = L (a + b A L + c S),    decode = T (d + e / B + f A (L + T/2) + g S)    milliseconds
//
// so that plans that never ran are predicted from those that did. The coefficients are never negative. They
// are the least squares of the relative error, old jobs forgotten by and by. A first guess of how the first
// job's time divides among the terms is forgotten likewise. A plan on which jobs ran has a factor beside it:
// what its own jobs took, of what the coefficients say. A job whose first R tokens had been read before
// has taken what L tokens take less what R do, and is predicted so where it is known beforehand. Pure; one
// user at a time; cheap to copy.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "daemon/policy/facts.h"
#include "daemon/policy/plan_factors.h"
#include "daemon/policy/stream_fit.h"

namespace dslad::daemon::policy {

struct Work {
  double prefill_ms = 0;
  double decode_ms = 0;
  [[nodiscard]] double total_ms() const { return prefill_ms + decode_ms; }
};

// A job that has ended; of one that was read in parts, the average part.
struct Observation {
  JobSize size;
  PlanShape plan;
  double prompt_tokens = 0;
  double output_tokens = 0;
  Work work;
  double batch = 1;          // sequences in a step of its decoding, on average
  double reused_tokens = 0;  // the prompt's first, which cost nothing: they had been read before
};

// Of a plan on which jobs ran: what they took, of what the coefficients say.
struct PlanSpeed {
  PlanShape plan;
  double prefill = 1;
  double decode = 1;
};

class CostModel {
 public:
  // Learns from it; absurd numbers (not finite, negative, without tokens) are passed over.
  void learn(const Observation& seen);

  // Of a job with these tokens.
  [[nodiscard]] Work of_tokens(double prompt, double output, const PlanShape& plan, double batch) const;
  // Of a job that waits, in the company that is usual of late, at a worker with a context of so many tokens
  // (0: not known). A document that is expected to be longer is cut or read in parts, as the job says. Its
  // first `known` tokens were read before; that counts for a document that is read whole.
  [[nodiscard]] Work of(const JobSize& size, const PlanShape& plan, std::uint32_t context = 0,
                        double known = 0) const;

  [[nodiscard]] double prompt_tokens(const JobSize& size) const;       // expected
  [[nodiscard]] double most_prompt_tokens(const JobSize& size) const;  // of 95 jobs in a hundred, or less
  [[nodiscard]] double output_tokens(const JobSize& size) const;       // expected

  [[nodiscard]] std::uint64_t jobs() const { return jobs_; }  // learnt from
  // Relative error of the predictions that it made of the latest jobs before it learnt from them; `share` 0.5
  // for the median.
  [[nodiscard]] double error(double share) const;
  [[nodiscard]] double bytes_per_token() const { return bytes_per_token_; }
  [[nodiscard]] double output_share() const { return output_share_; }
  [[nodiscard]] double batch() const { return batch_; }    // sequences in a step, of late
  [[nodiscard]] std::vector<double> coefficients() const;  // a, b, c, d, e, f, g
  [[nodiscard]] std::vector<PlanSpeed> plan_speeds() const;

  // As coefficients() and the others gave them: a model that predicts the same until it learns. For
  // simulation.
  static CostModel recorded(const std::vector<double>& coefficients, double bytes_per_token,
                            double output_share, double batch, const std::vector<PlanSpeed>& plans = {});

 private:
  static constexpr std::size_t kLatest = 200;
  // The latest values, in no order.
  struct Recent {
    std::vector<double> values;
    std::size_t next = 0;
    void add(double value);
    [[nodiscard]] double quantile(double share) const;
  };

  void guess(const Observation& first);

  StreamFit<3> prefill_;
  StreamFit<4> decode_;
  PlanFactors<3> prefill_of_plan_;
  PlanFactors<4> decode_of_plan_;
  double bytes_per_token_ = 4;  // a guess, as is the next, until the first job has ended
  double output_share_ = 1;
  double batch_ = 1;
  std::uint64_t jobs_ = 0;
  Recent errors_;
  Recent tokens_per_byte_;
  double most_tokens_per_byte_ = 0;  // 95 jobs in a hundred have less; 0: not known
};

}  // namespace dslad::daemon::policy
