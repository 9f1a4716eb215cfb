// Values that several messages carry: leases, metrics, what a worker and a layer are doing. Plain structs,
// see job.h for what `fields` means.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "schema/job.h"

namespace dslad::schema {

// A job in a worker's hands. Results and progress count only while `attempt` is the job's latest.
struct Lease {
  JobId job = 0;
  std::uint32_t attempt = 0;

  static void fields(auto& self, auto& field) {
    field("job", self.job);
    field("attempt", self.attempt);
  }
  bool operator==(const Lease&) const = default;
};

// What an attempt cost, and what answered it. The worker fills the times, tokens, edition, plan and quality;
// the daemon adds the rest.
struct JobMetrics {
  double queue_ms = 0;    // from the enqueue to the start of the attempt that gave the result
  double prefill_ms = 0;  // of the engine, document and questions
  double decode_ms = 0;
  std::uint64_t prompt_tokens = 0;
  std::uint64_t output_tokens = 0;
  std::uint32_t plan = 0;
  std::string edition;  // of the model's conversion chain: the digest of its chain.json; empty: no chain
  std::optional<double> quality;  // of that plan, relative to plan 0; absent: not measured
  std::string model;              // name of the model's folder
  std::string model_digest;       // of the weights
  std::string worker;
  std::uint32_t attempt = 0;
  // The attempt's share of the engine's time: a step's time is divided among those who take part in it, so
  // that the shares of all jobs add up to the time that the engine worked. 0: not measured.
  double prefill_work_ms = 0;
  double decode_work_ms = 0;
  double batch = 0;  // sequences in a step of its decoding, on average
  std::string why;   // what decided about the plan, in words; set by the daemon
  // Of a document beyond the context: the parts that it was read in, and the tokens that were left out.
  std::uint32_t parts = 0;  // 0: it was read whole, or the middle was left out
  std::uint64_t cut_tokens = 0;
  std::uint64_t reused_tokens = 0;  // of the prompt's: the worker had read them before, and spent no time

  static void fields(auto& self, auto& field) {
    field("queue_ms", self.queue_ms);
    field("prefill_ms", self.prefill_ms);
    field("decode_ms", self.decode_ms);
    field("prompt_tokens", self.prompt_tokens);
    field("output_tokens", self.output_tokens);
    field("plan", self.plan);
    field("edition", self.edition);
    field("quality", self.quality);
    field("model", self.model);
    field("model_digest", self.model_digest);
    field("worker", self.worker);
    field("attempt", self.attempt);
    field("prefill_work_ms", self.prefill_work_ms);
    field("decode_work_ms", self.decode_work_ms);
    field("batch", self.batch);
    field("why", self.why);
    field("parts", self.parts);
    field("cut_tokens", self.cut_tokens);
    field("reused_tokens", self.reused_tokens);
  }
};

// A job that was answered on another plan, answered again on plan 0.
struct Rerun {
  std::vector<Output> outputs;
  JobMetrics metrics;
  std::optional<double> agreement;  // of the two answers, from 0 to 1; absent: they were drawn at random

  static void fields(auto& self, auto& field) {
    field("outputs", self.outputs);
    field("metrics", self.metrics);
    field("agreement", self.agreement);
  }
};

// How far answers of a plan agree with those of plan 0 to the same jobs.
struct PlanAgreement {
  std::string model;
  std::string model_digest;
  std::string edition;
  std::uint32_t plan = 0;
  std::uint64_t jobs = 0;  // the latest that were compared
  double agreement = 0;    // their mean, from 0 to 1
  bool withdrawn = false;  // it is below what is asked for: no job is given the plan, nor a larger one

  static void fields(auto& self, auto& field) {
    field("model", self.model);
    field("model_digest", self.model_digest);
    field("edition", self.edition);
    field("plan", self.plan);
    field("jobs", self.jobs);
    field("agreement", self.agreement);
    field("withdrawn", self.withdrawn);
  }
};

// What a plan of a model's conversion chain is to whoever chooses one. The worker knows it from the chain.
struct PlanOffer {
  std::uint32_t plan = 0;         // layers of the conversion order that run DSLA
  std::optional<double> quality;  // relative to plan 0; absent: not measured
  std::uint64_t kv_bytes_per_token = 0;
  std::uint64_t state_bytes = 0;  // of a sequence, whatever its length

  static void fields(auto& self, auto& field) {
    field("plan", self.plan);
    field("quality", self.quality);
    field("kv_bytes_per_token", self.kv_bytes_per_token);
    field("state_bytes", self.state_bytes);
  }
  bool operator==(const PlanOffer&) const = default;
};

struct EngineStats {
  std::uint64_t steps = 0;          // since the worker's start, as are the token counts
  std::uint64_t prompt_tokens = 0;  // prefilled
  std::uint64_t output_tokens = 0;  // decoded
  double prefill_tokens_per_s = 0;  // lately
  double decode_tokens_per_s = 0;
  std::uint64_t sequences_running = 0;
  std::uint64_t sequences_waiting = 0;
  std::uint64_t kv_bytes_used = 0;
  std::uint64_t kv_bytes_total = 0;
  std::uint64_t state_bytes_used = 0;  // of DSLA states
  std::uint64_t state_bytes_total = 0;
  std::uint64_t reused_tokens = 0;  // of prompts, that were not prefilled again; since the worker's start

