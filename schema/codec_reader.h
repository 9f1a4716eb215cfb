// Fills message structs from msgpack objects, strictly typed. Only codec.cc includes this; see codec.h for
// the contract. Errors name the path of the key ("jobs: [2]: options: top_p: must be a number").
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <fmt/format.h>
#include <limits>
#include <map>
#include <msgpack.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"
#include "base/utf8.h"
#include "schema/bytes.h"
#include "schema/codec_writer.h"
#include "schema/limits.h"

namespace dslad::schema::detail {

inline Error mismatch(std::string_view wanted) {
  return {ErrorCode::kInvalidArgument, fmt::format("must be {}", wanted)};
}

inline std::string_view text_of(const msgpack::object& object) {
  return {object.via.str.ptr, object.via.str.size};
}

// kInvalidArgument unless `object` is a map of distinct string keys in UTF-8.
Status check_map(const msgpack::object& object);

Status read(const msgpack::object& object, bool& out);
Status read(const msgpack::object& object, double& out);
Status read(const msgpack::object& object, std::string& out);
Status read(const msgpack::object& object, Bytes& out);
Status read(const msgpack::object& object, ErrorCode& out);
Status read(const msgpack::object& object, Error& out);
Status read(const msgpack::object& object, std::map<std::string, std::uint64_t>& out);

template <typename T>
Status read(const msgpack::object& object, T& out);

// Reads the members of one struct; keeps the first error.
class Reader {
 public:
  // REQUIRES: check_map(object) passed.
  explicit Reader(const msgpack::object& object) : map_(object.via.map) {}

  template <typename T>
  void operator()(const char* key, T& member) {
    if (!status_) return;
    const msgpack::object* object = find(key);
    if (object == nullptr || object->is_nil()) return;
    Status status = read(*object, member);
    if (!status) status_ = status.error().with_context(key);
  }

  [[nodiscard]] Status status() const { return status_; }

 private:
  [[nodiscard]] const msgpack::object* find(std::string_view key) const {
    for (std::uint32_t i = 0; i < map_.size; ++i) {
      if (text_of(map_.ptr[i].key) == key) return &map_.ptr[i].val;
    }
    return nullptr;
  }

  const msgpack::object_map& map_;
  Status status_ = ok_status();
};

template <typename T>
Status read_integer(const msgpack::object& object, T& out) {
  constexpr auto kLow = static_cast<std::int64_t>(std::numeric_limits<T>::min());
  constexpr auto kHigh = static_cast<std::uint64_t>(std::numeric_limits<T>::max());
  if (object.type == msgpack::type::POSITIVE_INTEGER && object.via.u64 <= kHigh) {
    out = static_cast<T>(object.via.u64);
    return ok_status();
  }
  if (object.type == msgpack::type::NEGATIVE_INTEGER && object.via.i64 >= kLow) {
    out = static_cast<T>(object.via.i64);
    return ok_status();
  }
  return mismatch(fmt::format("an integer from {} to {}", kLow, kHigh));
}

template <typename T>
Status read_array(const msgpack::object& object, std::vector<T>& out) {
  if (object.type != msgpack::type::ARRAY) return mismatch("an array");
  out.clear();
  out.reserve(object.via.array.size);
  for (std::uint32_t i = 0; i < object.via.array.size; ++i) {
    T element{};
    Status status = read(object.via.array.ptr[i], element);
    if (!status) return status.error().with_context(fmt::format("[{}]", i));
    out.push_back(std::move(element));
  }
  return ok_status();
}

template <typename T>
Status read_struct(const msgpack::object& object, T& out) {
  if (Status status = check_map(object); !status) return status;
  Reader reader(object);
  T::fields(out, reader);
  return reader.status();
}

template <typename T>
Status read(const msgpack::object& object, T& out) {
  if constexpr (std::is_integral_v<T>) {
    return read_integer(object, out);
  } else if constexpr (std::is_enum_v<T>) {
    std::string word;
    if (Status status = read(object, word); !status) return status;
    if (parse_word(word, out)) return ok_status();
    return mismatch(fmt::format("a known word, not '{}'", utf8_prefix(word, kMaxShownBytes)));
  } else if constexpr (is_optional<T>) {
    return read(object, out.emplace());
  } else if constexpr (is_vector<T>) {
    return read_array(object, out);
  } else {
    return read_struct(object, out);
  }
}

}  // namespace dslad::schema::detail
