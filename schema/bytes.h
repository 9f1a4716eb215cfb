// Bytes that are no text: msgpack `bin` on the wire, where a std::string is UTF-8.
#pragma once

#include <string>

namespace dslad::schema {

struct Bytes {
  std::string data;
  bool operator==(const Bytes&) const = default;
};

}  // namespace dslad::schema
