#include "worker/eval/generation.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <utility>

#include "schema/limits.h"
#include "worker/eval/rouge.h"
#include "worker/eval/squad.h"
#include "worker/tasks/job_requests.h"

namespace dslad::worker {
namespace {

constexpr std::size_t kQueueAhead = 64;  // jobs that wait in the engine, so that its batch stays full

// Some items of a document under one plan that one job answers.
struct Part {
  const EvalDocument* document;
  int plan;
  std::vector<int> items;  // one an answer; without questions, all of them share the one summary
};

// A part that the engine works on.
struct Job {
  Part part;
  JobRequests requests;
  std::int64_t document_tokens;
};

// Tokens from the place that an answer rests on to the document's end, by the share of its bytes that follow:
// the latest occurrence of the evidence, or of an answer where the data names none.
std::optional<std::int64_t> distance_to_fact(std::string_view document, const EvalItem& item,
                                             std::int64_t document_tokens) {
  std::size_t place = std::string_view::npos;
  const auto find = [&](std::string_view text) {
    const std::size_t found = text.empty() ? std::string_view::npos : document.rfind(text);
    if (found != std::string_view::npos && (place == std::string_view::npos || found > place)) place = found;
  };
  if (!item.evidence.empty()) {
    find(item.evidence);
  } else {
    for (const std::string& answer : item.references) find(answer);
  }
  if (place == std::string_view::npos) return std::nullopt;
  const double behind = static_cast<double>(document.size() - place) / static_cast<double>(document.size());
  return std::llround(behind * static_cast<double>(document_tokens));
}

class GenerationRun : public EngineSink {
 public:
  GenerationRun(const ModelFolder& model, const PlanSet& plans, Engine& engine, const EvalData& data,
                const EvalSettings& settings, ResultsLog& log)
      : model_(model), plans_(plans), engine_(engine), data_(data), settings_(settings), log_(log) {}

  Result<EvaluatedFile> run() {
    plan_parts();
    settings_.progress(done_, total_);
    for (std::size_t next = 0;;) {
      while (next < parts_.size() && engine_.waiting() < kQueueAhead) {
        const Status started = start(parts_[next++]);
        if (!started) return started.error();
      }
      const auto stepped = engine_.step(*this);
      if (!stepped) return stepped.error();
      if (!ended_) return ended_.error();
      if (!*stepped && next == parts_.size()) break;
    }
    EvaluatedFile evaluated;
    for (const ItemKey& item : items_) {
      const bool scored = log_.find(item, settings_.plans.front()) != nullptr;
      if (scored) evaluated.items.push_back(item);
      if (!scored) ++evaluated.skipped;
    }
    return evaluated;
  }

  bool on_token(RequestId id, int tail, std::int32_t token) override {
    return jobs_.at(id).requests.add_token(id, tail, token);
  }
  void on_answer(RequestId id, int tail, AnswerEnd end, double mean_log_p) override {
    Job& job = jobs_.at(id);
    job.requests.end_answer(id, tail, end, mean_log_p);
    const std::string& text = job.requests.answer(id, tail).text;
    if (asks(job.part)) {
      record(job, job.part.items[static_cast<std::size_t>(tail)], text);
    } else {
      for (const int item : job.part.items) record(job, item, text);
    }
    settings_.progress(done_, total_);
  }
  void on_progress(RequestId, const RequestProgress&) override {}
  void on_done(RequestId id, const RequestProgress&, const RequestTimes&) override { jobs_.erase(id); }
  void on_failed(RequestId id, const RequestProgress&, const RequestTimes&, const Error& error) override {
    if (ended_) ended_ = failed(jobs_.at(id).part, error);
    jobs_.erase(id);
  }

 private:
  static const EvalItem& item_of(const Part& part, int item) {
    return part.document->items[static_cast<std::size_t>(item)];
  }
  static bool asks(const Part& part) { return item_of(part, part.items.front()).question.has_value(); }

