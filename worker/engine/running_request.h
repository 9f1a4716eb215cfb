// An admitted request: its sequences, the caches that they hold and what each wants from the next step.
//
// A request with one tail is one sequence from head to answer. With several tails the head is its own
// sequence; when it is complete, each tail continues a copy of it in a lane: a cache taken at admission, so
// that a request always finishes, plus more lanes while memory is free. Where another request has left a
// snapshot of the head's beginning, it begins behind that. Thread safety: one user at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/rows.h"
#include "worker/engine/cache_pool.h"
#include "worker/engine/prefix_snapshots.h"
#include "worker/engine/request.h"

namespace dslad::worker {

// One sequence on its way: prompt pieces first, then a token a step.
struct Sequence {
  static constexpr int kHeadOnly = -1;

  int tail = kHeadOnly;  // whose answer it writes
  SequenceCache cache;
  std::int64_t length = 0;                   // tokens in the cache
  std::size_t head_left = 0, tail_left = 0;  // prompt tokens still to process
  std::int32_t next_token = 0;               // the token that the next decode step takes in
  std::int64_t generated = 0;
  double log_p = 0;  // of the tokens that were chosen, summed, where likelihoods are asked for

  [[nodiscard]] bool in_prefill() const { return head_left + tail_left > 0; }
};

// What the memory that a request takes depends on, beside its plan.
struct RequestSize {
  std::int64_t head = 0;     // tokens
  std::int64_t longest = 0;  // tokens of head, tail and answer, of its longest tail
  bool shared_head = false;  // there are several tails

  static RequestSize of(const EngineRequest& request, std::int64_t context);
  // Pages that RunningRequest::admit() takes, beside those of a snapshot of the first `reused` tokens.
  [[nodiscard]] std::int64_t pages(const Plan& plan, const CachePool& caches, std::int64_t reused = 0) const;
};

class RunningRequest {
 public:
  // Takes the memory to run `request` to its end; nothing when it is not free now (request is left as it
  // was). `snapshots` may be null: there are none.
  static std::unique_ptr<RunningRequest> admit(EngineRequest& request, std::int64_t context,
                                               CachePool& caches, PrefixSnapshots* snapshots);

  // Before its first step: begins with a snapshot that was taken since it was admitted, in the memory that it
  // has.
  void look_again();
  // Whether `other` reads what this one could use of its snapshot, and has not come to it yet: nothing is
  // gained by reading it twice.
  [[nodiscard]] bool follows(const RunningRequest& other) const;

  // Starts tails whose head is complete, until `most` (at least one) are at work: in idle lanes first, in new
  // ones while `spare_sequences` and memory last. Lanes that are not needed for that are given back.
  void start_tails(int most, int spare_sequences);

  // Pages of its lanes but one: it could go on without them.
  [[nodiscard]] std::int64_t spare_pages() const;

  // The prompt tokens of the sequence's next pieces, at most so many, for one step; empty in decode. Where
  // pieces end is the prompt's alone: after every piece_rows() tokens of the device, and where its head does.
  // No step goes beyond a head's end, nor beyond where a snapshot needs the states as they are there.
  [[nodiscard]] std::span<const std::int32_t> next_pieces(const Sequence& sequence,
                                                          std::int64_t pieces) const;
  // Whether logits are wanted after the next `tokens` tokens of the sequence: at the end of a prompt, and in
  // decode.
  [[nodiscard]] bool wants_logits(const Sequence& sequence, std::size_t tokens) const;

  // The sequence's step is done: `tokens` prompt tokens or one decode token were taken in.
  void advance(Sequence& sequence, std::size_t tokens);
  // The sequence's answer ended: its lane is free for the next tail.
  void finish(Sequence& sequence);

  [[nodiscard]] std::int64_t max_tokens(const Sequence& sequence) const;  // of its answer, within the context
  [[nodiscard]] std::int64_t prompt_left() const { return progress.prompt_total - progress.prompt_done; }
  // Whether a step has taken in a part of its prompt.
  [[nodiscard]] bool begun() const { return progress.prompt_done > progress.reused; }
  [[nodiscard]] bool done() const { return answered_ == request_.tails.size(); }
  [[nodiscard]] const EngineRequest& request() const { return request_; }
  [[nodiscard]] std::vector<std::unique_ptr<Sequence>>& sequences() { return sequences_; }

  RequestProgress progress;
  RequestTimes times;
  std::optional<Error> failure;  // it has no answer; it is done at the end of the step

 private:
  [[nodiscard]] std::int64_t cut() const {
    return snapshots_ == nullptr ? 0 : snapshots_->cut(std::ssize(request_.head));
  }
  // The memory that it begins with.
  struct Caches {
    SequenceCache first;
    std::optional<SequenceCache> lane;  // of a shared head's first tail
  };
  static std::optional<Caches> take(const EngineRequest& request, const RequestSize& size, CachePool& pool,
                                    const PrefixSnapshots::Match& prefix);
  void begin_behind(const PrefixSnapshots::Match& prefix);
  RunningRequest(EngineRequest request, const RequestSize& size, std::int64_t context, CachePool& caches,
                 PrefixSnapshots* snapshots);

  EngineRequest request_;
  RequestSize size_;
  std::int64_t context_;
  CachePool& caches_;
  PrefixSnapshots* snapshots_;    // null: none are taken
  std::optional<Sequence> head_;  // complete head of several tails
  std::vector<SequenceCache> idle_lanes_;
  std::vector<std::unique_ptr<Sequence>> sequences_;  // in work; addresses are stable within a step
  std::size_t next_tail_ = 0, answered_ = 0;
};

}  // namespace dslad::worker
