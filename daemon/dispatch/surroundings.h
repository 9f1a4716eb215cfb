// What every part of the dispatcher finds around it: the time, the store, the workers and their table, and
// who listens. No other part is in here, so that a part's constructor says on which it depends. All of it
// outlives the parts. Socket thread only.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/clock.h"
#include "daemon/dispatch/durable.h"
#include "daemon/dispatch/worker_table.h"
#include "daemon/outbox.h"
#include "daemon/service/feed.h"
#include "daemon/store/executor.h"
#include "schema/codec.h"

namespace dslad::daemon {

struct Surroundings {
  const Clock& clock;
  Executor& store;
  Durable& durable;
  WorkerTable& table;
  Outbox& workers;
  Feed& feed;

  // False where the peer cannot be reached.
  template <typename Message>
  bool send(const std::string& peer, const Message& message, std::uint64_t id = 0) const {
    return workers.send(peer, schema::encode(message, id));
  }
};

}  // namespace dslad::daemon
