#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "worker/eval/chain_quality.h"
#include "worker/eval/choices.h"
#include "worker/eval/generation.h"
#include "worker/eval/perplexity.h"
#include "worker/eval/summary_report.h"
#include "worker/files/read_file.h"
#include "worker/model/device.h"
#include "worker/model/digest.h"
#include "worker/tools/status_line.h"
#include "worker/tools/verbs.h"

namespace dslad::worker {
namespace {

// Of what a record in the results holds: raised when a kind of file is scored in another way.
constexpr const char* kScores = "2";

Result<std::vector<EvalData>> load_files(const std::vector<std::string>& paths) {
  std::vector<EvalData> files;
  for (const std::string& path : paths) {
    const auto same = [&](const EvalData& file) { return file.file == path; };
    if (std::ranges::any_of(files, same)) {
      return Error{ErrorCode::kInvalidArgument, path + ": the file is named twice"};
    }
    auto file = load_eval_data(path);
    if (!file) return file.error();
    files.push_back(*std::move(file));
  }
  return files;
}

// Plan 0, which all else is measured against, and those asked for; "all" are those of the chain, and without
// one those of all layers, undistilled.
Result<std::vector<int>> plans_of(const std::string& text, int plan, const LoadedChain& chain) {
  const int layers = chain.order.layers();
  std::vector<int> plans = {0, plan};
  if (text == "all") {
    const int last = chain.layers.empty() ? layers : static_cast<int>(chain.layers.size());
    for (int n = 1; n <= last; ++n) plans.push_back(n);
  } else {
    for (const char *at = text.data(), *const end = at + text.size(); at < end; ++at) {
      int& n = plans.emplace_back();
      const auto [after, problem] = std::from_chars(at, end, n);
      if (problem != std::errc() || (after != end && *after != ',')) {
        return Error{ErrorCode::kInvalidArgument,
                     fmt::format("plans '{}' are no list; write all, or numbers as in 0,4,6", text)};
      }
      at = after;
    }
  }
  std::ranges::sort(plans);
  plans.erase(std::unique(plans.begin(), plans.end()), plans.end());
  if (plans.front() < 0 || plans.back() > layers) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("plan {} is out of range; the model has {} layers",
                             plans.front() < 0 ? plans.front() : plans.back(), layers)};
  }
  return plans;
}

// Of what plans run: the order and the layers' files.
std::string chain_digest(const LoadedChain& chain) {
  if (!chain.manifest) return "none";
  Digest digest;
  for (const int layer : chain.manifest->order) digest.add(fmt::format("{},", layer));
  for (const DistilledLayer& layer : chain.manifest->distilled) digest.add(layer.checksum);
  digest.add(fmt::format("{} usable", chain.layers.size()));
  return digest.hex();
}

// Of the small files that decide what the weights are asked.
std::string settings_digest(const std::filesystem::path& model) {
  constexpr std::size_t kMaxBytes = 256 << 20;
  Digest digest;
  for (const char* name :
       {"dslad.toml", "config.json", "generation_config.json", "tokenizer_config.json",
        "special_tokens_map.json", "chat_template.jinja", "chat_template.json", "tokenizer.json",
        "added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt"}) {
    const auto content = read_file(model / name, kMaxBytes);
    digest.add(fmt::format("{} {}:", name, content ? content->size() : 0));
    if (content) digest.add(*content);
  }
  return digest.hex();
}

// How far a file is, with rate and time left.
class Progress {
 public:
  explicit Progress(std::string file) : file_(std::move(file)) {}

  // The first call says where this run begins: only what comes after it counts for the rate.
  void update(std::int64_t done, std::int64_t total) {
    if (first_ < 0) first_ = done;
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    const double rate = static_cast<double>(done - first_) / std::max(seconds, 1e-9);
    const std::string left =
        rate > 0 ? fmt::format(", {} left", readable_seconds(static_cast<double>(total - done) / rate)) : "";
    line_.show(fmt::format("{}: {} of {}, {:.2f}/s{}", file_, done, total, rate, left));
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::string file_;
  std::int64_t first_ = -1;
  Clock::time_point start_ = Clock::now();
  StatusLine line_;
};

// One evaluation: what is open while it runs.
class Evaluation {
 public:
  Evaluation(const ToolOptions& options, const EvalOptions& eval, const ModelFolder& model)
      : options_(options), eval_(eval), model_(model) {}

  Status run(std::span<const EvalData> files) {
    auto plans = plans_of(eval_.plans, options_.plan, model_.chain);
    if (!plans) return plans.error();
    settings_.plans = *std::move(plans);
    options_.plan = settings_.plans.back();
    report_chain(model_.chain, options_.plan);
    if (eval_.write_chain && !model_.chain.manifest) {
      return Error{ErrorCode::kRefused,
                   fmt::format("{} holds no chain of this model that --write-chain could write into",
                               chain_dir().string())};
    }
    if (eval_.write_chain && options_.plan > static_cast<int>(model_.chain.layers.size())) {
      return Error{ErrorCode::kRefused,
                   fmt::format("plan {} cannot be written into the chain: {} layers of it are distilled",
                               options_.plan, model_.chain.layers.size())};
    }
    if (eval_.limit > 0) settings_.limit = eval_.limit;
    settings_.max_tokens = eval_.max_tokens;
    settings_.window = eval_.window;
    settings_.stride = eval_.stride;
    if (!eval_.out.empty()) {
      auto log = ResultsLog::open(eval_.out, facts(files), eval_.resume);
      if (!log) return log.error();
      log_ = *std::move(log);
    }
    for (const EvalData& file : files) {
      const auto evaluated = evaluate(file);
      if (!evaluated) return evaluated.error();
      summaries_.push_back(summarize_file(file, *evaluated, settings_.plans, log_, eval_.seed));
    }
    return eval_.write_chain ? write_chain() : ok_status();
  }

