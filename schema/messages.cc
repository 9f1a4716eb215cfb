// The checks that a message makes of itself once its fields are read.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fmt/format.h>

#include "schema/client_messages.h"
#include "schema/day_window.h"
#include "schema/limits.h"
#include "schema/policy_messages.h"
#include "schema/worker_messages.h"

namespace dslad::schema {
namespace {

Status check_name(std::string_view key, std::string_view value) {
  if (value.size() <= kMaxNameBytes) return ok_status();
  return invalid_argument(
      fmt::format("{} has {} bytes; at most {} are taken", key, value.size(), kMaxNameBytes));
}

Status check_reason(std::string_view key, std::string_view value) {
  if (value.size() <= kMaxErrorBytes) return ok_status();
  return invalid_argument(
      fmt::format("{} has {} bytes; at most {} are taken", key, value.size(), kMaxErrorBytes));
}

Status check_layers(const std::vector<LayerInfo>& layers) {
  if (layers.size() > kMaxLayers)
    return invalid_argument(fmt::format("{} layers; at most {} are known", layers.size(), kMaxLayers));
  for (const LayerInfo& layer : layers) {
    if (Status status = check_reason("a layer's reason", layer.reason); !status) return status;
  }
  return ok_status();
}

Status check_ids(const std::vector<JobId>& ids) {
  if (ids.empty()) return invalid_argument("ids is empty; name at least one job");
  if (ids.size() <= kMaxBatch) return ok_status();
  return invalid_argument(fmt::format("{} ids; one request takes at most {}", ids.size(), kMaxBatch));
}

Status check_generation(std::uint64_t generation) {
  if (generation <= kMaxGeneration) return ok_status();
  return invalid_argument(fmt::format("generation is {}; at most {} is taken", generation, kMaxGeneration));
}

bool is_time(double ms) {
  return std::isfinite(ms) && ms >= 0.0;
}

Status check_share(std::string_view key, double share) {
  if (share >= 0.0 && share <= 1.0) return ok_status();
  return invalid_argument(fmt::format("{} is {}; it must be from 0 to 1", key, share));
}

Status check_duration(std::string_view key, std::uint64_t ms) {
  if (ms <= kMaxExpiryMs) return ok_status();
  return invalid_argument(fmt::format("{} is {}; at most {} (ten years) are taken", key, ms, kMaxExpiryMs));
}

Status check_plan(std::string_view key, std::uint32_t plan) {
  if (plan <= kMaxLayers) return ok_status();
  return invalid_argument(fmt::format("{} is {}; no model has so many layers", key, plan));
}

Status check_labels(const std::vector<std::string>& labels) {
  if (labels.size() > kMaxLabels) {
    return invalid_argument(fmt::format("{} labels; a job has at most {}", labels.size(), kMaxLabels));
  }
  for (const std::string& label : labels) {
    if (label.empty()) return invalid_argument("a label is empty");
    if (std::any_of(label.begin(), label.end(), [](unsigned char c) { return c <= ' ' || c == 0x7F; }))
      return invalid_argument("a label has white space or control characters; it must be one word");
    if (label.size() > kMaxLabelBytes) {
      return invalid_argument(
          fmt::format("a label has {} bytes; at most {} are taken", label.size(), kMaxLabelBytes));
    }
  }
  return ok_status();
}

// Plans ascend from 0, or nothing is known of them.
Status check_offers(const std::vector<PlanOffer>& plans) {
  if (plans.size() > kMaxLayers + 1)
    return invalid_argument(fmt::format("{} plans; no model has so many layers", plans.size()));
  for (std::size_t i = 0; i < plans.size(); ++i) {
    if (i == 0 ? plans[i].plan != 0 : plans[i].plan <= plans[i - 1].plan)
      return invalid_argument("plans must begin with plan 0 and ascend");
    if (Status status = check_plan("plan", plans[i].plan); !status) return status;
    if (plans[i].quality && !is_time(*plans[i].quality))
      return invalid_argument("quality must be finite and not negative");
  }
  return ok_status();
}

}  // namespace

Status JobRequest::validate() const {
  if (Status status = spec.validate(); !status) return status;
  if (priority < -kMaxPriority || priority > kMaxPriority) {
    return invalid_argument(
        fmt::format("priority is {}; it must be from {} to {}", priority, -kMaxPriority, kMaxPriority));
  }
  if (max_attempts > kMaxAttempts) {
    return invalid_argument(
        fmt::format("max_attempts is {}; at most {} are allowed", max_attempts, kMaxAttempts));
  }
  if (Status status = check_name("idempotency_key", idempotency_key); !status) return status;
  if (Status status = check_name("custom_id", custom_id); !status) return status;
  if (Status status = check_duration("start_in_ms", start_in_ms); !status) return status;
  if (Status status = check_labels(labels); !status) return status;
  if (terms.deadline_in_ms > 0 && start_in_ms >= terms.deadline_in_ms) {
    return invalid_argument(
        fmt::format("it may begin in {} ms and has a deadline in {} ms: give it a later deadline "
                    "or an earlier start",
                    start_in_ms, terms.deadline_in_ms));
  }
  return terms.validate();
}

Status JobTerms::validate() const {
  if (Status status = check_name("model", model); !status) return status;
  if (Status status = check_duration("deadline_in_ms", deadline_in_ms); !status) return status;
  if (min_quality) {
    if (Status status = check_share("min_quality", *min_quality); !status) return status;
  }
  return check_plan("max_plan", max_plan.value_or(0));
}

Status Submit::validate() const {
  if (jobs.empty()) return invalid_argument("jobs is empty; submit at least one");
  if (jobs.size() > kMaxBatch) {
    return invalid_argument(fmt::format("{} jobs; one request takes at most {}", jobs.size(), kMaxBatch));
  }
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    Status status = jobs[i].validate();
    if (!status) return status.error().with_context(fmt::format("jobs[{}]", i));
  }
  return check_name("client", client);
}

