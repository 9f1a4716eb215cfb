// Reads workers' frames and calls the dispatcher. A malformed frame is counted and logged at a bounded rate;
// a hello that cannot be taken is answered with an error, so that its worker can say why it stops. Whoever
// may not work is not heard. Socket thread only.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "daemon/access/identity.h"
#include "daemon/clock.h"
#include "daemon/dispatch/dispatcher.h"
#include "daemon/outbox.h"
#include "daemon/service/limited_warning.h"
#include "schema/codec.h"

namespace dslad::daemon {

class WorkerPort {
 public:
  using IsWorker = std::function<bool(const Identity&)>;  // as of now

  WorkerPort(const Clock& clock, Outbox& outbox, Dispatcher& dispatcher, IsWorker is_worker)
      : clock_(clock), outbox_(outbox), dispatcher_(dispatcher), is_worker_(std::move(is_worker)) {}

  void on_frame(const std::string& peer, std::string frame, const Identity& from);

  [[nodiscard]] std::uint64_t malformed() const { return malformed_.count(); }

 private:
  void refuse(const std::string& peer, std::uint64_t id, const Error& error);
  Status deliver(const std::string& peer, const schema::Envelope& envelope);

  const Clock& clock_;
  Outbox& outbox_;
  Dispatcher& dispatcher_;
  IsWorker is_worker_;
  LimitedWarning malformed_;
  LimitedWarning strangers_;
};

}  // namespace dslad::daemon
