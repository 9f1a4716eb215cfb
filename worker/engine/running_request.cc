#include "worker/engine/running_request.h"

#include <algorithm>

namespace dslad::worker {
namespace {

std::int64_t count(const auto& container) {
  return static_cast<std::int64_t>(container.size());
}

// Tokens of head, tail and answer that a cache must hold. The last token of an answer is never taken in.
std::int64_t tokens_of(const EngineRequest& request, const std::vector<std::int32_t>& tail,
                       std::int64_t context) {
  return std::min(count(request.head) + count(tail) + request.max_tokens, context);
}

}  // namespace

RequestSize RequestSize::of(const EngineRequest& request, std::int64_t context) {
  RequestSize size{count(request.head), 0, request.tails.size() > 1};
  for (const auto& tail : request.tails)
    size.longest = std::max(size.longest, tokens_of(request, tail, context));
  return size;
}

std::int64_t RequestSize::pages(const Plan& plan, const CachePool& caches, std::int64_t reused) const {
  if (!shared_head) return caches.pages_to_fork(plan, reused, longest);
  return caches.pages_to_fork(plan, reused, head) + caches.pages_to_fork(plan, head, longest);
}

RunningRequest::RunningRequest(EngineRequest request, const RequestSize& size, std::int64_t context,
                               CachePool& caches, PrefixSnapshots* snapshots)
    : request_(std::move(request)), size_(size), context_(context), caches_(caches), snapshots_(snapshots) {
  progress.prompt_total = count(request_.head);
  for (const auto& tail : request_.tails) progress.prompt_total += count(tail);
}

std::optional<RunningRequest::Caches> RunningRequest::take(const EngineRequest& request,
                                                           const RequestSize& size, CachePool& pool,
                                                           const PrefixSnapshots::Match& prefix) {
  const std::int64_t tokens = size.shared_head ? size.head : size.longest;
  auto first = prefix.snapshot == nullptr
                   ? pool.allocate(request.plan, tokens)
                   : pool.resume(*prefix.snapshot, request.plan, prefix.tokens, tokens);
  if (!first) return std::nullopt;
  Caches caches{*std::move(first), std::nullopt};
  if (!size.shared_head) return caches;
  caches.lane = pool.fork(caches.first, size.head, size.longest);
  if (!caches.lane) return std::nullopt;
  return caches;
}

std::unique_ptr<RunningRequest> RunningRequest::admit(EngineRequest& request, std::int64_t context,
                                                      CachePool& caches, PrefixSnapshots* snapshots) {
  const RequestSize size = RequestSize::of(request, context);
  PrefixSnapshots::Match prefix;
  if (snapshots != nullptr) prefix = snapshots->find(*request.plan, request.head);
  // Before anything is taken: snapshots that give way to it are lost, so it must not be in vain.
  const auto fits = [&] {
    const std::int64_t held = prefix.snapshot == nullptr ? 0 : caches.spare_pages(*prefix.snapshot);
    return size.pages(*request.plan, caches, prefix.tokens) <= caches.free_pages() - held;
  };
  if (!fits()) prefix = {};  // with states it needs more memory than without
  if (!fits()) return nullptr;
  auto taken = take(request, size, caches, prefix);
  if (!taken && prefix.snapshot != nullptr) {
    prefix = {};  // whose pages lie where a run must
    taken = take(request, size, caches, prefix);
  }
  if (!taken) return nullptr;
  std::unique_ptr<RunningRequest> running(
      new RunningRequest(std::move(request), size, context, caches, snapshots));
  if (taken->lane) running->idle_lanes_.push_back(*std::move(taken->lane));
  auto first = std::make_unique<Sequence>();
  first->cache = std::move(taken->first);
  first->head_left = running->request_.head.size();
  if (!size.shared_head) {
    first->tail = 0;
    first->tail_left = running->request_.tails.front().size();
    running->next_tail_ = 1;
  }
  running->sequences_.push_back(std::move(first));
  running->begin_behind(prefix);
  return running;
}

void RunningRequest::begin_behind(const PrefixSnapshots::Match& prefix) {
  if (prefix.snapshot == nullptr) return;
  snapshots_->used(*prefix.snapshot);
  progress.prompt_done = progress.reused = prefix.tokens;
  Sequence& first = *sequences_.front();
  first.length = prefix.tokens;
  first.head_left = request_.head.size() - static_cast<std::size_t>(prefix.tokens);
}

void RunningRequest::look_again() {
  if (snapshots_ == nullptr || begun()) return;
  const PrefixSnapshots::Match prefix = snapshots_->find(*request_.plan, request_.head);
  if (prefix.tokens <= progress.reused) return;
  caches_.adopt(*prefix.snapshot, prefix.tokens, sequences_.front()->cache);
  for (SequenceCache& lane : idle_lanes_) caches_.adopt(*prefix.snapshot, prefix.tokens, lane);
  begin_behind(prefix);
}

bool RunningRequest::follows(const RunningRequest& other) const {
  if (snapshots_ == nullptr || begun() || request_.plan != other.request_.plan) return false;
  if (other.sequences_.empty() || other.sequences_.front()->length >= other.cut()) return false;
  const auto read = std::span(other.request_.head).first(static_cast<std::size_t>(other.cut()));
  return snapshots_->useful(*request_.plan, read, request_.head) > progress.reused;
}

void RunningRequest::start_tails(int most, int spare_sequences) {
  if (!head_) return;
  while (next_tail_ < request_.tails.size() && std::ssize(sequences_) < most) {
    const bool idle = !idle_lanes_.empty();
    if (!idle && spare_sequences <= 0) return;
    std::optional<SequenceCache> lane;
    if (idle) {
      lane = std::move(idle_lanes_.back());
      idle_lanes_.pop_back();
      caches_.refork(head_->cache, head_->length, *lane);
    } else {
      lane = caches_.fork(head_->cache, head_->length, size_.longest);
      if (!lane) return;
    }
    auto sequence = std::make_unique<Sequence>();
    sequence->tail = static_cast<int>(next_tail_);
    sequence->cache = *std::move(lane);
    sequence->length = head_->length;
    sequence->tail_left = request_.tails[next_tail_].size();
    sequences_.push_back(std::move(sequence));
    ++next_tail_;
    --spare_sequences;
  }
  idle_lanes_.clear();  // other requests may wait for their memory; those at work have one to go on in
}

std::int64_t RunningRequest::spare_pages() const {
  const std::int64_t lanes = std::ssize(sequences_) + std::ssize(idle_lanes_);
  if (!head_ || lanes == 0) return 0;
  return (lanes - 1) * caches_.pages_to_fork(*request_.plan, head_->length, size_.longest);
}

std::span<const std::int32_t> RunningRequest::next_pieces(const Sequence& sequence,
                                                          std::int64_t pieces) const {
  // Head and tail are cut apart, each at multiples of piece_rows(), so that a tail gives the same numbers
  // whether its head was processed for it alone or for others too.
  const auto first_of = [](const std::vector<std::int32_t>& part, std::size_t left, std::int64_t most) {
    return std::span(part).subspan(part.size() - left, std::min(left, static_cast<std::size_t>(most)));
  };
  std::int64_t most = pieces * caches_.device().piece_rows();
  if (sequence.head_left > 0) {
    // Keys and values stay as they are; states are those of the last token taken in.
    const std::int64_t before_cut = cut() - sequence.length;
    const bool stops = snapshots_ != nullptr && request_.plan->slots_pages() > 0 && before_cut > 0;
    if (stops) most = std::min(most, before_cut);
    return first_of(request_.head, sequence.head_left, most);
  }
  if (sequence.tail_left > 0)
    return first_of(request_.tails[static_cast<std::size_t>(sequence.tail)], sequence.tail_left, most);
  return {};
}

bool RunningRequest::wants_logits(const Sequence& sequence, std::size_t tokens) const {
  if (sequence.tail == Sequence::kHeadOnly) return false;
  return !sequence.in_prefill() || sequence.head_left + sequence.tail_left == tokens;
}

void RunningRequest::advance(Sequence& sequence, std::size_t tokens) {
  const std::int64_t before = sequence.length;
  sequence.length += static_cast<std::int64_t>(tokens);
  if (!sequence.in_prefill()) return;
  progress.prompt_done += static_cast<std::int64_t>(tokens);
  (sequence.head_left > 0 ? sequence.head_left : sequence.tail_left) -= tokens;
  if (snapshots_ != nullptr && before < cut() && sequence.length >= cut())
    snapshots_->keep(std::span(request_.head).first(static_cast<std::size_t>(cut())), sequence.cache);
  if (sequence.tail != Sequence::kHeadOnly || sequence.in_prefill()) return;
  head_ = std::move(sequence);
  sequences_.clear();  // a head is alone until it is complete
}

void RunningRequest::finish(Sequence& sequence) {
  ++answered_;
  if (head_) idle_lanes_.push_back(std::move(sequence.cache));
  std::erase_if(sequences_, [&](const auto& other) { return other.get() == &sequence; });
}

std::int64_t RunningRequest::max_tokens(const Sequence& sequence) const {
  const auto& tail = request_.tails[static_cast<std::size_t>(sequence.tail)];
  return std::min(request_.max_tokens, context_ - count(request_.head) - count(tail));
}

}  // namespace dslad::worker
