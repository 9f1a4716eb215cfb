// Files of keys: who has the secret one is known by the public one. One key a file, made by `dslactl keygen`.
// The format is in docs/formats.md:
//
//     # a comment
//     dslad-secret-key 1                  or: dslad-public-key 1
//     public  40 characters of Z85
//     secret  40 characters of Z85        of a secret key's file alone
//
// Errors name file, line and remedy, and never a secret. Plain values; safe from any thread.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"

namespace dslad::keys {

// CURVE keys as ZeroMQ spells them: Z85, 40 characters.
struct KeyPair {
  std::string public_key;
  std::string secret_key;
};

KeyPair make_key_pair();

// The name of the public key's file beside a secret key's: FILE.pub.
std::filesystem::path public_file_of(const std::filesystem::path& secret_file);

// Writes `file` for its owner alone, and FILE.pub for all. Neither is ever overwritten. Errors: kRefused
// where one of them is there already, kUnavailable where they cannot be written.
Status write_key_pair(const std::filesystem::path& file, const KeyPair& pair);

// kNotFound where there is no such file; kRefused where others than its owner may read it (in systemd's
// folder of credentials, $CREDENTIALS_DIRECTORY, others than its group: the owner's rights there are an
// ACL's); kCorrupt for what is no secret key.
Result<KeyPair> read_key_pair(const std::filesystem::path& file);

// kNotFound where there is no such file, kCorrupt for what is no public key, a secret one above all.
Result<std::string> read_public_key(const std::filesystem::path& file);

}  // namespace dslad::keys
