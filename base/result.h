// Result<T>: a value or an Error. The one way fallible functions of dslad report failure.
//
// Thread safety: plain values. Invariant: holds exactly one of the two. `value()` on an error and
// `error()` on a value are bugs of the caller and terminate the process.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace dslad {

// A short closed list; the number is also the wire code of an error reply (docs/protocol.md).
enum class ErrorCode : std::uint8_t {
  kInvalidArgument = 1,    // the request or input is malformed; sending it again cannot help
  kNotFound = 2,           // the named job, file, layer or plan does not exist
  kRefused = 3,            // understood, but policy or state forbids it
  kResourceExhausted = 4,  // a bound was hit: size, memory, queue; may succeed later or when smaller
  kUnavailable = 5,        // a peer, disk or device cannot be reached now; retrying is sane
  kCorrupt = 6,            // stored data fails its checks
  kInternal = 7,           // a bug or an unexpected failure of a library
};

// "invalid_argument", "not_found", ... as printed by the tools and stored in the database.
std::string_view to_string(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;  // names the file or value and the remedy

  // The same error with `where` and ": " put before the message.
  [[nodiscard]] Error with_context(std::string_view where) const;
};

inline Error invalid_argument(std::string message) {
  return {ErrorCode::kInvalidArgument, std::move(message)};
}

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // REQUIRES: ok()
  [[nodiscard]] T& value() & { return std::get<0>(state_); }
  [[nodiscard]] const T& value() const& { return std::get<0>(state_); }
  [[nodiscard]] T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // REQUIRES: !ok()
  [[nodiscard]] const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

// A Result without a value. `return Status{};` is success.
using Status = Result<std::monostate>;
inline Status ok_status() {
  return std::monostate{};
}

}  // namespace dslad
