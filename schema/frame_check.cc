#include "schema/frame_check.h"

#include <cstddef>
#include <cstdint>
#include <fmt/format.h>
#include <msgpack.hpp>

#include "schema/limits.h"

namespace dslad::schema::detail {
namespace {

// A visitor of msgpack's parser; a member that returns false stops the walk.
class Walk : public msgpack::null_visitor {
 public:
  bool start_array(std::uint32_t elements) { return open(elements, kMaxArray, elements); }
  bool start_map(std::uint32_t pairs) { return open(pairs, kMaxKeys, std::uint64_t{pairs} * 2); }
  bool end_array() { return close(); }
  bool end_map() { return close(); }
  void parse_error(std::size_t, std::size_t at) { fail_at("is malformed", at); }
  void insufficient_bytes(std::size_t, std::size_t at) { fail_at("ends too early", at); }

  [[nodiscard]] const Status& status() const { return status_; }

 private:
  bool open(std::uint64_t length, std::size_t limit, std::uint64_t values) {
    nodes_ += values;
    if (length > limit) return fail(ErrorCode::kResourceExhausted, "an array or map is too long");
    if (nodes_ > kMaxNodes) return fail(ErrorCode::kResourceExhausted, "the frame has too many values");
    if (++depth_ > kMaxDepth)
      return fail(ErrorCode::kResourceExhausted, "arrays and maps are nested too deep");
    return true;
  }
  bool close() {
    --depth_;
    return true;
  }
  void fail_at(std::string_view what, std::size_t at) {
    fail(ErrorCode::kInvalidArgument, fmt::format("the frame {} at byte {}", what, at));
  }
  bool fail(ErrorCode code, std::string message) {
    if (status_) status_ = Error{code, std::move(message)};
    return false;
  }

  std::uint64_t nodes_ = 0;
  std::size_t depth_ = 0;
  Status status_ = ok_status();
};

}  // namespace

Status check_frame(std::string_view frame) {
  Walk walk;
  std::size_t offset = 0;
  bool whole = false;
  try {
    whole = msgpack::parse(frame.data(), frame.size(), offset, walk);
  } catch (const std::exception& e) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("the frame is malformed: {}", e.what())};
  }
  if (!walk.status()) return walk.status();
  if (whole && offset == frame.size()) return ok_status();
  return Error{ErrorCode::kInvalidArgument, "the frame is not one msgpack value"};
}

}  // namespace dslad::schema::detail
