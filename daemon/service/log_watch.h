// Says once when the write-ahead log grows because somebody keeps reading an old state of the database: until
// that ends nothing can be taken out of the log, and nobody else would tell. Socket thread only.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace dslad::daemon {

class LogWatch {
 public:
  explicit LogWatch(std::string database, std::uint64_t most_bytes = std::uint64_t{256} << 20)
      : database_(std::move(database)), most_bytes_(most_bytes) {}

  // `held_up_ms`: for how long it could not be emptied; 0: it could. True where that has just been said.
  bool look(std::uint64_t log_bytes, std::uint64_t held_up_ms);

 private:
  const std::string database_;
  const std::uint64_t most_bytes_;
  bool told_ = false;  // until the log is small again
};

}  // namespace dslad::daemon
