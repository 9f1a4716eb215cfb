// The daemon's events as they come. Lossy by the protocol's design. Wraps ZeroMQ. Not thread-safe.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "schema/event.h"
#include "schema/keys/client_keys.h"

namespace dslad::ctl {

class Subscription {
 public:
  // To all topics. Errors: kInvalidArgument for a URL that is none, or tcp without keys.
  static Result<Subscription> open(const std::string& url, const keys::KeyFiles& files);

  Subscription(Subscription&&) noexcept;
  ~Subscription();

  // The next event; nothing where none came for `patience` or a signal arrived. Errors: kInternal for what is
  // no event.
  Result<std::optional<schema::Event>> next(std::chrono::milliseconds patience);

 private:
  struct Socket;
  explicit Subscription(std::unique_ptr<Socket> socket);
  std::unique_ptr<Socket> socket_;
};

}  // namespace dslad::ctl
