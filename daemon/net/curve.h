// A socket on tcp as it must be: encrypted by CURVE with the daemon's key, and open to those alone whom ZAP
// lets in (zap.h). Called before the socket is bound. Only daemon/net and the publisher use it.
#pragma once

#include <string>

#include "base/result.h"

namespace zmq {
class socket_t;
}

namespace dslad::daemon {

struct ServerCurve {
  std::string secret_key;  // Z85; empty: the daemon has none, and serves local sockets only
  std::string domain;      // ZAP's: which keys are asked for
};

bool needs_keys(const std::string& url);

// Local sockets stay as they are. Throws zmq::error_t. Errors: kRefused where a key is needed and there is
// none.
Status secure(zmq::socket_t& socket, const std::string& url, const ServerCurve& curve);

}  // namespace dslad::daemon
