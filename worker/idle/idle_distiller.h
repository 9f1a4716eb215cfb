// Distils a model's next layer while its worker has nothing else to do, and publishes it.
//
// A thread of its own decides what comes next (next_step.h) and waits for the child process that does it.
// Whoever runs jobs says when there is none and when the daemon allows it; the child is stopped before busy()
// returns. What fails is tried again later and later: distilling may be broken for good while jobs run as
// ever. Thread safety: all members may be called from any thread; news() from one.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "worker/idle/child_process.h"
#include "worker/idle/document_keeper.h"
#include "worker/idle/idle_settings.h"
#include "worker/idle/layer_news.h"
#include "worker/idle/next_step.h"
#include "worker/idle/stage.h"

namespace dslad::worker {

class IdleDistiller {
 public:
  // Of a model with so many layers. kUnavailable: nothing can be written beside it.
  // REQUIRES: check_settings() finds no fault. What news() has then is of the time before.
  static Result<std::unique_ptr<IdleDistiller>> open(IdleSettings settings, std::string teacher_digest,
                                                     int layers);
  // Lets the child write its checkpoint, for a few seconds.
  ~IdleDistiller();

  void allow(bool allowed);  // the daemon says that there is time; at first there is none
  void busy(bool busy);      // there are jobs
  // What was learnt of layers since the last call, in order.
  std::vector<LayerNews> news();

  // Bytes of a job's text that are wanted once it is answered, its first ones; 0: none is.
  [[nodiscard]] std::size_t wanted_bytes() const;
  // A job was answered: its text may be trained on. Returns at once. REQUIRES: UTF-8.
  void keep(std::string text);

 private:
  using Clock = std::chrono::steady_clock;
  IdleDistiller(IdleSettings settings, Stage stage, int layers);

  void work(const std::stop_token& stop);
  // Does what comes next; how long to wait for the step after it.
  std::chrono::milliseconds step(const std::stop_token& stop);
  Result<IdleStep> decide();
  Status carry_out(const IdleStep& step, const std::stop_token& stop);
  Status carry_out(const BeginStage& begin);
  Status carry_out(const DistilLayer& distil, const std::stop_token& stop);
  Status carry_out(const MeasurePlan& measure, const std::stop_token& stop);
  Status carry_out(const PublishPlan& publish);
  // Runs dslad-model to its end. An error says what it printed last; none where `stop` ended it.
  Status run_tool(const std::vector<std::string>& arguments, const std::stop_token& stop);
  std::chrono::milliseconds back_off(const Error& error);
  void tell(LayerNews news);
  void tell_failed(const RejectPlan& reject);
  void tell_planned(std::vector<int> layers);  // these and no others are to come
  void notice_order();  // that the child has decided, with which layers begin to have a turn
  void forget_layer();  // what was told of the layer that was in work is no longer so
  bool wait(const std::stop_token& stop, std::chrono::milliseconds time);  // false: stop
  void set_going();

  IdleSettings settings_;
  Stage stage_;
  int layers_;
  ChildProcess child_;
  std::unique_ptr<DocumentKeeper> keeper_;  // null: no documents are to be kept

  // The thread's own.
  std::optional<IdleStep> last_;   // that was carried out
  std::optional<LayerNews> told_;  // last, of the layer in work
  std::vector<int> planned_;       // layers that are to come, with the one in work
  Clock::time_point look_for_order_{};
  int failures_ = 0;       // in a row
  bool hopeless_ = false;  // the command line is wrong

  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool allowed_ = false, busy_ = false, going_ = false;
  std::vector<LayerNews> news_;
  std::jthread thread_;  // last: it ends before what it uses
};

}  // namespace dslad::worker
