#include "worker/text/text_check.h"

#include <fmt/format.h>

#include "base/utf8.h"

namespace dslad::worker {

Status check_utf8(std::string_view text) {
  const std::size_t at = find_malformed_utf8(text);
  if (at == std::string_view::npos) return ok_status();
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("the text is not UTF-8: byte 0x{:02X} at offset {}; convert it to UTF-8 first",
                           static_cast<unsigned char>(text[at]), at)};
}

}  // namespace dslad::worker
