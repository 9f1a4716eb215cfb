#include "worker/engine/engine.h"

#include <algorithm>
#include <fmt/format.h>

#include "worker/model/device.h"

namespace dslad::worker {

namespace {

// Four pieces, of long ones two: a step is short enough for sequences that decode beside it.
std::int64_t prefill_rows(const EngineLimits& limits, const kernels::Device& device) {
  constexpr std::int64_t kMost = 2048;
  return limits.prefill_rows > 0 ? limits.prefill_rows : std::min(4 * device.piece_rows(), kMost);
}

// Of a step. The last piece that it takes in may be longer than what is left of the budget.
std::int64_t most_rows(const ModelWeights& weights, const EngineLimits& limits) {
  return prefill_rows(limits, *weights.device) + weights.device->piece_rows() + limits.max_sequences;
}

RowWidths row_widths(const ModelWeights& weights, const EngineLimits& limits) {
  const LlamaConfig& c = weights.config;
  RowWidths widths = limits.widest;
  widths.cover({.qkv = std::int64_t{c.heads + 2 * c.kv_heads} * c.head_dim});
  return widths;
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::create(std::unique_ptr<kernels::Backend> backend,
                                               std::shared_ptr<const ModelWeights> weights,
                                               const EngineLimits& limits) {
  const Status reserved = reserve(*backend, *weights, limits);
  if (!reserved) return reserved.error();
  auto caches =
      CachePool::create(*backend, kv_layout(weights->config, weights->kv_dtype()), limits.cache_bytes);
  if (!caches) return caches.error();
  std::unique_ptr<Engine> engine(
      new Engine(std::move(backend), std::move(weights), limits, *std::move(caches)));
  // A machine's memory, of which others have a part, is taken when it is needed.
  if (!engine->weights_->device->free_bytes()) return engine;
  const Status fits = engine->forward_.reserve(most_rows(*engine->weights_, limits), limits.max_sequences,
                                               row_widths(*engine->weights_, limits));
  if (!fits) return fits.error();
  return engine;
}

std::size_t Engine::bytes_beside(const ModelWeights& weights, const EngineLimits& limits) {
  return Forward::bytes(weights.config, row_widths(weights, limits), most_rows(weights, limits),
                        limits.max_sequences);
}

Status Engine::reserve(kernels::Backend& backend, const ModelWeights& weights, const EngineLimits& limits) {
  const LlamaConfig& c = weights.config;
  const RowWidths widths = row_widths(weights, limits);
  const std::int64_t heads = std::int64_t{c.heads} * c.head_dim, hidden = c.hidden_size,
                     width = c.intermediate_size;
  kernels::StepLimits step;
  step.rows = most_rows(weights, limits);
  step.sequences = limits.max_sequences;
  step.context = c.context;
  step.layers = c.layers;
  step.n_heads = c.heads;
  step.kv = kv_layout(c, weights.kv_dtype());
  step.weights = kernels::compute_type(weights.format);
  step.most_k = std::max({hidden, heads, width});
  step.most_n =
      std::max({hidden, widths.qkv, 2 * c.kv_heads * widths.d_k, 2 * width, std::int64_t{c.vocab_size}});
  step.most_d_k = static_cast<int>(widths.d_k);
  if (backend.reserve(step)) return ok_status();
  return no_memory(backend.device(),
                   fmt::format("{} has no memory for what steps of {} rows work in, of {} sequences of up to "
                               "{} tokens; give it more, or take a smaller model",
                               backend.device().name(), step.rows, step.sequences, step.context));
}

Engine::Engine(std::unique_ptr<kernels::Backend> backend, std::shared_ptr<const ModelWeights> weights,
               const EngineLimits& limits, std::unique_ptr<CachePool> caches)
    : backend_(std::move(backend)),
      weights_(std::move(weights)),
      limits_(limits),
      prefill_rows_(prefill_rows(limits, *weights_->device)),
      caches_(std::move(caches)),
      snapshots_(limits.prefix_snapshots ? std::make_unique<PrefixSnapshots>(*caches_) : nullptr),
      forward_(*backend_, weights_, *caches_) {}

Status Engine::check(const EngineRequest& request) const {
  const std::int64_t context = weights_->config.context;
  if (request.head.empty() || request.tails.empty() || request.max_tokens < 1) {
    return Error{ErrorCode::kInvalidArgument, "the prompt is empty or max_tokens is below 1"};
  }
  for (const auto& tail : request.tails) {
    if (tail.empty() && request.tails.size() > 1) {
      return Error{ErrorCode::kInvalidArgument, "a question adds no tokens to its document"};
    }
    const std::size_t prompt = request.head.size() + tail.size();
    if (prompt >= static_cast<std::size_t>(context)) {
      return Error{
          ErrorCode::kInvalidArgument,
          fmt::format(
              "the prompt has {} tokens, but the model's context is {} and the answer needs room too; "
              "shorten the document, or submit it with --overflow truncate or map-reduce",
              prompt, context)};
    }
  }
  const auto in_vocabulary = [&](std::int32_t id) { return id >= 0 && id < weights_->config.vocab_size; };
  bool known = std::all_of(request.head.begin(), request.head.end(), in_vocabulary);
  for (const auto& tail : request.tails)
    known = known && std::all_of(tail.begin(), tail.end(), in_vocabulary);
  if (!known)
    return Error{ErrorCode::kInvalidArgument, "the tokenizer yields ids beyond the model's vocabulary"};
  if (request.plan == nullptr || request.plan->layers() != weights_->config.layers ||
      request.plan->kv().page_bytes() != caches_->page_bytes()) {
    return Error{ErrorCode::kInvalidArgument, "the request's plan is of another model than the engine's"};
  }
  const std::int64_t pages = RequestSize::of(request, context).pages(*request.plan, *caches_);
  if (pages > caches_->total_pages()) {
    const auto mib = [&](std::int64_t n) {
      return (static_cast<std::size_t>(n) * caches_->page_bytes()) >> 20;
    };
    return Error{
        ErrorCode::kResourceExhausted,
        fmt::format(
            "the job needs {} MiB of caches, but the budget is {} MiB; raise it or shorten the document",
            mib(pages) + 1, mib(caches_->total_pages()))};
  }
  return ok_status();
}

Status Engine::add(EngineRequest request) {
  Status checked = check(request);
  if (!checked) return checked;
  const RequestSize size = RequestSize::of(request, weights_->config.context);
  const std::int64_t known = snapshots_ ? snapshots_->find(*request.plan, request.head).tokens : 0;
  seen_.push_back({size, size.head - known});
  if (seen_.size() > kSeen) seen_.pop_front();
  waiting_.push_back(std::move(request));
  admit();
  return checked;
}

RequestNeeds Engine::needs(const EngineRequest& request) const {
  std::int64_t longest_tail = 0;
  for (const auto& tail : request.tails) longest_tail = std::max(longest_tail, std::ssize(tail));
  const RequestSize size = RequestSize::of(request, weights_->config.context);
  return {std::ssize(request.head) + longest_tail + 1,
          static_cast<std::size_t>(size.pages(*request.plan, *caches_)) * caches_->page_bytes()};
}

std::int64_t Engine::longest(const Plan& plan) const {
  // Questions that share a document take a little more than one does, most where it ends within a page.
  const auto fits = [&](std::int64_t tokens) {
    const auto pages = [&](std::int64_t head) {
      return RequestSize{head, tokens, true}.pages(plan, *caches_);
    };
    return std::max(pages(tokens - 1), pages(tokens - 2)) <= caches_->total_pages();
  };
  std::int64_t least = 2, beyond = weights_->config.context + 1;
  while (least + 1 < beyond) {
    const std::int64_t middle = least + (beyond - least) / 2;
    (fits(middle) ? least : beyond) = middle;
  }
  return least;
}

bool Engine::running(RequestId id) const {
  return std::ranges::any_of(running_, [&](const auto& running) { return running->request().id == id; });
}

std::int64_t Engine::room(const Plan& plan) const {
  if (!waiting_.empty()) return 0;
  std::int64_t pages = 0;
  for (const Seen& seen : seen_) pages += seen.size.pages(plan, *caches_);
  const auto requests = std::max<std::int64_t>(std::ssize(seen_), 1);
  if (seen_.empty()) pages = caches_->pages_needed(plan, weights_->config.context);
  const std::int64_t fit = caches_->free_pages() * requests / std::max<std::int64_t>(pages, 1);
  return std::clamp<std::int64_t>(limits_.max_sequences - sequences_in_work(), 0, fit);
}

bool Engine::begun(RequestId id) const {
  return std::ranges::any_of(
      running_, [&](const auto& running) { return running->request().id == id && running->begun(); });
}

std::int64_t Engine::wants(const Plan& plan) const {
  constexpr std::int64_t kSteps = 2;
  std::int64_t tokens = kSteps * prefill_rows_;
  std::int64_t admitted = 0;  // and not begun
  for (const auto& running : running_) {
    const RequestProgress& progress = running->progress;
    if (running->begun()) {
      tokens -= progress.prompt_total - progress.prompt_done;
    } else {
      ++admitted;
    }
  }
  if (tokens <= 0) return 0;
  std::int64_t usual = seen_.empty() ? weights_->config.context : 0;
  for (const Seen& seen : seen_) usual += seen.unread;
  usual = std::max<std::int64_t>(1, usual / std::max<std::int64_t>(1, std::ssize(seen_)));
  return std::min(admitted + room(plan), (tokens + usual - 1) / usual);
}

bool Engine::cancel(RequestId id) {
  const auto gone = std::erase_if(waiting_, [&](const auto& request) { return request.id == id; }) +
                    std::erase_if(running_, [&](const auto& running) { return running->request().id == id; });
  forget_ended();
  return gone > 0;
}

int Engine::sequences_in_work() const {
  std::size_t count = 0;
  for (const auto& running : running_) count += running->sequences().size();
  return static_cast<int>(count);
}

void Engine::admit() {
  start_tails();
  while (!waiting_.empty() && sequences_in_work() < limits_.max_sequences) {
    // Where memory is as it was, the answer would be, too: an attempt reads the whole arena and may empty
    // states.
    const RequestId first = waiting_.front().id;
    if (refused_ == Refused{first, caches_->changes()}) return;
    auto running =
        RunningRequest::admit(waiting_.front(), weights_->config.context, *caches_, snapshots_.get());
    if (!running) {
      ++counters_.refused;
      refused_ = Refused{first, caches_->changes()};
      return;
    }
    waiting_.pop_front();
    ++counters_.admitted;
    running_.push_back(std::move(running));
  }
  if (waiting_.empty()) start_tails();
}

// Older requests first. But hundreds of questions must not hold up a small job behind them: while one waits
// that there could be room for, those with many questions at work go on with ever fewer.
void Engine::start_tails() {
  const int at_work = sequences_in_work();
  const int requests = static_cast<int>(running_.size() + waiting_.size());
  const int most = could_make_room() ? std::max(1, at_work / requests) : limits_.max_sequences;
  for (const auto& running : running_)
    running->start_tails(most, limits_.max_sequences - sequences_in_work());
}

bool Engine::could_make_room() const {
  if (waiting_.empty()) return false;
  const EngineRequest& next = waiting_.front();
  std::int64_t pages = caches_->free_pages();
  for (const auto& running : running_) pages += running->spare_pages();
  return RequestSize::of(next, weights_->config.context).pages(*next.plan, *caches_) <= pages;
}

std::vector<Engine::Part> Engine::choose() const {
  std::vector<Part> parts;
  for (auto mine = running_.begin(); mine != running_.end(); ++mine) {
    const auto& running = *mine;
    // What an older request reads is read once, for both.
    if (std::any_of(running_.begin(), mine, [&](const auto& older) { return running->follows(*older); }))
      continue;
    for (const auto& sequence : running->sequences())
      parts.push_back({running.get(), sequence.get(), sequence->length, sequence->next_token, {}});
  }
  std::vector<Part*> reading;
  for (Part& part : parts) {
    if (part.sequence->in_prefill()) reading.push_back(&part);
  }
  share_rows(reading);
  std::erase_if(parts, [](const Part& part) { return part.sequence->in_prefill() && !part.prefill(); });
  return parts;
}

// The oldest first, as many pieces as there are rows for; but where there are rows for more than one, a piece
// is kept for the request with the least left. The last one's rows may be more than were left.
void Engine::share_rows(std::span<Part* const> reading) const {
  const std::int64_t piece = weights_->device->piece_rows();
  if (reading.empty()) return;
  std::int64_t left = prefill_rows_;
  const auto give = [&](Part& part, std::int64_t rows) {
    left += std::ssize(part.prompt);  // which are among those that it gets now
    part.prompt = part.request->next_pieces(*part.sequence, (rows + piece - 1) / piece);
    left -= std::ssize(part.prompt);
  };
  Part& shortest =
      **std::ranges::min_element(reading, {}, [](const Part* part) { return part->request->prompt_left(); });
  if (left > piece) give(shortest, piece);
  for (Part* const part : reading) {
    if (left > 0) give(*part, left + std::ssize(part->prompt));
  }
}

}  // namespace dslad::worker
