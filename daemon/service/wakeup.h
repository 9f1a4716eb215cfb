// Descriptors that end the loop's poll: one that other threads ring, one that signals ring. Wakeup::ring is
// safe from any thread, the rest belongs to the socket thread.
#pragma once

#include <utility>

#include "schema/result.h"

namespace dslad::daemon {

// A file descriptor that is closed at the end.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

class Wakeup {
 public:
  static Result<Wakeup> open();
  void ring() const;
  void clear() const;
  [[nodiscard]] int fd() const { return event_.get(); }

 private:
  explicit Wakeup(Descriptor event) : event_(std::move(event)) {}
  Descriptor event_;
};

// SIGTERM and SIGINT as something to read. They are blocked for the process from here on.
class StopSignals {
 public:
  static Result<StopSignals> open();
  // The signal that came, 0 for none.
  [[nodiscard]] int take() const;
  [[nodiscard]] int fd() const { return signals_.get(); }

 private:
  explicit StopSignals(Descriptor signals) : signals_(std::move(signals)) {}
  Descriptor signals_;
};

}  // namespace dslad::daemon
