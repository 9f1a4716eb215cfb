// A step of the engine: what it is asked with, what is drawn, and what becomes of it.
#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "worker/engine/engine.h"
#include "worker/model/device.h"

namespace dslad::worker {

using kernels::RowKind;

Result<bool> Engine::step(EngineSink& sink) {
  admit();
  std::optional<Asked> step = std::exchange(ahead_, std::nullopt);
  const bool in_vain =
      step && std::ranges::all_of(step->parts, [](const Part& part) { return part.request == nullptr; });
  if (in_vain) {
    read_tokens(*step);
    step.reset();
    if (const Status sound = check_backend(*backend_); !sound) return sound.error();
  }
  if (!step) {
    for (const auto& running : running_) running->look_again();
    std::vector<Part> parts = choose();
    if (parts.empty()) return false;
    Result<Asked> asked = ask(std::move(parts));
    if (!asked) return asked.error();
    step = *std::move(asked);
  }
  ahead_ = look_ahead(*step);
  // Prompts alone: else their time would be the next step's, and progress be told before it was made.
  step->drawn.empty() ? backend_->wait() : read_tokens(*step);
  if (const Status sound = check_backend(*backend_); !sound) return sound.error();
  settle(*step, sink);
  const Clock::time_point since = std::exchange(settled_, Clock::now());
  account(step->parts,
          std::chrono::duration<double, std::milli>(settled_ - std::max(since, step->since)).count());
  retire(sink);
  forget_ended();
  return true;
}

Result<Engine::Asked> Engine::ask(std::vector<Part> parts) {
  const Clock::time_point now = Clock::now();
  std::vector<StepSequence> step;
  step.reserve(parts.size());
  for (const Part& part : parts) {
    step.push_back({&part.sequence->cache, part.context,
                    part.prefill() ? part.prompt : std::span<const std::int32_t>(&part.token, 1),
                    part.prefill() ? RowKind::kPrefill : RowKind::kDecode,
                    part.wants_logits() ? LogitRows::kLast : LogitRows::kNone});
  }
  const Status ran = forward_.run(step);
  if (!ran) return ran.error();
  Asked asked{std::move(parts), {}, now};
  asked.drawn = draw(asked.parts);
  return asked;
}

std::optional<Engine::Asked> Engine::look_ahead(const Asked& step) {
  if (!limits_.look_ahead || !backend_->works_apart()) return std::nullopt;
  std::vector<Part> parts = parts_behind(step);
  if (parts.empty()) return std::nullopt;
  Result<Asked> asked = ask(std::move(parts));
  if (!asked) return std::nullopt;  // said again by the step that is asked for when these tokens are known
  ++counters_.ahead;
  return *std::move(asked);
}

// None where it would not be what choose() chose, but for sequences that may end now: while a prompt is read
// or could be, and where likelihoods are asked for, which are told by logits that the next step overwrites.
std::vector<Engine::Part> Engine::parts_behind(const Asked& step) const {
  std::vector<Part> parts;
  std::int32_t row = 0;
  for (const Drawn& drawn : step.drawn) {
    const Part& part = *drawn.part;
    const std::int32_t token = kernels::drawn_id(row++);
    if (part.request == nullptr) continue;
    if (part.prefill() || part.request->request().likelihoods) return {};
    if (part.sequence->generated + 1 >= part.request->max_tokens(*part.sequence)) continue;
    parts.push_back({part.request, part.sequence, part.context + 1, token, {}});
  }
  for (const auto& running : running_) {
    for (const auto& sequence : running->sequences()) {
      const auto is_its = [&](const Part& part) { return part.sequence == sequence.get(); };
      if (std::ranges::none_of(step.parts, is_its)) return {};
    }
  }
  return parts;
}

void Engine::forget_ended() {
  if (!ahead_) return;
  for (Part& part : ahead_->parts) {
    const bool at_work = std::ranges::any_of(running_, [&](const auto& running) {
      return running.get() == part.request &&
             std::ranges::any_of(running->sequences(),
                                 [&](const auto& sequence) { return sequence.get() == part.sequence; });
    });
    if (!at_work) part.request = nullptr;
  }
}

// Divides the step's time among the requests that took part. A request's parts lie side by side.
void Engine::account(const std::vector<Part>& parts, double ms) {
  ++counters_.steps;
  counters_.busy_ms += ms;
  std::size_t rows = 0;
  for (const Part& part : parts) rows += part.rows();
  const double ms_per_row = ms / static_cast<double>(rows);
  for (auto part = parts.begin(); part != parts.end();) {
    if (part->request == nullptr) {
      ++part;
      continue;
    }
    RunningRequest& request = *part->request;
    bool prefill = false, decode = false;
    for (; part != parts.end() && part->request == &request; ++part) {
      const double share = ms_per_row * static_cast<double>(part->rows());
      (part->prefill() ? request.times.prefill_work_ms : request.times.decode_work_ms) += share;
      (part->prefill() ? prefill : decode) = true;
    }
    (prefill ? request.times.prefill_ms : request.times.decode_ms) += ms;
    if (!decode) continue;
    ++request.times.decode_steps;
    request.times.decode_company += std::ssize(parts);
  }
}

void Engine::settle(const Asked& step, EngineSink& sink) {
  for (const Part& part : step.parts) {
    if (part.request == nullptr) continue;
    counters_.prompt_tokens += part.prompt.size();
    if (!part.request->begun()) count_begun(part.request->progress);
    part.request->advance(*part.sequence, part.rows());
  }
  for (const Drawn& next : step.drawn) {
    const Part& part = *next.part;
    if (part.request == nullptr) continue;
    if (part.request->failure) continue;  // in this step, by another of its questions
    if (next.token == kernels::kNoToken) {
      part.request->failure = not_finite(part);
    } else {
      part.sequence->log_p += next.log_p;
      take_token(part, next.token, sink);
    }
  }
}

// Asks for the next token of each part whose logits the step was asked for.
std::vector<Engine::Drawn> Engine::draw(const std::vector<Part>& parts) {
  std::vector<Drawn> drawn;
  std::vector<kernels::SampleArgs> rows;
  for (const Part& part : parts) {
    if (!part.wants_logits()) continue;
    const EngineRequest& request = part.request->request();
    // Questions of one document draw apart.
    const std::uint64_t seed =
        request.seed + 0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(part.sequence->tail);
    const auto position = static_cast<std::uint64_t>(part.context) + part.rows();
    rows.push_back({forward_.logits(rows.size()), request.temperature, request.top_p, seed, position});
    drawn.push_back({&part, rows.back().logits});
  }
  if (!rows.empty()) backend_->draw(rows);
  return drawn;
}

// And how likely they are, where their requests ask for it.
void Engine::read_tokens(Asked& step) {
  std::vector<std::int32_t> tokens(step.drawn.size());
  backend_->drawn(tokens);
  std::vector<kernels::ChosenToken> chosen;
  std::vector<Drawn*> wanted;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    Drawn& drawn = step.drawn[i];
    drawn.token = tokens[i];
    if (drawn.part->request == nullptr || !drawn.part->request->request().likelihoods) continue;
    if (drawn.token == kernels::kNoToken) continue;
    chosen.push_back({drawn.logits, drawn.token});
    wanted.push_back(&drawn);
  }
  std::vector<double> nats(chosen.size());
  backend_->log_probabilities(chosen, nats);
  for (std::size_t i = 0; i < wanted.size(); ++i) wanted[i]->log_p = nats[i];
}

