#include "schema/keys/key_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <map>
#include <string_view>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <zmq.h>

#include "base/process/descriptor.h"

namespace dslad::keys {
namespace {

namespace fs = std::filesystem;
using process::Descriptor;

constexpr std::size_t kKeyChars = 40;
constexpr std::size_t kMaxFileBytes = 64 << 10;
constexpr std::string_view kSecretForm = "dslad-secret-key";
constexpr std::string_view kPublicForm = "dslad-public-key";
constexpr std::string_view kVersion = "1";

std::string reason(int error) {
  return std::generic_category().message(error);
}

Error corrupt(const fs::path& file, int line, std::string_view what) {
  return {ErrorCode::kCorrupt, fmt::format("{}:{}: {}", file.string(), line, what)};
}

bool is_key(const std::string& text) {
  std::array<std::uint8_t, 32> bytes{};
  return text.size() == kKeyChars && zmq_z85_decode(bytes.data(), text.c_str()) != nullptr;
}

struct Opened {
  Descriptor file;
  struct stat status {};
};

Result<Opened> open_to_read(const fs::path& file) {
  Opened opened{Descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)), {}};
  if (opened.file.get() < 0) {
    return Error{errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kUnavailable,
                 fmt::format("{}: cannot be read: {}", file.string(), reason(errno))};
  }
  if (::fstat(opened.file.get(), &opened.status) != 0 || !S_ISREG(opened.status.st_mode))
    return corrupt(file, 1, "is no file with a key");
  return opened;
}

