#include "worker/idle/idle_distiller.h"

#include <algorithm>
#include <csignal>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <utility>

#include "worker/idle/output_log.h"

namespace dslad::worker {

using schema::LayerState;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr seconds kLookAgain{10};    // where there is nothing to do: the chain or the options may change
constexpr seconds kLookForOrder{1};  // until the child has decided it
constexpr seconds kFirstBackOff{1};  // doubled with each failure in a row
constexpr seconds kLongestBackOff{3600};
constexpr seconds kTimeToCheckpoint{10};
constexpr milliseconds kPoll{100};
constexpr std::size_t kCacheMib = 1024;  // of `eval`, as by default
constexpr int kWrongUsage = 2;           // exit status of dslad-model

void append(std::vector<std::string>& command, const std::vector<std::string>& words) {
  command.insert(command.end(), words.begin(), words.end());
}

// Without --order: a chain that is there has one.
std::vector<std::string> without_order(const std::vector<std::string>& options) {
  std::vector<std::string> kept;
  for (std::size_t i = 0; i < options.size(); ++i) {
    if (options[i] == "--order") {
      ++i;
    } else if (!options[i].starts_with("--order=")) {
      kept.push_back(options[i]);
    }
  }
  return kept;
}

// Caches count in full against the limit, weights are mapped or come on top.
std::string cache_mib(std::size_t memory_bytes) {
  return std::to_string(std::clamp<std::size_t>((memory_bytes >> 20) / 2, 1, kCacheMib));
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) return fmt::format("was killed by signal {}", WTERMSIG(status));
  return fmt::format("ended with status {}", WEXITSTATUS(status));
}

}  // namespace

Result<std::unique_ptr<IdleDistiller>> IdleDistiller::open(IdleSettings settings, std::string teacher_digest,
                                                           int layers) {
  Stage stage(settings.model, std::move(teacher_digest));
  const Status taken = stage.take();
  if (!taken && taken.error().code != ErrorCode::kRefused) {  // another worker may end
    return taken.error().with_context("layers that are distilled in idle time are written beside the model");
  }
  if (settings.layers > 0) layers = std::min(layers, settings.layers);
  return std::unique_ptr<IdleDistiller>(new IdleDistiller(std::move(settings), std::move(stage), layers));
}

IdleDistiller::IdleDistiller(IdleSettings settings, Stage stage, int layers)
    : settings_(std::move(settings)), stage_(std::move(stage)), layers_(layers) {
  if (settings_.recent_budget > 0) {
    keeper_ = std::make_unique<DocumentKeeper>(stage_.recent(), settings_.recent_budget);
  }
  // What failed before this worker began is so from its first word on.
  const auto next = decide();
  if (const auto* reject = next ? std::get_if<RejectPlan>(&*next) : nullptr) tell_failed(*reject);
  thread_ = std::jthread([this](const std::stop_token& stop) { work(stop); });
}

IdleDistiller::~IdleDistiller() = default;

void IdleDistiller::allow(bool allowed) {
  const std::lock_guard lock(mutex_);
  allowed_ = allowed;
  set_going();
}

void IdleDistiller::busy(bool busy) {
  const std::lock_guard lock(mutex_);
  busy_ = busy;
  set_going();
}

void IdleDistiller::set_going() {
  const bool going = allowed_ && !busy_;
  if (going == going_) return;
  going_ = going;
  child_.let_run(going);
  changed_.notify_all();
}

std::vector<LayerNews> IdleDistiller::news() {
  const std::lock_guard lock(mutex_);
  return std::exchange(news_, {});
}

std::size_t IdleDistiller::wanted_bytes() const {
  return keeper_ ? RecentDocuments::longest(settings_.recent_budget) : 0;
}

void IdleDistiller::keep(std::string text) {
  if (keeper_ && !text.empty()) keeper_->keep(std::move(text));
}

void IdleDistiller::work(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait(lock, stop, [this] { return going_; })) break;
    lock.unlock();
    if (!wait(stop, step(stop))) break;
  }
  child_.end(kTimeToCheckpoint);
}

bool IdleDistiller::wait(const std::stop_token& stop, milliseconds time) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, stop, time, [] { return false; });
  return !stop.stop_requested();
}

