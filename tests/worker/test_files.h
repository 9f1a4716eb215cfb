// Where the worker's tests find and put files.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <string_view>
#include <unistd.h>

#include "tests/source_dir.h"

namespace dslad::worker::testing {

inline std::filesystem::path golden_path(const std::string& name) {
  return source_dir() / "tests" / "golden" / name;
}

// A file or folder of the development data, which a user's clone does not have: skip the test without it.
inline std::filesystem::path data_path(const std::string& name) {
  const char* const root = std::getenv("DSLAD_DATA");
  const std::filesystem::path base =
      root != nullptr ? std::filesystem::path(root) : source_dir() / "../shared/data";
  return base / name;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(read_text(path));
}

// A folder of its own for each test, removed with it.
class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "dslad-worker-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  // Returns the file's path.
  std::filesystem::path write(const std::string& name, std::string_view content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

// The same text with a few bytes changed, inserted, dropped or cut off.
inline std::string mutate(std::string text, std::mt19937_64& random) {
  const auto below = [&](std::size_t end) { return static_cast<std::size_t>(random() % end); };
  for (std::size_t change = 0, changes = 1 + below(4); change < changes && !text.empty(); ++change) {
    const std::size_t at = below(text.size());
    switch (below(5)) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text.insert(at, 1, "{}[]\",:0-9\\e"[below(12)]);
        break;
      case 2:
        text.erase(at, 1 + below(8));
        break;
      case 3:
        text.resize(at);
        break;
      default:
        text.insert(at, text.substr(below(text.size()), below(64)));
        break;
    }
  }
  return text;
}

}  // namespace dslad::worker::testing