  // What the log lacks, document by document, so that the plans of a document are done together.
  void plan_parts() {
    std::int64_t left = settings_.limit;
    for (const EvalDocument& document : data_.documents) {
      const auto items = static_cast<int>(std::min(left, static_cast<std::int64_t>(document.items.size())));
      left -= items;
      for (int item = 0; item < items; ++item) items_.push_back({data_.file, document.id, item});
      for (const int plan : settings_.plans) {
        Part asked{&document, plan, {}}, plain{&document, plan, {}};
        for (int item = 0; item < items; ++item) {
          ++total_;
          if (log_.find({data_.file, document.id, item}, plan) != nullptr) {
            ++done_;
            continue;
          }
          Part& part = item_of(asked, item).question ? asked : plain;
          part.items.push_back(item);
          if (asked.items.size() == schema::kMaxQuestions)
            parts_.push_back(std::exchange(asked, {&document, plan, {}}));
        }
        for (Part* const part : {&asked, &plain}) {
          if (!part->items.empty()) parts_.push_back(std::move(*part));
        }
      }
    }
  }

  Status start(Part& part) {
    schema::JobSpec spec;
    spec.task = asks(part) ? schema::Task::kQa : schema::Task::kSummarize;
    spec.document = part.document->document;
    spec.options.max_tokens = settings_.max_tokens;
    for (const int item : part.items) {
      if (asks(part)) spec.questions.push_back(*item_of(part, item).question);
    }
    auto requests = JobRequests::create(model_, spec, 0);
    if (!requests) return failed(part, requests.error());
    EngineRequest request = **requests->next(next_id_);  // the only one
    request.plan = plans_.plan(part.plan);
    if (drop_what_is_too_long(request, part)) return part.items.empty() ? ok_status() : start(part);
    const auto document_tokens = static_cast<std::int64_t>(request.head.size());
    const Status added = engine_.add(std::move(request));
    if (!added) return failed(part, added.error());
    jobs_.try_emplace(next_id_++, Job{std::move(part), *std::move(requests), document_tokens});
    return ok_status();
  }

  // Whether anything was dropped.
  bool drop_what_is_too_long(const EngineRequest& request, Part& part) {
    const auto context = static_cast<std::size_t>(model_.weights->config.context);
    const auto too_long = [&](std::size_t tail) {
      return request.head.size() + request.tails[tail].size() >= context;
    };
    const std::size_t before = part.items.size();
    std::vector<int> fitting;
    for (std::size_t i = 0; i < before; ++i) {
      if (!too_long(asks(part) ? i : 0)) fitting.push_back(part.items[i]);
    }
    part.items = std::move(fitting);
    done_ += static_cast<std::int64_t>(before - part.items.size());
    return part.items.size() < before;
  }

  void record(const Job& job, int item, const std::string& text) {
    const EvalItem& asked = item_of(job.part, item);
    ScoreRecord record;
    record.key = {{data_.file, job.part.document->id, item}, job.part.plan};
    record.kind = asked.kind;
    record.tokens = job.document_tokens;
    record.distance = distance_to_fact(job.part.document->document, asked, job.document_tokens);
    record.text = text;
    if (data_.kind == DataKind::kQa) {
      const SquadScore score = squad_score(text, asked.references);
      record.scores = {{"exact_match", score.exact_match}, {"f1", score.f1}, {"contains", score.contains}};
    } else {
      const RougeScore score = rouge_score(text, asked.references);
      record.scores = {{"rouge1", score.rouge1}, {"rouge2", score.rouge2}, {"rougeL", score.rouge_l}};
    }
    const Status appended = log_.append(std::move(record));
    if (ended_ && !appended) ended_ = appended;
    ++done_;
  }

  [[nodiscard]] Error failed(const Part& part, const Error& error) const {
    return error.with_context(fmt::format("{}: document {}", data_.file, part.document->id));
  }

  const ModelFolder& model_;
  const PlanSet& plans_;
  Engine& engine_;
  const EvalData& data_;
  const EvalSettings& settings_;
  ResultsLog& log_;
  std::vector<ItemKey> items_;
  std::vector<Part> parts_;  // those from the next one on are still to do
  std::map<RequestId, Job> jobs_;
  RequestId next_id_ = 1;
  std::int64_t done_ = 0, total_ = 0;  // items, each plan counted
  Status ended_ = ok_status();         // the first failure, to answer or to log
};

}  // namespace

Result<EvaluatedFile> score_generated(const ModelFolder& model, const PlanSet& plans, Engine& engine,
                                      const EvalData& data, const EvalSettings& settings, ResultsLog& log) {
  return GenerationRun(model, plans, engine, data, settings, log).run();
}

}  // namespace dslad::worker
