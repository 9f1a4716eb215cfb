#include "schema/keys/client_keys.h"

#include <cstdlib>
#include <fmt/format.h>
#include <string_view>
#include <zmq.h>

namespace dslad::keys {
namespace {

std::string file_or_default(const std::string& file, std::string_view name) {
  if (!file.empty()) return file;
  const char* home = std::getenv("HOME");
  return fmt::format("{}/.config/dslad/{}", home == nullptr ? "" : home, name);
}

Error missing(const Error& error, const std::string& url, std::string_view remedy) {
  if (error.code != ErrorCode::kNotFound) return {ErrorCode::kInvalidArgument, error.message};
  return {ErrorCode::kInvalidArgument,
          fmt::format("{} is reached with keys only: {}; {}", url, error.message, remedy)};
}

}  // namespace

Result<std::optional<ClientKeys>> keys_for(const std::string& url, const KeyFiles& files) {
  if (!url.starts_with("tcp://")) return std::optional<ClientKeys>();
  ClientKeys keys;
  keys.files = {file_or_default(files.server, "server.pub"), file_or_default(files.own, "key")};
  Result<KeyPair> own = read_key_pair(keys.files.own);
  if (!own) {
    return missing(
        own.error(), url,
        fmt::format("make a key with dslactl keygen {}, have the daemon's operator authorise {}.pub, or "
                    "name another with --key FILE or {}",
                    keys.files.own, keys.files.own, kOwnKeyVariable));
  }
  Result<std::string> server = read_public_key(keys.files.server);
  if (!server) {
    return missing(
        server.error(), url,
        fmt::format("ask the daemon's operator for its public key, and name it with --server-key FILE "
                    "or {}",
                    kServerKeyVariable));
  }
  keys.own = std::move(own).value();
  keys.server = std::move(server).value();
  return std::optional(std::move(keys));
}

void use_keys(void* socket, const ClientKeys& keys) {
  const auto set = [socket](int option, const std::string& key) {
    zmq_setsockopt(socket, option, key.c_str(), key.size());
  };
  set(ZMQ_CURVE_SERVERKEY, keys.server);
  set(ZMQ_CURVE_PUBLICKEY, keys.own.public_key);
  set(ZMQ_CURVE_SECRETKEY, keys.own.secret_key);
}

}  // namespace dslad::keys
