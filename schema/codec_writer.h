// Packs message structs as msgpack maps. Only codec.cc includes this; see codec.h for the contract.
#pragma once

#include <cstdint>
#include <map>
#include <msgpack.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "base/result.h"
#include "base/utf8.h"
#include "schema/bytes.h"
#include "schema/limits.h"

namespace dslad::schema::detail {

template <typename T>
inline constexpr bool is_optional = false;
template <typename T>
inline constexpr bool is_optional<std::optional<T>> = true;

template <typename T>
inline constexpr bool is_vector = false;
template <typename T>
inline constexpr bool is_vector<std::vector<T>> = true;

// The members that a map of the struct will have.
class FieldCounter {
 public:
  template <typename T>
  void operator()(const char*, const T& member) {
    if constexpr (is_optional<T>) {
      count_ += member.has_value() ? 1 : 0;
    } else {
      ++count_;
    }
  }
  [[nodiscard]] std::uint32_t count() const { return count_; }

 private:
  std::uint32_t count_ = 0;
};

class Writer {
 public:
  explicit Writer(msgpack::sbuffer& buffer) : packer_(buffer) {}

  void map_header(std::uint32_t pairs) { packer_.pack_map(pairs); }

  // One member of the struct that is being written.
  template <typename T>
  void operator()(const char* key, const T& member) {
    if constexpr (is_optional<T>) {
      if (member.has_value()) (*this)(key, *member);
    } else {
      packer_.pack(key);
      value(member);
    }
  }

  void value(const std::string& text) { packer_.pack(text); }

  void value(const Bytes& bytes) {
    packer_.pack_bin(static_cast<std::uint32_t>(bytes.data.size()));
    packer_.pack_bin_body(bytes.data.data(), static_cast<std::uint32_t>(bytes.data.size()));
  }

  void value(const Error& error) {
    map_header(2);
    (*this)("code", error.code);
    (*this)("message", std::string(utf8_prefix(error.message, kMaxErrorBytes)));
  }

  void value(ErrorCode code) { packer_.pack(static_cast<std::uint8_t>(code)); }

  void value(const std::map<std::string, std::uint64_t>& counts) { packer_.pack(counts); }

  template <typename T>
  void value(const T& member) {
    if constexpr (std::is_arithmetic_v<T>) {
      packer_.pack(member);
    } else if constexpr (std::is_enum_v<T>) {
      packer_.pack(std::string(to_string(member)));
    } else if constexpr (is_vector<T>) {
      packer_.pack_array(static_cast<std::uint32_t>(member.size()));
      for (const typename T::value_type& element : member) value(element);
    } else {
      FieldCounter counter;
      T::fields(member, counter);
      map_header(counter.count());
      T::fields(member, *this);
    }
  }

 private:
  msgpack::packer<msgpack::sbuffer> packer_;
};

}  // namespace dslad::schema::detail
