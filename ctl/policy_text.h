// The policy's answers as people read them.
#pragma once

#include <string>

#include "schema/policy_messages.h"

namespace dslad::ctl {

std::string policy_text(const schema::PolicyReply& reply);
std::string explanation_text(const schema::PolicyReply& reply);  // of the plan in force
std::string verdict_text(const schema::JobVerdict& verdict);
std::string history_text(const schema::PolicyHistory& history);

}  // namespace dslad::ctl
