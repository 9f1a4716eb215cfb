// How the handshakes of a connecting socket went. ZeroMQ tells the socket's user nothing: without this a key
// that is refused looks like a daemon that is away. To be used by the socket's thread.
#pragma once

#include <cstdint>

namespace dslad::keys {

enum class Handshake : std::uint8_t {
  kNone,     // not yet
  kDone,     // each side knows the other
  kRefused,  // the daemon does not serve this key; ZeroMQ tries no further
  kFailed,   // who answers is not the owner of the server's key, or speaks without keys
};

class Handshakes {
 public:
  // Watches a socket, which outlives this. Without memory or descriptors it sees nothing.
  Handshakes(void* context, void* socket);
  ~Handshakes();
  Handshakes(const Handshakes&) = delete;
  Handshakes& operator=(const Handshakes&) = delete;

  // How the latest went.
  Handshake latest();

  [[nodiscard]] void* handle() const { return monitor_; }  // for zmq_poll; null where it sees nothing

 private:
  void* socket_;
  void* monitor_ = nullptr;
  Handshake latest_ = Handshake::kNone;
};

}  // namespace dslad::keys
