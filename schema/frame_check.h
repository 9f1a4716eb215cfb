// Walks a frame once without allocating per value and rejects what would be unsafe to unpack: malformed, too
// deep, too long, too many values. What the values are is the reader's business. Only codec.cc uses it.
#pragma once

#include <string_view>

#include "base/result.h"

namespace dslad::schema::detail {

// Errors: kResourceExhausted above a bound of limits.h, kInvalidArgument for malformed bytes.
Status check_frame(std::string_view frame);

}  // namespace dslad::schema::detail
