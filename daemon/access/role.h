// What whom of the daemon's peers may do. docs/security.md has the table of requests and roles; rights_of()
// is that table. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dslad::daemon {

enum class Role : std::uint8_t {
  kNone,    // nothing
  kSubmit,  // submit jobs, and do with them what it likes; sees no others
  kRead,    // sees all jobs and changes nothing
  kAdmin,   // everything
};

std::string_view to_string(Role role);

// A client: as whom it owns jobs, and what it may do.
struct Principal {
  std::string owner;  // "uid:1000", "key:alice"
  Role role = Role::kNone;
};

enum class Rights : std::uint8_t {
  kNone,
  kOwn,  // with its own jobs; those of others do not exist for it
  kAll,
};

// What a role may do with a request of this kind; kNone for a kind that does not exist.
Rights rights_of(Role role, std::string_view request);

}  // namespace dslad::daemon
