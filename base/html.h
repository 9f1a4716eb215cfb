// Text for HTML that is well-formed XML too. Pure; safe from any thread.
#pragma once

#include <string>
#include <string_view>

namespace dslad {

// The five special characters escaped; control characters that XML cannot hold become U+FFFD.
std::string escape_html(std::string_view text);

}  // namespace dslad
