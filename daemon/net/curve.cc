#include "daemon/net/curve.h"

#include <fmt/format.h>
#include <zmq.hpp>

#include "base/process/local_socket.h"

namespace dslad::daemon {

namespace {
constexpr int kEnforceDomain = 93;    // ZMQ_ZAP_ENFORCE_DOMAIN, which zmq.h counts among its drafts
constexpr int kHandshakeMs = 10'000;  // a stranger holds a connection no longer
}  // namespace

bool needs_keys(const std::string& url) {
  return !url.starts_with(process::kIpcScheme);
}

Status secure(zmq::socket_t& socket, const std::string& url, const ServerCurve& curve) {
  if (!needs_keys(url)) return ok_status();
  if (curve.secret_key.empty())
    return Error{ErrorCode::kRefused, fmt::format("cannot listen on {} without a secret key", url)};
  socket.set(zmq::sockopt::curve_server, true);
  socket.set(zmq::sockopt::curve_secretkey, curve.secret_key);
  socket.set(zmq::sockopt::zap_domain, curve.domain);
  const int enforce = 1;  // without an answer of ZAP's nobody connects
  if (zmq_setsockopt(socket.handle(), kEnforceDomain, &enforce, sizeof(enforce)) != 0) throw zmq::error_t();
  socket.set(zmq::sockopt::handshake_ivl, kHandshakeMs);
  return ok_status();
}

}  // namespace dslad::daemon
