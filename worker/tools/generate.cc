#include <cstdio>
#include <fmt/format.h>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "worker/engine/plan_set.h"
#include "worker/model/device.h"
#include "worker/tasks/job_requests.h"
#include "worker/tools/verbs.h"

namespace dslad::worker {
namespace {

// Writes text as it comes, or keeps ids and text for the end.
class Printer : public EngineSink {
 public:
  Printer(JobRequests& requests, bool stream) : requests_(requests), stream_(stream) {}

  bool on_token(RequestId id, int tail, std::int32_t token) override {
    ids_.push_back(token);
    const bool go_on = requests_.add_token(id, tail, token);
    flush();
    return go_on;
  }
  void on_answer(RequestId id, int tail, AnswerEnd end, double mean_log_p) override {
    requests_.end_answer(id, tail, end, mean_log_p);
    flush();
  }
  void on_progress(RequestId, const RequestProgress&) override {}
  void on_done(RequestId, const RequestProgress&, const RequestTimes&) override {}
  void on_failed(RequestId, const RequestProgress&, const RequestTimes&, const Error& error) override {
    ended_ = error;
  }

  [[nodiscard]] const Status& ended() const { return ended_; }
  [[nodiscard]] const std::vector<std::int32_t>& ids() const { return ids_; }
  [[nodiscard]] const std::string& text() const { return requests_.outputs().front().text; }

 private:
  void flush() {
    const std::string_view settled = requests_.settled(0);
    if (!stream_ || settled.size() <= shown_) return;
    std::fwrite(settled.data() + shown_, 1, settled.size() - shown_, stdout);
    std::fflush(stdout);
    shown_ = settled.size();
  }

  JobRequests& requests_;
  bool stream_;
  Status ended_ = ok_status();
  std::size_t shown_ = 0;
  std::vector<std::int32_t> ids_;
};

Result<schema::JobSpec> job_of(const GenerateOptions& generation) {
  schema::JobSpec spec;
  spec.task = schema::Task::kGenerate;
  spec.prompt = generation.prompt;
  if (generation.prompt == "-") {
    spec.prompt.assign(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  }
  spec.options = {generation.max_tokens, generation.temperature, generation.top_p, generation.seed};
  // An empty prompt is fine here: the text then starts from bos.
  schema::JobSpec checked = spec;
  if (checked.prompt.empty()) checked.prompt = " ";
  const Status valid = checked.validate();
  if (!valid) return valid.error();
  return spec;
}

Status run(Engine& engine, EngineRequest request, Printer& printer) {
  Status added = engine.add(std::move(request));
  if (!added) return added;
  for (;;) {
    const auto stepped = engine.step(printer);
    if (!stepped) return stepped.error();
    if (!*stepped) return printer.ended();
  }
}

}  // namespace

int generate(const ToolOptions& options, const GenerateOptions& generation) {
  const auto format = parse_format(options.dtype);
  if (!format) return fail(format.error());
  const auto spec = job_of(generation);
  if (!spec) return fail(spec.error());
  const auto device = open_device(options.device, *format);
  if (!device) return fail(device.error());
  const auto model = ModelFolder::load(options.model, *format, {}, {}, *device);
  if (!model) return fail(model.error());
  const auto plans = PlanSet::create(*model->weights, model->chain, options.plan);
  if (!plans) return fail(plans.error());
  const auto engine = make_engine(model->weights, options);
  if (!engine) return fail(engine.error());
  report_chain(model->chain, options.plan);
  auto requests = JobRequests::create(*model, *spec, 0);
  if (!requests) return fail(requests.error());

  EngineRequest request = **requests->next(1);  // the only one
  request.plan = plans->plan(options.plan);
  std::vector<std::int32_t> prompt_ids = request.head;
  prompt_ids.insert(prompt_ids.end(), request.tails.front().begin(), request.tails.front().end());
  Printer printer(*requests, !options.json);
  const Status ran = run(**engine, std::move(request), printer);
  if (!ran) return fail(ran.error());
  if (options.json) {
    const nlohmann::ordered_json out = {
        {"prompt_ids", prompt_ids}, {"ids", printer.ids()}, {"text", printer.text()}};
    fmt::print("{}\n", out.dump());
  } else {
    fmt::print("\n");
  }
  return 0;
}

}  // namespace dslad::worker