  void print() const {
    const auto lines = headlines(summaries_, settings_.plans);
    if (options_.json) {
      nlohmann::ordered_json out = {{"measured_by", "dslad-model eval " DSLAD_VERSION},
                                    {"model", model_.name},
                                    {"digest", model_.weights->digest},
                                    {"dtype", options_.dtype}};
      for (const PlanHeadline& line : lines) out["plans"].push_back(to_json(line));
      for (const FileSummary& file : summaries_) out["files"].push_back(to_json(file));
      fmt::print("{}\n", out.dump());
      return;
    }
    for (const FileSummary& file : summaries_) fmt::print("{}\n", to_table(file));
    fmt::print("{}", to_table(lines));
  }

 private:
  [[nodiscard]] std::filesystem::path chain_dir() const {
    return eval_.chain.empty() ? chain_folder(options_.model) : std::filesystem::path(eval_.chain);
  }

  // Everything that a record depends on.
  [[nodiscard]] ResultsLog::Facts facts(std::span<const EvalData> files) const {
    ResultsLog::Facts facts = {{"model", model_.weights->digest},
                               {"chain", chain_digest(model_.chain)},
                               {"settings", settings_digest(options_.model)},
                               {"dtype", options_.dtype},
                               {"scores", kScores},
                               {"max_tokens", std::to_string(settings_.max_tokens)},
                               {"window", std::to_string(settings_.window)},
                               {"stride", std::to_string(settings_.stride)}};
    for (const EvalData& file : files) facts.emplace_back("data " + file.file, file.digest);
    return facts;
  }

  // Engine and scorer live for one file each, so that only one of them holds caches.
  Result<EvaluatedFile> evaluate(const EvalData& file) {
    Progress line(file.file);
    settings_.progress = [&](std::int64_t done, std::int64_t total) { line.update(done, total); };
    if (file.kind == DataKind::kQa || file.kind == DataKind::kSummarize) {
      const auto plans = PlanSet::create(*model_.weights, model_.chain, options_.plan);
      if (!plans) return plans.error();
      const auto engine = make_engine(model_.weights, options_);
      if (!engine) return engine.error();
      return score_generated(model_, *plans, **engine, file, settings_, log_);
    }
    const auto backend = make_backend(*model_.weights->device, threads_of(options_));
    if (!backend) return backend.error();
    const auto scorer = make_scorer(**backend);
    if (!scorer) return scorer.error();
    const auto score = file.kind == DataKind::kText ? score_text : score_choices;
    return score(model_, **scorer, file, settings_, log_);
  }

  Result<std::unique_ptr<TokenScorer>> make_scorer(kernels::Backend& backend) const {
    auto plans = PlanSet::create(*model_.weights, model_.chain, options_.plan);
    if (!plans) return plans.error();
    return TokenScorer::create(backend, model_.weights, *std::move(plans),
                               static_cast<std::size_t>(options_.cache_mib) << 20);
  }

  [[nodiscard]] bool begins_as_measured(const ChainManifest& now) const {
    if (!model_.chain.manifest) return true;  // plan 0 alone was measured
    const std::vector<DistilledLayer>& measured = model_.chain.manifest->distilled;
    return measured.size() <= now.distilled.size() &&
           std::equal(measured.begin(), measured.end(), now.distilled.begin(),
                      [](const auto& a, const auto& b) { return a.checksum == b.checksum; });
  }

  // Into the manifest as it is now: distilling may have gone on meanwhile.
  [[nodiscard]] Status write_chain() const {
    return update_chain_manifest(chain_dir(), [&](Result<ChainManifest> manifest) -> Result<ChainManifest> {
      if (manifest && !begins_as_measured(*manifest)) {
        return Error{
            ErrorCode::kRefused,
            fmt::format("{}: another chain has taken its place since it was measured; measure that one",
                        (chain_dir() / kChainFile).string())};
      }
      if (manifest) {
        add_quality(*manifest, headlines(summaries_, settings_.plans), summaries_,
                    fmt::format("dslad-model eval {}, {}", DSLAD_VERSION, options_.dtype));
      }
      return manifest;
    });
  }

  ToolOptions options_;
  const EvalOptions& eval_;
  const ModelFolder& model_;
  EvalSettings settings_;
  ResultsLog log_;
  std::vector<FileSummary> summaries_;
};

}  // namespace

int eval(const ToolOptions& options, const EvalOptions& eval) {
  const auto format = parse_format(options.dtype);
  if (!format) return fail(format.error());
  const auto files = load_files(eval.files);
  if (!files) return fail(files.error());
  const auto device = open_device(options.device, *format);
  if (!device) return fail(device.error());
  const auto model = ModelFolder::load(options.model, *format, {}, eval.chain, *device);
  if (!model) return fail(model.error());
  Evaluation evaluation(options, eval, *model);
  const Status done = evaluation.run(*files);
  if (!done) return fail(done.error());
  evaluation.print();
  return 0;
}

}  // namespace dslad::worker