  static void fields(auto& self, auto& field) {
    field("steps", self.steps);
    field("prompt_tokens", self.prompt_tokens);
    field("output_tokens", self.output_tokens);
    field("prefill_tokens_per_s", self.prefill_tokens_per_s);
    field("decode_tokens_per_s", self.decode_tokens_per_s);
    field("sequences_running", self.sequences_running);
    field("sequences_waiting", self.sequences_waiting);
    field("kv_bytes_used", self.kv_bytes_used);
    field("kv_bytes_total", self.kv_bytes_total);
    field("state_bytes_used", self.state_bytes_used);
    field("state_bytes_total", self.state_bytes_total);
    field("reused_tokens", self.reused_tokens);
  }
};

struct LayerInfo {
  std::uint32_t layer = 0;
  std::int32_t order = -1;  // place in the conversion order; -1: not part of it
  LayerState state = LayerState::kTransformer;
  bool distilled = false;  // DSLA weights exist that were distilled, not merely initialised
  // From the conversion chain, where it has them (docs/formats.md).
  std::optional<double> entropy = std::nullopt;  // of the layer's attention in the teacher, nats
  std::optional<double> kl = std::nullopt;       // with this layer alone converted, nats a token
  std::optional<double> quality = std::nullopt;  // of the plan that ends with this layer, relative to plan 0
  std::string reason = {};                       // why it has failed; empty: it has not, or nobody knows

  static void fields(auto& self, auto& field) {
    field("layer", self.layer);
    field("order", self.order);
    field("state", self.state);
    field("distilled", self.distilled);
    field("entropy", self.entropy);
    field("kl", self.kl);
    field("quality", self.quality);
    field("reason", self.reason);
  }
};

struct LayerChange {
  std::uint32_t layer = 0;
  LayerState from = LayerState::kTransformer;
  LayerState to = LayerState::kTransformer;
  std::string reason;

  static void fields(auto& self, auto& field) {
    field("layer", self.layer);
    field("from", self.from);
    field("to", self.to);
    field("reason", self.reason);
  }
};

struct ModelLayers {
  std::string model;
  std::string model_digest;
  std::uint32_t plan = 0;
  std::vector<LayerInfo> layers;  // by layer

  static void fields(auto& self, auto& field) {
    field("model", self.model);
    field("model_digest", self.model_digest);
    field("plan", self.plan);
    field("layers", self.layers);
  }
};

struct WorkerPlan {
  std::string worker;
  std::string model;
  std::uint32_t plan = 0;            // now
  std::uint32_t layers = 0;          // of the model
  std::vector<LayerChange> changes;  // that this request made
  std::optional<Error> error = {};   // why it kept the plan that it had

  static void fields(auto& self, auto& field) {
    field("worker", self.worker);
    field("model", self.model);
    field("plan", self.plan);
    field("layers", self.layers);
    field("changes", self.changes);
    field("error", self.error);
  }
};

// What jobs on a plan took, of what the cost model's coefficients say.
struct PlanSpeed {
  double attention = 1;  // keys and values that the plan keeps of a token, of plan 0's
  double states = 0;     // sizes of its states, of the largest plan's
  double prefill = 1;
  double decode = 1;

  static void fields(auto& self, auto& field) {
    field("attention", self.attention);
    field("states", self.states);
    field("prefill", self.prefill);
    field("decode", self.decode);
  }
};

// What the daemon has learnt of how fast a kind of worker is.
struct CostModelInfo {
  std::string workers;     // model, device and host of the kind
  std::uint64_t jobs = 0;  // that it was learnt from
  double error_p50 = 0;    // of its own predictions of a job's work, relative
  double error_p90 = 0;
  double bytes_per_token = 0;
  double output_share = 0;           // tokens of an answer, of those allowed
  double batch = 0;                  // sequences in a step of decoding, of late; 0: not told
  std::vector<double> coefficients;  // docs/adaptive.md
  std::vector<PlanSpeed> plan_speeds;

  static void fields(auto& self, auto& field) {
    field("workers", self.workers);
    field("jobs", self.jobs);
    field("error_p50", self.error_p50);
    field("error_p90", self.error_p90);
    field("bytes_per_token", self.bytes_per_token);
    field("output_share", self.output_share);
    field("batch", self.batch);
    field("coefficients", self.coefficients);
    field("plan_speeds", self.plan_speeds);
  }
};

// A connected worker as clients see it.
struct WorkerInfo {
  std::string name;      // host:pid:device; a label, which several may share
  std::string instance;  // which worker it is
  std::string device;
  std::string model;
  std::string dtype;
  std::uint32_t plan = 0;
  std::uint32_t capacity = 0;
  std::uint32_t running = 0;       // leases it holds
  std::uint64_t last_seen_ms = 0;  // ago
  EngineStats engine;
  std::string model_digest;
  std::string edition;        // of the model's conversion chain; empty: no chain
  std::uint32_t layers = 0;   // of the model
  std::uint32_t context = 0;  // tokens
  std::uint64_t cache_bytes = 0;
  std::uint32_t begun = 0;       // of `running`: those that it works on already
  std::vector<PlanOffer> plans;  // that it can run now
  std::string chain_fault;       // as in Hello; empty: all of the chain is used, or there is none

  static void fields(auto& self, auto& field) {
    field("name", self.name);
    field("instance", self.instance);
    field("device", self.device);
    field("model", self.model);
    field("dtype", self.dtype);
    field("plan", self.plan);
    field("capacity", self.capacity);
    field("running", self.running);
    field("last_seen_ms", self.last_seen_ms);
    field("engine", self.engine);
    field("model_digest", self.model_digest);
    field("edition", self.edition);
    field("layers", self.layers);
    field("context", self.context);
    field("cache_bytes", self.cache_bytes);
    field("begun", self.begun);
    field("plans", self.plans);
    field("chain_fault", self.chain_fault);
  }
};

}  // namespace dslad::schema
