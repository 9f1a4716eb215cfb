// A client whose every request may be sent twice without harm, so that a daemon that stops, dies or starts
// meanwhile is no error until it has been away for the globals' rpc_timeout. Ctrl-C ends the patience
// (interrupt.h). Not thread-safe.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

#include "ctl/client.h"
#include "ctl/interrupt.h"

namespace dslad::ctl {

class PatientClient {
 public:
  static Result<PatientClient> open(const Globals& globals) {
    Result<Client> client = Client::open(globals);
    if (!client) return client.error();
    return PatientClient(std::move(*client), globals.rpc_timeout());
  }

  // Errors: kUnavailable where the daemon stayed away, or Ctrl-C was pressed; kRefused where it is there and
  // says that it is not available; all others as it says them.
  template <typename Reply, typename Request>
  Result<Reply> call(const Request& request) {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point last_try = Clock::now() + timeout_;
    std::chrono::milliseconds resend = kResend;
    while (true) {
      Result<Reply> reply = client_.try_call<Reply>(request, std::min(resend, timeout_));
      const bool lost = !reply && reply.error().code == ErrorCode::kUnavailable;
      if (!lost || interrupted()) return reply;
      if (Clock::now() >= last_try) return client_.call<Reply>(request, kResend);  // silent, or refusing?
      std::this_thread::sleep_for(kPause);
      resend *= 2;
    }
  }

 private:
  static constexpr std::chrono::milliseconds kResend{2000};  // a restarted daemon has forgotten the request
  static constexpr std::chrono::milliseconds kPause{100};    // a daemon that stops refuses at once

  PatientClient(Client client, std::chrono::milliseconds timeout)
      : client_(std::move(client)), timeout_(timeout) {}

  Client client_;
  std::chrono::milliseconds timeout_;
};

}  // namespace dslad::ctl
