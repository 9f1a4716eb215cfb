// Where `dslactl top` has its views from: a few requests each time. A daemon that goes away is a view that
// says so, and the next one connects anew. Not thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include "ctl/client.h"
#include "ctl/oldest_waiting.h"
#include "ctl/throughput.h"
#include "ctl/top_view.h"

namespace dslad::ctl {

class TopSource {
 public:
  // `go_on` is asked every now and then while an answer is awaited; false gives up.
  TopSource(const Globals& globals, std::function<bool()> go_on);

  // What is so now; without an answer, what was so last and the error. REQUIRES: `jobs` > 0.
  // Errors: what waiting cannot mend before the daemon has answered once: a URL that is none, a key that the
  // daemon does not know.
  Result<TopView> look(std::uint32_t jobs);

  [[nodiscard]] const Throughput& throughput() const { return throughput_; }

 private:
  Status ask(std::uint32_t jobs);
  template <typename Reply, typename Request>
  Result<Reply> call(const Request& request);

  Globals globals_;
  std::function<bool()> go_on_;
  std::chrono::milliseconds timeout_;
  std::chrono::milliseconds start_up_ = Connection::kStartUp;  // for a daemon to listen, at the first look
  std::chrono::steady_clock::time_point answered_;             // or begun
  std::optional<Client> client_;                               // none after an error
  OldestWaiting oldest_;
  Throughput throughput_;
  TopView view_;
};

}  // namespace dslad::ctl
