// The one error that every tokenizer gives for bytes that are no text. Pure; safe from any thread.
#pragma once

#include <string_view>

#include "base/result.h"

namespace dslad::worker {

// Errors: kInvalidArgument naming the offset and value of the first byte that is not UTF-8.
Status check_utf8(std::string_view text);

}  // namespace dslad::worker
