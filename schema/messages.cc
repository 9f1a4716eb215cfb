// The checks that a message makes of itself once its fields are read.
#include <cmath>
#include <cstddef>
#include <fmt/format.h>

#include "schema/client_messages.h"
#include "schema/limits.h"
#include "schema/worker_messages.h"

namespace dslad::schema {
namespace {

Status check_name(std::string_view key, std::string_view value) {
  if (value.size() <= kMaxNameBytes) return ok_status();
  return invalid_argument(
      fmt::format("{} has {} bytes; at most {} are taken", key, value.size(), kMaxNameBytes));
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
  return check_name("custom_id", custom_id);
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
  return ok_status();
}

Status ListJobs::validate() const {
  if (limit >= 1 && limit <= kMaxBatch) return ok_status();
  return invalid_argument(fmt::format("limit is {}; it must be from 1 to {}", limit, kMaxBatch));
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

Status SetPlan::validate() const {
  if (plan > kMaxLayers)
    return invalid_argument(fmt::format("plan is {}; no model has so many layers", plan));
  return check_name("reason", reason);
}

Status Hello::validate() const {
  if (name.empty() || instance.empty()) return invalid_argument("hello needs a name and an instance");
  if (layers > kMaxLayers || layer_info.size() > kMaxLayers) {
    return invalid_argument(fmt::format("{} layers; at most {} are known", layers, kMaxLayers));
  }
  if (Status status = check_generation(generation); !status) return status;
  for (const std::string* text : {&name, &instance, &device, &model, &model_digest, &dtype}) {
    if (Status status = check_name("a name in hello", *text); !status) return status;
  }
  return ok_status();
}

Status PlanResult::validate() const {
  return check_generation(generation);
}

Status WorkerResult::validate() const {
  if (!is_time(metrics.prefill_ms) || !is_time(metrics.decode_ms)) {
    return invalid_argument("prefill_ms and decode_ms must be finite and not negative");
  }
  if (metrics.quality && *metrics.quality < 0) return invalid_argument("quality must not be negative");
  if (Status status = check_name("edition", metrics.edition); !status) return status;
  if (!error && outputs.empty()) return invalid_argument("a result without an error needs outputs");
  return ok_status();
}

}  // namespace dslad::schema
