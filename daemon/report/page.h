// A database's report as one HTML page: no scripts and nothing from elsewhere, light or dark as the reader's
// system is, light on paper. It is well-formed XML too. Pure; safe from any thread.
#pragma once

#include <string>

#include "daemon/report/facts.h"

namespace dslad::daemon::report {

std::string to_page(const Facts& facts);

}  // namespace dslad::daemon::report
