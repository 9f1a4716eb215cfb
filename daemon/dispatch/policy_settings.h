// Settings of the policy as clients set them and as the database keeps them. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "daemon/policy/policy.h"
#include "schema/policy_messages.h"

namespace dslad::daemon {

// What the request names; the rest stays.
void apply(const schema::SetPolicy& request, policy::Settings& settings);

// By the request's keys, as texts.
std::map<std::string, std::string> to_stored(const schema::SetPolicy& request);

// Gives what could not be understood, which is passed over.
std::vector<std::string> apply_stored(const std::map<std::string, std::string>& stored,
                                      policy::Settings& settings);

}  // namespace dslad::daemon
