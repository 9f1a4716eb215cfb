// How much the service did lately, from counters that are looked at now and then. Between two looks it counts
// as even; before the first nothing is known, which is not zero. Pure: times are passed in. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "schema/client_messages.h"

namespace dslad::ctl {

struct Rates {
  double jobs_per_s = 0;  // that ended with an answer or without
  double prompt_tokens_per_s = 0;
  double output_tokens_per_s = 0;

  static void fields(auto& self, auto& field) {
    field("jobs_per_s", self.jobs_per_s);
    field("prompt_tokens_per_s", self.prompt_tokens_per_s);
    field("output_tokens_per_s", self.output_tokens_per_s);
  }
};

class Throughput {
 public:
  static constexpr std::int64_t kWindowMs = 300'000;  // that is remembered

  // What the daemon said at `now_ms`. REQUIRES: times do not go back.
  void add(std::int64_t now_ms, const schema::DaemonStatus& status);

  // Of the last ten seconds; absent with less than two looks.
  [[nodiscard]] std::optional<Rates> latest() const;

  // The window before the latest look in equal parts, oldest first; absent where nothing is known.
  [[nodiscard]] std::vector<std::optional<Rates>> history(std::size_t parts) const;

 private:
  struct Totals {
    double jobs = 0, prompt_tokens = 0, output_tokens = 0;
  };
  struct Look {
    std::int64_t time_ms;
    Totals totals;
  };
  [[nodiscard]] std::optional<Rates> between(double from_ms, double to_ms) const;
  [[nodiscard]] Totals at(double time_ms) const;

  std::deque<Look> looks_;  // oldest first
  Totals totals_;           // since the first look
  std::optional<std::uint64_t> ended_;
  struct Tokens {
    std::uint64_t prompt, output;
  };
  std::map<std::string, Tokens> seen_;  // by worker's instance; those that went may come back
};

}  // namespace dslad::ctl