Status ListJobs::validate() const {
  if (limit < 1 || limit > kMaxBatch) {
    return invalid_argument(fmt::format("limit is {}; it must be from 1 to {}", limit, kMaxBatch));
  }
  if (before_id > 0 && ended_after)
    return invalid_argument("before_id and ended_after are of two orders; name one of them");
  if (Status status = check_name("label", label); !status) return status;
  if (Status status = check_name("owner", owner); !status) return status;
  return check_name("client", client);
}

Status CountJobs::validate() const {
  if (label.empty() && client.empty())
    return invalid_argument("count needs a label or a client; status counts all jobs");
  if (Status status = check_name("label", label); !status) return status;
  return check_name("client", client);
}

Status Wait::validate() const {
  if (timeout_ms > kMaxWaitMs) {
    return invalid_argument(
        fmt::format("timeout_ms is {}; at most {} are allowed: wait again", timeout_ms, kMaxWaitMs));
  }
  return check_ids(ids);
}

Status Cancel::validate() const {
  return check_ids(ids);
}

Status Requeue::validate() const {
  return check_ids(ids);
}

Status Purge::validate() const {
  if (state && !is_final(*state)) {
    return invalid_argument(
        fmt::format("jobs that are {} have not ended; cancel them first", to_string(*state)));
  }
  if (Status status = check_duration("ended_before_ms", ended_before_ms); !status) return status;
  return check_name("label", label);
}

Status SetPlan::validate() const {
  if (Status status = check_plan("plan", plan); !status) return status;
  return check_name("reason", reason);
}

Status SetPolicy::validate() const {
  if (Status status = check_plan("static_plan", static_plan.value_or(0)); !status) return status;
  if (Status status = check_share("min_quality", min_quality.value_or(0)); !status) return status;
  if (Status status = check_duration("target_drain_ms", target_drain_ms.value_or(0)); !status) return status;
  if (Status status = check_duration("dwell_ms", dwell_ms.value_or(0)); !status) return status;
  if (Status status = check_duration("idle_after_ms", idle_after_ms.value_or(0)); !status) return status;
  if (const auto window = DayWindow::parse(idle_window.value_or("")); !window) {
    return window.error().with_context("idle_window");
  }
  if (Status status = check_share("canary_share", canary_share.value_or(0)); !status) return status;
  return check_share("min_agreement", min_agreement.value_or(0));
}

Status GetPolicyHistory::validate() const {
  if (limit >= 1 && limit <= kMaxBatch) return ok_status();
  return invalid_argument(fmt::format("limit is {}; it must be from 1 to {}", limit, kMaxBatch));
}

Status Hello::validate() const {
  if (name.empty() || instance.empty()) return invalid_argument("hello needs a name and an instance");
  if (layers > kMaxLayers)
    return invalid_argument(fmt::format("{} layers; at most {} are known", layers, kMaxLayers));
  if (Status status = check_layers(layer_info); !status) return status;
  if (Status status = check_generation(generation); !status) return status;
  for (const std::string* text : {&name, &instance, &device, &model, &model_digest, &dtype, &edition}) {
    if (Status status = check_name("a name in hello", *text); !status) return status;
  }
  if (Status status = check_reason("chain_fault", chain_fault); !status) return status;
  return check_offers(plans);
}

Status PlanTable::validate() const {
  if (Status status = check_name("edition", edition); !status) return status;
  if (Status status = check_reason("chain_fault", chain_fault); !status) return status;
  if (Status status = check_layers(layer_info); !status) return status;
  return check_offers(plans);
}

Status PlanResult::validate() const {
  if (Status status = check_layers(layer_info); !status) return status;
  for (const LayerChange& change : changes) {
    if (Status status = check_reason("a change's reason", change.reason); !status) return status;
  }
  return check_generation(generation);
}

Status Goodbye::validate() const {
  return check_reason("reason", reason);
}

Status WorkerResult::validate() const {
  if (!is_time(metrics.prefill_ms) || !is_time(metrics.decode_ms)) {
    return invalid_argument("prefill_ms and decode_ms must be finite and not negative");
  }
  if (!is_time(metrics.prefill_work_ms) || !is_time(metrics.decode_work_ms) || !is_time(metrics.batch)) {
    return invalid_argument("prefill_work_ms, decode_work_ms and batch must be finite and not negative");
  }
  if (metrics.quality && *metrics.quality < 0) return invalid_argument("quality must not be negative");
  if (Status status = check_name("edition", metrics.edition); !status) return status;
  if (!error && outputs.empty()) return invalid_argument("a result without an error needs outputs");
  return ok_status();
}

}  // namespace dslad::schema
