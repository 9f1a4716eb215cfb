// Binding a socket to a URL with errors that say what to do. Only daemon/net uses it.
#pragma once

#include <string>

#include "base/result.h"

namespace zmq {
class socket_t;
}

namespace dslad::daemon {

// For ipc: makes the folder, refuses a path on which another process listens, replaces a stale socket file.
// The file's mode follows the umask. `listener`: a descriptor that listens at the URL already, whose file
// stays as it is and where it is; -1: none.
Status bind_socket(zmq::socket_t& socket, const std::string& url, int listener = -1);

}  // namespace dslad::daemon
