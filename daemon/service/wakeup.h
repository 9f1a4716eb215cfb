// A descriptor that other threads ring to end the loop's poll. ring() is safe from any thread, the rest
// belongs to the socket thread.
#pragma once

#include <utility>

#include "base/process/descriptor.h"
#include "base/result.h"

namespace dslad::daemon {

class Wakeup {
 public:
  static Result<Wakeup> open();
  void ring() const { ring(fd()); }
  static void ring(int fd);  // of one that is open
  void clear() const;
  [[nodiscard]] int fd() const { return event_.get(); }

 private:
  explicit Wakeup(process::Descriptor event) : event_(std::move(event)) {}
  process::Descriptor event_;
};

}  // namespace dslad::daemon
