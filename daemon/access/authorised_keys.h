// The folder of authorised keys. What a key may do is the folder that it lies in, its name is its file's:
//
//     submit/NAME.pub   read/NAME.pub   admin/NAME.pub      clients
//     workers/NAME.pub                                      workers
//
// A file that is wrong is left out and named; it never locks out the others. One key, and one name of a
// client, stands for one: where there is a second, the one with fewer rights counts. Plain values once read.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/access/role.h"

namespace dslad::daemon {

class AuthorisedKeys {
 public:
  // Folders that are not there hold no keys.
  static AuthorisedKeys read(const std::filesystem::path& folder);

  // Another text whenever the folder, or a file in it, has changed.
  static std::string state_of(const std::filesystem::path& folder);

  // By public key. A client's, or nullptr.
  [[nodiscard]] const Principal* client(const std::string& key) const;
  // A worker's name, or nullptr.
  [[nodiscard]] const std::string* worker(const std::string& key) const;

  // Whether one of their clients is none of these.
  [[nodiscard]] bool lack_a_client_of(const AuthorisedKeys& others) const;

  [[nodiscard]] std::size_t clients() const { return clients_.size(); }
  [[nodiscard]] std::size_t workers() const { return workers_.size(); }

  // What is wrong with which file.
  [[nodiscard]] const std::vector<std::string>& faults() const { return faults_; }

 private:
  void read_folder(const std::filesystem::path& folder, Role role);
  void add(const std::filesystem::path& file, Role role);

  std::unordered_map<std::string, Principal> clients_;
  std::unordered_map<std::string, std::string> workers_;  // names
  std::unordered_map<std::string, std::string> files_;    // by key and, of clients, by owner
  std::vector<std::string> faults_;
};

}  // namespace dslad::daemon
