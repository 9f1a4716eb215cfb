// Whether bytes are well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF).
// Every text on the wire and in the database is. Pure; safe from any thread.
#pragma once

#include <string_view>

namespace dslad::schema {

bool valid_utf8(std::string_view bytes);

}  // namespace dslad::schema