void Engine::count_begun(const RequestProgress& progress) {
  ++counters_.begun;
  counters_.reused_tokens += static_cast<std::uint64_t>(progress.reused);
  if (progress.reused > 0) ++counters_.reusing;
}

Error Engine::not_finite(const Part& part) const {
  const Plan& plan = *part.request->request().plan;
  const std::string what = fmt::format("logits are not finite after {} tokens", part.sequence->length);
  if (plan.number() == 0) {
    return {
        ErrorCode::kCorrupt,
        fmt::format("plan 0 (no layer converted): {}: the model's weights are damaged, or too large for {}; "
                    "compare its files with where they came from",
                    what, to_string(weights_->format))};
  }
  const int last = plan.order().layer_at(plan.number() - 1);
  return {
      ErrorCode::kCorrupt,
      fmt::format("plan {} (edition {}, layer {} converted last): {}: a converted layer is damaged or was "
                  "distilled badly; use a smaller plan, or distil layer {} anew",
                  plan.number(), plan.edition().empty() ? "none" : plan.edition().substr(0, 8), last, what,
                  last)};
}

void Engine::take_token(const Part& part, std::int32_t token, EngineSink& sink) {
  Sequence& sequence = *part.sequence;
  const RequestId id = part.request->request().id;
  const EngineRequest& request = part.request->request();
  const auto among = [&](const std::vector<std::int32_t>& ends) {
    return std::ranges::find(ends, token) != ends.end();
  };
  const bool end = !request.ignore_eos && (among(weights_->config.eos_token_ids) || among(request.ends));
  bool stop = end;
  if (!end) {
    ++sequence.generated;
    ++part.request->progress.output_tokens;
    ++counters_.output_tokens;
    sequence.next_token = token;
    stop = !sink.on_token(id, sequence.tail, token);
  }
  if (!stop && sequence.generated < part.request->max_tokens(sequence)) return;
  const auto chosen = static_cast<double>(sequence.generated + (end ? 1 : 0));
  sink.on_answer(id, sequence.tail, stop ? AnswerEnd::kStop : AnswerEnd::kLength, sequence.log_p / chosen);
  part.request->finish(sequence);
}

void Engine::retire(EngineSink& sink) {
  for (const auto& running : running_) {
    const RequestId id = running->request().id;
    if (running->failure) {
      sink.on_failed(id, running->progress, running->times, *running->failure);
      continue;
    }
    sink.on_progress(id, running->progress);
    if (running->done()) sink.on_done(id, running->progress, running->times);
  }
  std::erase_if(running_, [](const auto& running) { return running->done() || running->failure; });
}

}  // namespace dslad::worker
