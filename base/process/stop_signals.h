// Signals that end a service as something to read: nothing runs in a handler, and none is lost or kills the
// process however early it comes.
//
// Blocks them in the calling thread and in those that it creates from then on; threads that are older must
// block them themselves. Thread safety: one reader.
#pragma once

#include <initializer_list>

#include "base/process/descriptor.h"
#include "base/result.h"

namespace dslad::process {

class StopSignals {
 public:
  // SIGTERM, SIGINT and those that are named.
  static Result<StopSignals> open(std::initializer_list<int> others = {});
  // The signal that came, 0 for none. Does not wait.
  [[nodiscard]] int take() const;
  [[nodiscard]] int fd() const { return signals_.get(); }

 private:
  explicit StopSignals(Descriptor signals) : signals_(std::move(signals)) {}
  Descriptor signals_;
};

}  // namespace dslad::process
