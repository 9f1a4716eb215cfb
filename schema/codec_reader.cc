#include "schema/codec_reader.h"

namespace dslad::schema::detail {

Status check_map(const msgpack::object& object) {
  if (object.type != msgpack::type::MAP) return mismatch("a map");
  const msgpack::object_map& map = object.via.map;
  for (std::uint32_t i = 0; i < map.size; ++i) {
    if (map.ptr[i].key.type != msgpack::type::STR) return mismatch("a map with strings for keys");
    const std::string_view key = text_of(map.ptr[i].key);
    if (!valid_utf8(key)) return mismatch("a map with keys in UTF-8");
    for (std::uint32_t k = 0; k < i; ++k) {
      if (text_of(map.ptr[k].key) == key) {
        return mismatch(fmt::format("a map that has '{}' once", utf8_prefix(key, kMaxShownBytes)));
      }
    }
  }
  return ok_status();
}

Status read(const msgpack::object& object, bool& out) {
  if (object.type != msgpack::type::BOOLEAN) return mismatch("true or false");
  out = object.via.boolean;
  return ok_status();
}

Status read(const msgpack::object& object, double& out) {
  switch (object.type) {
    case msgpack::type::FLOAT32:
    case msgpack::type::FLOAT64:
      out = object.via.f64;
      break;
    case msgpack::type::POSITIVE_INTEGER:
      out = static_cast<double>(object.via.u64);
      break;
    case msgpack::type::NEGATIVE_INTEGER:
      out = static_cast<double>(object.via.i64);
      break;
    default:
      return mismatch("a number");
  }
  if (!std::isfinite(out)) return mismatch("a finite number");
  return ok_status();
}

Status read(const msgpack::object& object, std::string& out) {
  if (object.type != msgpack::type::STR) return mismatch("a string");
  if (!valid_utf8(text_of(object))) return mismatch("text in UTF-8");
  out.assign(object.via.str.ptr, object.via.str.size);
  return ok_status();
}

Status read(const msgpack::object& object, Bytes& out) {
  if (object.type != msgpack::type::BIN) return mismatch("binary");
  out.data.assign(object.via.bin.ptr, object.via.bin.size);
  return ok_status();
}

Status read(const msgpack::object& object, ErrorCode& out) {
  std::uint8_t code = 0;
  if (Status status = read_integer(object, code); !status) return status;
  const bool known = code >= static_cast<std::uint8_t>(ErrorCode::kInvalidArgument) &&
                     code <= static_cast<std::uint8_t>(ErrorCode::kInternal);
  out = known ? static_cast<ErrorCode>(code) : ErrorCode::kInternal;  // a newer peer may know more codes
  return ok_status();
}

Status read(const msgpack::object& object, Error& out) {
  if (Status status = check_map(object); !status) return status;
  Reader reader(object);
  reader("code", out.code);
  reader("message", out.message);
  out.message.resize(utf8_prefix(out.message, kMaxErrorBytes).size());
  return reader.status();
}

Status read(const msgpack::object& object, std::map<std::string, std::uint64_t>& out) {
  if (Status status = check_map(object); !status) return status;
  out.clear();
  for (std::uint32_t i = 0; i < object.via.map.size; ++i) {
    const std::string key(text_of(object.via.map.ptr[i].key));
    Status status = read_integer(object.via.map.ptr[i].val, out[key]);
    if (!status) return status.error().with_context(key);
  }
  return ok_status();
}

}  // namespace dslad::schema::detail
