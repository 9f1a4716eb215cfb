// The policy's answers as people read them.
#pragma once

#include <string>

#include "schema/policy_messages.h"

namespace dslad::ctl {

std::string policy_text(const schema::PolicyReply& reply);
std::string explanation_text(const schema::PolicyReply& reply);  // of the plan in force
// " of tiny" where there are several models, and which of them where two have one name.
std::string of_model(const schema::PolicyReply& reply, const schema::PolicyLevel& level);
std::string verdict_text(const schema::JobVerdict& verdict);
std::string history_text(const schema::PolicyHistory& history);

}  // namespace dslad::ctl
