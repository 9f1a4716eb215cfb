#include "daemon/net/doors.h"

#include <numeric>
#include <utility>

#include "schema/endpoint.h"

namespace dslad::daemon {
namespace {

constexpr char kFirst = 'a';
static_assert(schema::kMostUrls <= 26, "a door's number is one letter in peers' names");

std::string with_door(std::size_t door, const std::string& peer) {
  return static_cast<char>(kFirst + static_cast<char>(door)) + peer;
}

std::string without_door(const std::string& peer) {
  return peer.substr(1);
}

}  // namespace

Result<std::unique_ptr<Doors>> Doors::bind(zmq::context_t& context, const std::string& urls,
                                           const RouterLimits& limits, const std::function<void()>& on_sent,
                                           const ServerCurve& curve, PassedSockets& passed) {
  const std::vector<std::string> each = schema::split_urls(urls);
  if (each.empty() || each.size() > schema::kMostUrls) {
    return Error{ErrorCode::kInvalidArgument,
                 "'" + urls + "' names no URL or too many; give one to sixteen, separated by commas"};
  }
  std::vector<std::unique_ptr<Router>> doors;
  for (const std::string& url : each) {
    auto door = Router::bind(context, url, limits, on_sent, curve, passed.claim(url));
    if (!door) return door.error();
    doors.push_back(std::move(door).value());
  }
  return std::unique_ptr<Doors>(new Doors(std::move(doors)));
}

std::optional<Received> Doors::receive() {
  for (std::size_t tried = 0; tried < doors_.size(); ++tried) {
    const std::size_t door = next_++ % doors_.size();
    std::optional<Received> received = doors_[door]->receive();
    if (!received) continue;
    received->peer = with_door(door, received->peer);
    return received;
  }
  return std::nullopt;
}

bool Doors::send(const std::string& peer, std::string frame) {
  return door_of(peer).send(without_door(peer), std::move(frame));
}

bool Doors::gone(const std::string& peer) const {
  return door_of(peer).gone(without_door(peer));
}

std::size_t Doors::unsent(const std::string& peer) const {
  return door_of(peer).unsent(without_door(peer));
}

std::size_t Doors::unsent() const {
  return std::accumulate(doors_.begin(), doors_.end(), std::size_t{0},
                         [](std::size_t sum, const auto& door) { return sum + door->unsent(); });
}

void Doors::drop_who_does_not_read(std::chrono::steady_clock::time_point since) {
  for (const auto& door : doors_) door->drop_who_does_not_read(since);
}

std::vector<std::string> Doors::take_departed() {
  std::vector<std::string> departed;
  for (std::size_t door = 0; door < doors_.size(); ++door) {
    for (const std::string& peer : doors_[door]->take_departed()) departed.push_back(with_door(door, peer));
  }
  return departed;
}

std::vector<void*> Doors::handles() {
  std::vector<void*> handles;
  for (const auto& door : doors_) handles.push_back(door->handle());
  return handles;
}

// REQUIRES: the name came from receive().
Router& Doors::door_of(const std::string& peer) const {
  return *doors_[static_cast<std::size_t>(peer.front() - kFirst)];
}

}  // namespace dslad::daemon
