// What the database knows of models and their layers, and the durable record of each change. Runs inside the
// caller's transaction.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/store/sqlite.h"
#include "schema/client_messages.h"
#include "schema/worker_messages.h"

namespace dslad::daemon {

// A plan set by hand: workers of this model that join later are brought to it.
struct WantedPlan {
  std::uint32_t plan = 0;
  bool allow_undistilled = false;
  std::uint64_t generation = 0;  // higher with each plan that is set, also over restarts
};

// What reruns have shown of the plans of a worker's chain.
struct Judged {
  std::optional<std::uint32_t> withdrawn = {};  // plans from it on are given to no job; absent: none
  std::string why = {};
};

// Records what a worker says of its model and of itself. A layer whose state differs from what this worker
// was known to have is a change of its own; its reason is that the worker announced it, and where the layer
// has failed `fault`, if it is known. The layer that a withdrawn plan ends with has failed, whatever the
// worker says of it, unless it runs there; without `judged` nobody knows yet, and one that has failed stays
// so. Gives the plan that was set for this model, if one was.
Result<std::optional<WantedPlan>> announce_model(Database& db, const schema::Hello& hello,
                                                 std::int64_t now_ms, const std::string& fault = "",
                                                 const std::optional<Judged>& judged = Judged{});

// One worker's confirmed change of plan.
struct PlanChange {
  std::string worker;
  std::string instance;
  std::string model_digest;
  schema::PlanResult result;  // without an error
  std::optional<WantedPlan> wanted;
  std::string reason;
  std::optional<Judged> judged = Judged{};  // as above
};
// What is wanted is kept unless a newer generation is already.
Status save_plan(Database& db, const PlanChange& change, std::int64_t now_ms);

// Workers that are gone: their plans are no longer in force.
Status worker_gone(Database& db, const std::string& instance, std::int64_t now_ms);
Status all_workers_gone(Database& db);

// The highest generation of a wanted plan; 0 where none was ever set.
Result<std::uint64_t> last_generation(Database& db);

Result<std::vector<schema::ModelLayers>> read_layers(Database& db);

}  // namespace dslad::daemon
