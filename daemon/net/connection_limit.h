// How many connections the process takes. libzmq aborts when a connection that it accepts finds no free file
// descriptor, so the surplus is turned away before that: a peer that is refused tries again by itself.
//
// The limit lies in accept4, which this file defines for the whole program and libzmq calls: the kernel gives
// the lowest free number, so a new descriptor's number tells how many are in use.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dslad::daemon {

// Raises the soft limit of open files to the hard one. Connections of `favoured_urls` (the workers') may use
// descriptors that others leave free; database, logs and libzmq itself keep some in any case. Call it before
// any socket is bound. Gives the number of descriptors that connections may use.
int limit_connections(int most, const std::vector<std::string>& favoured_urls);

// Turned away so far.
std::uint64_t connections_refused();

}  // namespace dslad::daemon
