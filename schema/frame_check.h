// Walks a frame once without allocating per value and rejects what would be unsafe to unpack: too deep, too
// long, too many values, binary or extension types, text that is not UTF-8. Only codec.cc uses it.
#pragma once

#include <string_view>

#include "schema/result.h"

namespace dslad::schema::detail {

// Errors: kResourceExhausted above a bound of limits.h, kInvalidArgument for malformed bytes.
Status check_frame(std::string_view frame);

}  // namespace dslad::schema::detail
