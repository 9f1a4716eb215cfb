#include "daemon/access/authorised_keys.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <sys/stat.h>
#include <system_error>

#include "schema/keys/key_file.h"
#include "schema/limits.h"

namespace dslad::daemon {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".pub";

// A name appears in tables, logs and the database.
bool is_name(std::string_view name) {
  constexpr std::string_view kAllowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+-";
  return !name.empty() && name.size() <= schema::kMaxLabelBytes &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

std::string state_of_file(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return path.string() + "\n";
  return fmt::format("{} {} {} {}.{} {}.{}\n", path.string(), status.st_ino, status.st_size,
                     status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec,
                     status.st_ctim.tv_nsec);
}

constexpr std::array kFolders = {std::string_view("workers"), std::string_view("read"),
                                 std::string_view("submit"), std::string_view("admin")};

}  // namespace

std::string AuthorisedKeys::state_of(const fs::path& folder) {
  std::string state;
  for (const std::string_view name : kFolders) {
    state += state_of_file(folder / name);
    std::vector<std::string> files;
    std::error_code code;
    for (fs::directory_iterator entry(folder / name, code), end; !code && entry != end; entry.increment(code))
      files.push_back(state_of_file(entry->path()));
    std::sort(files.begin(), files.end());
    for (const std::string& file : files) state += file;
  }
  return state;
}

// Those with fewer rights first: of two that are one, the first counts.
AuthorisedKeys AuthorisedKeys::read(const fs::path& folder) {
  AuthorisedKeys keys;
  constexpr std::array kRoles = {Role::kNone, Role::kRead, Role::kSubmit, Role::kAdmin};
  for (std::size_t i = 0; i < kFolders.size(); ++i) keys.read_folder(folder / kFolders[i], kRoles[i]);
  return keys;
}

void AuthorisedKeys::read_folder(const fs::path& folder, Role role) {
  std::vector<fs::path> files;
  std::error_code code;
  for (fs::directory_iterator entry(folder, code), end; !code && entry != end; entry.increment(code)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with('.') && name.ends_with(kSuffix)) files.push_back(entry->path());
  }
  if (code && code != std::errc::no_such_file_or_directory)
    faults_.push_back(fmt::format("{}: cannot be read: {}", folder.string(), code.message()));
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) add(file, role);
}

void AuthorisedKeys::add(const fs::path& file, Role role) {
  const std::string name = file.stem().string();
  if (!is_name(name)) {
    faults_.push_back(
        fmt::format("{}: the name of a key has 1 to {} letters, digits and any of ._@+-: rename it",
                    file.string(), schema::kMaxLabelBytes));
    return;
  }
  const Result<std::string> key = keys::read_public_key(file);
  if (!key) {
    faults_.push_back(key.error().message);
    return;
  }
  const auto taken = [&](const std::string& what, std::string_view said) {
    const auto [known, added] = files_.emplace(what, file.string());
    if (!added)
      faults_.push_back(fmt::format("{}: is left out, as {} is that of {}: remove one of them", file.string(),
                                    said, known->second));
    return !added;
  };
  if (taken(*key, "its key")) return;
  if (role == Role::kNone) {
    workers_.emplace(*key, name);
    return;
  }
  if (taken("key:" + name, "its name")) return;
  clients_.emplace(*key, Principal{"key:" + name, role});
}

const Principal* AuthorisedKeys::client(const std::string& key) const {
  const auto found = clients_.find(key);
  return found == clients_.end() ? nullptr : &found->second;
}

bool AuthorisedKeys::lack_a_client_of(const AuthorisedKeys& others) const {
  return std::ranges::any_of(others.clients_,
                             [this](const auto& each) { return client(each.first) == nullptr; });
}

const std::string* AuthorisedKeys::worker(const std::string& key) const {
  const auto found = workers_.find(key);
  return found == workers_.end() ? nullptr : &found->second;
}

}  // namespace dslad::daemon
