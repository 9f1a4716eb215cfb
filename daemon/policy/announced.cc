#include "daemon/policy/announced.h"

#include <fmt/format.h>

namespace dslad::daemon::policy {
namespace {

constexpr std::size_t kKeptOfDigest = 12;  // characters

template <typename Announced>
std::string key_of(const Announced& worker) {
  return fmt::format("{} {} {} {} {}", worker.model, worker.model_digest.substr(0, kKeptOfDigest),
                     worker.dtype, worker.device, host_of(worker.name));
}

template <typename Announced>
WorkerFacts facts_from(const Announced& worker) {
  WorkerFacts facts{worker.instance,
                    key_of(worker),
                    worker.model,
                    worker.model_digest,
                    worker.layers,
                    worker.context,
                    worker.cache_bytes,
                    {},
                    0};
  for (const schema::PlanOffer& offer : worker.plans)
    facts.plans.push_back({offer.plan, offer.quality, offer.kv_bytes_per_token, offer.state_bytes});
  return facts;
}

}  // namespace

std::string host_of(const std::string& worker_name) {
  return worker_name.substr(0, worker_name.find(':'));
}

std::string device_of(const std::string& worker_name) {
  const std::size_t pid = worker_name.find(':');
  const std::size_t device = pid == std::string::npos ? pid : worker_name.find(':', pid + 1);
  return device == std::string::npos ? "" : worker_name.substr(device + 1);
}

std::string speed_key(const schema::Hello& hello) {
  return key_of(hello);
}

std::string speed_key(const schema::WorkerInfo& info) {
  return key_of(info);
}

WorkerFacts facts_of(const schema::Hello& hello) {
  return facts_from(hello);
}

WorkerFacts facts_of(const schema::WorkerInfo& info) {
  return facts_from(info);
}

}  // namespace dslad::daemon::policy
