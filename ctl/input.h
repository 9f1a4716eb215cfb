// Texts that the user names: files, or standard input as "-". Checked here, so that an error names the file
// and the byte and nothing is submitted. Errors: kInvalidArgument.
#pragma once

#include <string>

#include "base/result.h"

namespace dslad::ctl {

// Non-empty UTF-8 of at most schema::kMaxDocumentBytes. "-" can be read once in a process's life.
Result<std::string> read_text(const std::string& file);

// kInvalidArgument with the offset of the first byte that is not UTF-8; `name` says whose bytes they are.
Status check_utf8(const std::string& name, const std::string& text);

}  // namespace dslad::ctl