milliseconds IdleDistiller::step(const std::stop_token& stop) {
  if (hopeless_) return kLookAgain;
  const auto next = decide();
  if (!next) return back_off(next.error());
  if (std::holds_alternative<NothingLeft>(*next)) {
    if (last_ != *next) {
      spdlog::info("idle distilling: all {} layers are converted", layers_);
      if (const Status cleared = stage_.clear(); !cleared) return back_off(cleared.error());
    }
    last_ = *next;
    return kLookAgain;
  }
  if (const auto* reject = std::get_if<RejectPlan>(&*next)) {
    if (last_ != *next) {
      spdlog::warn(
          "idle distilling: layer {} has failed: {}; give other --distil-options or texts, or a lower "
          "--distil-min-quality",
          reject->layer, reject->why);
    }
    tell_failed(*reject);
    last_ = *next;
    return kLookAgain;
  }
  if (std::holds_alternative<AwaitDocuments>(*next)) {
    if (last_ != *next) {
      spdlog::info("idle distilling: waits for documents of jobs: {} KiB are there, {} KiB are needed",
                   recent_bytes(stage_.recent()) >> 10, kLeastRecentBytes >> 10);
    }
    last_ = *next;
    return kLookAgain;
  }
  if (last_ == *next) {
    last_.reset();
    return back_off({ErrorCode::kInternal,
                     fmt::format("{} has done its work, and nothing has changed", settings_.tool.string())});
  }
  const Status done = carry_out(*next, stop);
  if (stop.stop_requested()) return milliseconds{0};
  if (!done) return back_off(done.error());
  failures_ = 0;
  last_ = *next;
  return milliseconds{0};
}

Result<IdleStep> IdleDistiller::decide() {
  const Status taken = stage_.take();
  if (!taken) return taken.error();
  IdleFacts facts;
  const Status looked = stage_.look(facts);
  if (!looked) return looked.error();
  facts.layers = layers_;
  facts.min_quality = settings_.min_quality;
  facts.has_texts = !settings_.texts.empty();
  if (keeper_) facts.recent_bytes = recent_bytes(stage_.recent());
  auto recipe = recipe_of(settings_);
  if (!recipe) return recipe.error();
  facts.recipe = *std::move(recipe);
  auto measurement = measurement_of(settings_);
  if (!measurement) return measurement.error();
  facts.measurement = *std::move(measurement);
  IdleStep next = next_step(facts);
  tell_planned(layers_to_come(facts, next));
  return next;
}

Status IdleDistiller::carry_out(const IdleStep& step, const std::stop_token& stop) {
  if (const auto* begin = std::get_if<BeginStage>(&step)) return carry_out(*begin);
  if (const auto* distil = std::get_if<DistilLayer>(&step)) return carry_out(*distil, stop);
  if (const auto* measure = std::get_if<MeasurePlan>(&step)) return carry_out(*measure, stop);
  if (const auto* publish = std::get_if<PublishPlan>(&step)) return carry_out(*publish);
  return ok_status();
}

Status IdleDistiller::carry_out(const BeginStage& begin) {
  forget_layer();
  if (!begin.why.empty()) spdlog::info("idle distilling: begins anew; {}", begin.why);
  auto recipe = recipe_of(settings_);
  if (!recipe) return recipe.error();
  return stage_.begin({begin.keep, *std::move(recipe), "", 0}, keeper_ != nullptr);
}

Status IdleDistiller::carry_out(const DistilLayer& distil, const std::stop_token& stop) {
  const std::string layer = distil.layer ? fmt::format("layer {}", *distil.layer) : "the first layer";
  spdlog::info("idle distilling: {} for plan {}", layer, distil.plan);
  if (distil.layer) tell({*distil.layer, LayerState::kDistilling, {}, {}});
  std::vector<std::string> command = {"distil", settings_.model.string(), "--text"};
  append(command, settings_.texts);
  std::error_code missing;
  if (std::filesystem::exists(stage_.texts(), missing)) command.push_back(stage_.texts().string());
  append(command, {"--out", stage_.chain().string(), "--layers", std::to_string(distil.plan), "--threads",
                   std::to_string(settings_.cpus), "--resume"});
  if (distil.keep) {
    append(command, {"--from", stage_.served().string(), "--keep", std::to_string(*distil.keep)});
  }
  append(command, distil.keep ? without_order(settings_.options) : settings_.options);
  return run_tool(command, stop);
}

Status IdleDistiller::carry_out(const MeasurePlan& measure, const std::stop_token& stop) {
  spdlog::info("idle distilling: measures plan {}", measure.plan);
  tell({measure.layer, LayerState::kDistilling, {}, {}});
  // From before the files are read: where they change meanwhile, it is measured again.
  auto measurement = measurement_of(settings_);
  if (!measurement) return measurement.error();
  std::vector<std::string> command = {"eval", settings_.model.string()};
  append(command, settings_.measured_on);
  append(command,
         {"--chain", stage_.chain().string(), "--plans", std::to_string(measure.plan), "--out",
          stage_.results(measure.plan).string(), "--resume", "--cache-mib", cache_mib(settings_.memory_bytes),
          "--write-chain", "--dtype", settings_.dtype, "--threads", std::to_string(settings_.cpus)});
  Status measured = run_tool(command, stop);
  if (stop.stop_requested()) return measured;
  stage_.forget_results(measure.plan);  // those of a run that failed may be what is wrong
  if (!measured) return measured;
  IdleFacts facts;
  Status looked = stage_.look(facts);
  if (!looked) return looked;
  facts.record->measured = *std::move(measurement);
  return stage_.set_record(*facts.record);
}