Result<std::string> read_text(const Opened& opened, const fs::path& file) {
  std::string text(kMaxFileBytes + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = ::read(opened.file.get(), text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return Error{ErrorCode::kUnavailable,
                   fmt::format("{}: cannot be read: {}", file.string(), reason(errno))};
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  if (size > kMaxFileBytes) return corrupt(file, 1, "is too long for a file with a key");
  text.resize(size);
  return text;
}

// A line's two words; both empty where it has none.
struct Words {
  std::string_view first, second;
  bool more = false;  // a third one follows
};

Words words_of(std::string_view line) {
  constexpr std::string_view kBlank = " \t\r";
  const auto next = [&line, kBlank] {
    line.remove_prefix(std::min(line.size(), line.find_first_not_of(kBlank)));
    const std::string_view word = line.substr(0, line.find_first_of(kBlank));
    line.remove_prefix(word.size());
    return word;
  };
  Words words;
  words.first = next();
  words.second = next();
  words.more = !next().empty();
  return words;
}

// What a file says: its form and its keys.
struct Contents {
  std::string form;
  std::map<std::string, std::string> keys;  // by "public" and "secret"
};

Result<Contents> parse(const fs::path& file, std::string_view text) {
  Contents contents;
  for (int number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const Words words = words_of(line);
    if (words.first.empty() || words.first.starts_with('#')) continue;
    if (contents.form.empty()) {
      if (words.first != kSecretForm && words.first != kPublicForm)
        return corrupt(file, number, "is no key of dslad: dslactl keygen makes them");
      if (words.second != kVersion || words.more)
        return corrupt(file, number, "is a key of another version of dslad: this one reads version 1");
      contents.form = words.first;
      continue;
    }
    if (words.first != "public" && words.first != "secret")
      return corrupt(file, number, "a line here begins with 'public' or 'secret'");
    if (words.more || !is_key(std::string(words.second)))
      return corrupt(
          file, number,
          fmt::format("'{}' is followed by a key of 40 characters; copy the file again", words.first));
    if (!contents.keys.emplace(words.first, words.second).second)
      return corrupt(file, number, fmt::format("'{}' is there a second time", words.first));
  }
  if (contents.form.empty()) return corrupt(file, 1, "is empty: dslactl keygen makes keys");
  return contents;
}

// Within systemd's folder of credentials a file is root's, and the service reads it by an ACL, whose mask
// looks like the group's rights.
bool is_credential(const fs::path& file) {
  const char* folder = std::getenv("CREDENTIALS_DIRECTORY");
  return folder != nullptr && *folder != '\0' &&
         file.lexically_normal().parent_path() == fs::path(folder).lexically_normal();
}

// Folders that are missing are made, for their owner alone: ~/.config/dslad is not there at first.
Status make_folders(const fs::path& folder) {
  struct stat status {};
  if (folder.empty() || ::stat(folder.c_str(), &status) == 0) return ok_status();
  if (Status above = make_folders(folder.parent_path()); !above) return above;
  if (::mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST) return ok_status();
  return Error{ErrorCode::kUnavailable,
               fmt::format("{}: cannot be made: {}", folder.string(), reason(errno))};
}

Status write_new(const fs::path& file, ::mode_t mode, const std::string& text) {
  const Descriptor opened(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (opened.get() < 0 && errno == EEXIST) {
    return Error{ErrorCode::kRefused,
                 fmt::format("{} is there already and is not overwritten; choose another name, or remove it "
                             "and the keys' use of it",
                             file.string())};
  }
  const bool written = opened.get() >= 0 && ::fchmod(opened.get(), mode) == 0 &&
                       ::write(opened.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       ::fsync(opened.get()) == 0;
  if (written) return ok_status();
  const int error = errno;
  if (opened.get() >= 0) ::unlink(file.c_str());
  return Error{ErrorCode::kUnavailable,
               fmt::format("{}: cannot be written: {}", file.string(), reason(error))};
}

}  // namespace

KeyPair make_key_pair() {
  std::array<char, kKeyChars + 1> open{}, secret{};
  zmq_curve_keypair(open.data(), secret.data());
  return {open.data(), secret.data()};
}

fs::path public_file_of(const fs::path& secret_file) {
  return secret_file.string() + ".pub";
}

Status write_key_pair(const fs::path& file, const KeyPair& pair) {
  const fs::path open = public_file_of(file);
  struct stat status {};
  if (::lstat(open.c_str(), &status) == 0)
    return Error{
        ErrorCode::kRefused,
        fmt::format("{} is there already and is not overwritten; choose another name", open.string())};
  if (Status folders = make_folders(file.parent_path()); !folders) return folders;
  Status secret = write_new(
      file, 0600,
      fmt::format("# A secret key of dslad: whoever reads it can pass for its owner.\n{} {}\npublic  "
                  "{}\nsecret  {}\n",
                  kSecretForm, kVersion, pair.public_key, pair.secret_key));
  if (!secret) return secret;
  Status written = write_new(open, 0644,
                             fmt::format("# The public key of {}: no secret.\n{} {}\npublic  {}\n",
                                         file.filename().string(), kPublicForm, kVersion, pair.public_key));
  if (!written) ::unlink(file.c_str());
  return written;
}

Result<KeyPair> read_key_pair(const fs::path& file) {
  const Result<Opened> opened = open_to_read(file);
  if (!opened) return opened.error();
  const Result<std::string> text = read_text(*opened, file);
  if (!text) return text.error();
  Result<Contents> contents = parse(file, *text);
  if (!contents) return contents.error();
  if (contents->form != kSecretForm)
    return corrupt(file, 1, "is a public key; the secret one is the file without .pub");
  const ::mode_t forbidden = is_credential(file) ? 007 : 077;
  if ((opened->status.st_mode & forbidden) != 0) {
    return Error{
        ErrorCode::kRefused,
        fmt::format("{}: others may read this secret key (mode {:04o}): chmod 600 it, or make another "
                    "where they may have done so",
                    file.string(), opened->status.st_mode & 07777)};
  }
  KeyPair pair{contents->keys["public"], contents->keys["secret"]};
  if (pair.public_key.empty() || pair.secret_key.empty())
    return corrupt(file, 1, "lacks 'public' or 'secret'; copy the file again");
  std::array<char, kKeyChars + 1> derived{};
  if (zmq_curve_public(derived.data(), pair.secret_key.c_str()) != 0 || pair.public_key != derived.data())
    return corrupt(file, 1, "the public key is not that of the secret one; copy the file again");
  return pair;
}

Result<std::string> read_public_key(const fs::path& file) {
  const Result<Opened> opened = open_to_read(file);
  if (!opened) return opened.error();
  const Result<std::string> text = read_text(*opened, file);
  if (!text) return text.error();
  Result<Contents> contents = parse(file, *text);
  if (!contents) return contents.error();
  if (contents->form != kPublicForm || contents->keys.contains("secret"))
    return corrupt(file, 1,
                   "is a secret key, which belongs to its owner alone: the file wanted here ends in .pub");
  if (!contents->keys.contains("public")) return corrupt(file, 1, "lacks 'public'; copy the file again");
  return contents->keys["public"];
}

}  // namespace dslad::keys
