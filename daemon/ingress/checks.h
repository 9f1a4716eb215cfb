// The check of the database that a client asked for, on a thread of its own. One at a time; it ends when its
// client departs. Socket thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "daemon/clock.h"
#include "daemon/store/integrity.h"
#include "daemon/store/long_errand.h"
#include "schema/care_messages.h"

namespace dslad::daemon {

class Checks {
 public:
  Checks(const Clock& clock, LongErrand& checking) : clock_(clock), checking_(checking) {}

  Result<schema::IntegrityReply> begin(const std::string& peer, bool quick);
  Result<schema::IntegrityReply> show(std::uint64_t check);

  void on_departed(const std::string& peer);
  void tick() { checking_.finish_ready(); }

 private:
  struct Current {
    std::string peer;
    schema::IntegrityReply reply;
    std::optional<Error> failed;  // it could not be done
  };

  const Clock& clock_;
  LongErrand& checking_;
  std::optional<Current> current_;  // the latest, until its client has departed
  std::uint64_t last_number_ = 0;
};

}  // namespace dslad::daemon