Status IdleDistiller::carry_out(const PublishPlan& publish) {
  Status published = stage_.publish(publish.plan);
  if (!published) return published;
  spdlog::info("idle distilling: plan {} is published, layer {}{}", publish.plan, publish.layer,
               publish.quality ? fmt::format(", quality {:.3f}", *publish.quality) : "");
  told_.reset();  // the chain tells the rest
  std::erase(planned_, publish.layer);
  return ok_status();
}

Status IdleDistiller::run_tool(const std::vector<std::string>& arguments, const std::stop_token& stop) {
  std::vector<std::string> command = {settings_.tool.string()};
  append(command, arguments);
  const Status started = child_.start(command, {settings_.cpus, settings_.memory_bytes});
  if (!started) {
    return started.error().with_context("idle distilling needs the dslad-model that belongs to this worker");
  }
  OutputLog log(fmt::format("dslad-model {}: ", arguments.front()));
  std::optional<int> status;
  while (!stop.stop_requested() && !status) {
    status = child_.ended();
    log.add(child_.output(kPoll));
    notice_order();
  }
  if (!status) return ok_status();  // work() ends it
  for (std::string rest = child_.output(milliseconds{0}); !rest.empty();
       rest = child_.output(milliseconds{0})) {
    log.add(rest);
  }
  if (*status == 0) return ok_status();
  hopeless_ = WIFEXITED(*status) && WEXITSTATUS(*status) == kWrongUsage;
  return Error{ErrorCode::kUnavailable,
               fmt::format("dslad-model {} {}: {}", arguments.front(), how_it_ended(*status), log.last())};
}

milliseconds IdleDistiller::back_off(const Error& error) {
  if (hopeless_) tell_planned({});
  forget_layer();
  last_.reset();
  if (hopeless_) {
    spdlog::error("idle distilling: {}; it ends until this worker is started with other --distil-options",
                  error.message);
    return kLookAgain;
  }
  const seconds pause = std::min(kLongestBackOff, kFirstBackOff * (1 << std::min(failures_++, 12)));
  spdlog::warn("idle distilling: {}; tried again in {} s", error.message, pause.count());
  return pause;
}

void IdleDistiller::tell(LayerNews news) {
  if (told_ == news) return;
  if (told_ && told_->layer != news.layer) forget_layer();
  told_ = news;
  const std::lock_guard lock(mutex_);
  news_.push_back(std::move(news));
}

void IdleDistiller::tell_failed(const RejectPlan& reject) {
  tell({reject.layer, LayerState::kFailed, reject.quality, reject.why});
}

void IdleDistiller::tell_planned(std::vector<int> layers) {
  const auto among = [](const std::vector<int>& all, int layer) {
    return std::ranges::find(all, layer) != all.end();
  };
  const auto in_work = [&](int layer) { return told_ && told_->layer == layer; };
  const std::lock_guard lock(mutex_);
  for (const int layer : planned_) {
    if (!among(layers, layer) && !in_work(layer)) news_.push_back({layer, LayerState::kTransformer, {}, {}});
  }
  for (const int layer : layers) {
    if (!among(planned_, layer) && !in_work(layer)) news_.push_back({layer, LayerState::kPlanned, {}, {}});
  }
  planned_ = std::move(layers);
}

void IdleDistiller::notice_order() {
  if (told_ || Clock::now() < look_for_order_) return;
  look_for_order_ = Clock::now() + kLookForOrder;
  const auto next = decide();
  const auto* distil = next ? std::get_if<DistilLayer>(&*next) : nullptr;
  if (distil != nullptr && distil->layer) tell({*distil->layer, LayerState::kDistilling, {}, {}});
}

void IdleDistiller::forget_layer() {
  if (!told_) return;
  const bool to_come = std::ranges::find(planned_, told_->layer) != planned_.end();
  const std::lock_guard lock(mutex_);
  news_.push_back({told_->layer, to_come ? LayerState::kPlanned : LayerState::kTransformer, {}, {}});
  told_.reset();
}

}  // namespace dslad::worker
