// The report's tables. Pure; safe from any thread.
#pragma once

#include <string>
#include <vector>

#include "daemon/report/facts.h"

namespace dslad::daemon::report {

std::string count_text(std::uint64_t count);  // "1,234"

// `what` names the groups in the header. Nothing where there are none.
std::string groups_table(const char* what, const std::vector<Group>& groups);
std::string failures_table(const std::vector<Failure>& failures);
std::string conversions_table(const std::vector<Conversion>& conversions);
std::string policy_table(const std::vector<PolicyEvent>& events);

// A strip of squares and a table a model.
std::string layers_section(const std::vector<Layer>& layers);

}  // namespace dslad::daemon::report
