// What fuzzers share: their input as a file, for readers of files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <unistd.h>

namespace dslad::fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// A folder in memory, one a process, that is gone with it.
class Folder {
 public:
  static const std::filesystem::path& path() {
    static const Folder folder;
    return folder.path_;
  }

  // The file of that name with that content, and nothing of what it had before.
  static std::filesystem::path write(const char* name, std::string_view content) {
    const auto file = path() / name;
    std::ofstream(file, std::ios::binary | std::ios::trunc)
        .write(content.data(), static_cast<std::streamsize>(content.size()));
    return file;
  }

 private:
  Folder() : path_("/dev/shm/dslad-fuzz-" + std::to_string(getpid())) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }

  std::filesystem::path path_;
};

}  // namespace dslad::fuzz
