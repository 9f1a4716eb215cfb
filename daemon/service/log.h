// The daemon's log: to the journal with fields when systemd connected stderr to it, else to stderr as text.
// Safe from any thread. Never logs documents, prompts, questions or answers.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "schema/result.h"

namespace dslad::daemon::log {

enum class Level : std::uint8_t { kDebug, kInfo, kWarning, kError };

// A name in upper case (JOB, WORKER, PEER, PLAN, ERROR_CODE), in the journal with DSLAD_ before it.
struct Field {
  std::string_view name;
  std::string value;
};

// Messages below `level` are dropped. Call once, before the first message.
void start(Level level);

void write(Level level, std::string_view message, std::initializer_list<Field> fields = {});

inline void debug(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kDebug, message, fields);
}
inline void info(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kInfo, message, fields);
}
inline void warning(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kWarning, message, fields);
}
inline void error(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kError, message, fields);
}

// A warning that peers can cause at will: at most one in five seconds, the next says how many were left out.
// One object a place; one thread.
class Limited {
 public:
  void warning(std::string_view message, std::int64_t steady_ms);
  [[nodiscard]] std::uint64_t count() const { return count_; }

 private:
  std::uint64_t count_ = 0;
  std::uint64_t left_out_ = 0;
  std::int64_t next_ms_ = 0;
};

}  // namespace dslad::daemon::log
