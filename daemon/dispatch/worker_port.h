// Reads workers' frames and calls the dispatcher. A malformed frame is counted and logged at a bounded rate;
// a hello that cannot be taken is answered with an error, so that its worker can say why it stops. Socket
// thread only.
#pragma once

#include <string>

#include "daemon/clock.h"
#include "daemon/dispatch/dispatcher.h"
#include "daemon/outbox.h"
#include "daemon/service/limited_warning.h"
#include "schema/codec.h"

namespace dslad::daemon {

class WorkerPort {
 public:
  WorkerPort(const Clock& clock, Outbox& outbox, Dispatcher& dispatcher)
      : clock_(clock), outbox_(outbox), dispatcher_(dispatcher) {}

  void on_frame(const std::string& peer, std::string frame);

  [[nodiscard]] std::uint64_t malformed() const { return malformed_.count(); }

 private:
  Status deliver(const std::string& peer, const schema::Envelope& envelope);

  const Clock& clock_;
  Outbox& outbox_;
  Dispatcher& dispatcher_;
  LimitedWarning malformed_;
};

}  // namespace dslad::daemon
