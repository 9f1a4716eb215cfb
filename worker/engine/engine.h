// Continuous batching: each step runs the decode tokens and prompt pieces of many requests through the model
// at once.
//
// Requests are admitted in the order they came, as soon as memory for all they may need is free: in add() or
// in the step after others have ended. Their prompts are read in that order, too: a step takes in as much as
// it may of the oldest, so that its answer comes early and few caches are held for prompts half read. But one
// piece of each step is for the prompt with the least left: a short one does not wait for a long one. Between
// requests nothing is shared but time, and beginnings of documents that were read before: the same request
// under the same plan gives the same greedy tokens alone or in company, first or last. The engine knows no
// plan but those that its requests bring along.
//
// A device that works apart from the host does not wait for it: where all that is at work decodes, the next
// step is begun on tokens that only the device knows yet, and the host settles the last one meanwhile. For
// a sequence that turns out to have ended, that step was in vain.
//
// Thread safety: one caller at a time. Fails soft: a bad request is refused by add(), before it can disturb
// others, and one whose logits are not finite fails alone.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"
#include "worker/engine/cache_pool.h"
#include "worker/engine/forward.h"
#include "worker/engine/prefix_snapshots.h"
#include "worker/engine/request.h"
#include "worker/engine/running_request.h"

namespace dslad::worker {

struct EngineLimits {
  std::size_t cache_bytes = std::size_t{1} << 30;  // KV pages, DSLA states and windows together
  int max_sequences = 64;                          // that run at once
  std::int64_t prefill_rows = 0;  // prompt tokens a step takes in, about; 0: as its device reads fast
  bool prefix_snapshots = true;   // of documents, in memory that nobody needs
  bool look_ahead = true;         // in decode, where the device works apart from the host
  RowWidths widest;               // of plans; what a wider one needs beside caches is taken when it comes
};

struct EngineCounters {
  std::uint64_t steps = 0, prompt_tokens = 0, output_tokens = 0, admitted = 0, begun = 0;  // since the start
  std::uint64_t ahead = 0;    // of the steps: begun before the last one's tokens were known
  std::uint64_t refused = 0;  // attempts to admit a request that found no memory
  std::uint64_t reused_tokens = 0, reusing = 0;  // prompt tokens that snapshots spared, requests that had any
  double busy_ms = 0;                            // in steps
};

class Engine {
 public:
  // Bytes of device memory that it takes beside weights, caches and what reserve() takes, of any step that
  // these limits allow.
  static std::size_t bytes_beside(const ModelWeights& weights, const EngineLimits& limits);
  // Takes what a backend works in, for any such step: what the device has free afterwards, less
  // bytes_beside(), is for caches. kResourceExhausted, kUnavailable: as step().
  static Status reserve(kernels::Backend& backend, const ModelWeights& weights, const EngineLimits& limits);

  // Where the device counts its memory, it is all taken here, what reserve() takes included: no step of an
  // engine within its limits finds too little. kResourceExhausted, kUnavailable: as step().
  static Result<std::unique_ptr<Engine>> create(std::unique_ptr<kernels::Backend> backend,
                                                std::shared_ptr<const ModelWeights> weights,
                                                const EngineLimits& limits);

  // Admits a request, or queues it. kInvalidArgument: it does not fit the context or is malformed, or its
  // plan is of another model; kResourceExhausted: it can never fit the cache budget.
  Status add(EngineRequest request);
  // Forgets a request, waiting or running, and frees its memory; the sink hears no more of it. False if
  // unknown.
  bool cancel(RequestId id);

  // Runs one step and tells the sink. False when there was nothing to do. kResourceExhausted: the device has
  // no memory for the step; no request has advanced. kUnavailable: the device has failed for good.
  Result<bool> step(EngineSink& sink);

  // Of any request, one that add() refuses for its size too. REQUIRES: it has a plan of this model.
  [[nodiscard]] RequestNeeds needs(const EngineRequest& request) const;
  // Tokens of prompt and answer that a request of this plan may have together: those of the context, or what
  // the caches hold.
  [[nodiscard]] std::int64_t longest(const Plan& plan) const;
  // Whether the request has been admitted and is not done.
  [[nodiscard]] bool running(RequestId id) const;
  // Whether a step has taken in a part of its prompt, and it is not done.
  [[nodiscard]] bool begun(RequestId id) const;
  // How many requests like those of late would be admitted now, at this plan; of the longest that the context
  // allows while there were none.
  [[nodiscard]] std::int64_t room(const Plan& plan) const;
  // How many requests that have not begun it has a use for: what memory allows, but no more than fill the
  // next steps with their prompts. More would wait here, in the order in which they came. None while a prompt
  // that has begun fills them: whoever keeps one more at hand (worker.h) has one for the piece that is kept
  // for the shortest.
  [[nodiscard]] std::int64_t wants(const Plan& plan) const;

  [[nodiscard]] const ModelWeights& weights() const { return *weights_; }
  [[nodiscard]] const CachePool& caches() const { return *caches_; }
  [[nodiscard]] const EngineCounters& counters() const { return counters_; }
  [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }
  [[nodiscard]] int sequences_in_work() const;

 private:
  static constexpr std::size_t kSeen = 16;
  using Clock = std::chrono::steady_clock;

  Engine(std::unique_ptr<kernels::Backend> backend, std::shared_ptr<const ModelWeights> weights,
         const EngineLimits& limits, std::unique_ptr<CachePool> caches);

  // A sequence's part of a step.
  struct Part {
    RunningRequest* request;  // null: its sequence has ended meanwhile
    Sequence* sequence;
    std::int64_t context;                  // tokens that earlier steps take in
    std::int32_t token;                    // what it takes in, in decode
    std::span<const std::int32_t> prompt;  // the same of a prompt; none in decode

    [[nodiscard]] bool prefill() const { return !prompt.empty(); }
    [[nodiscard]] std::size_t rows() const { return prefill() ? prompt.size() : 1; }
    [[nodiscard]] bool wants_logits() const { return request->wants_logits(*sequence, prompt.size()); }
  };
  struct Drawn {
    const Part* part;  // one of Asked::parts, which is moved and never copied
    std::span<const float> logits;
    std::int32_t token = kernels::kNoToken;
    double log_p = 0;
  };
  // A step that the backend was asked for, and that has changed nothing here yet.
  struct Asked {
    std::vector<Part> parts;
    std::vector<Drawn> drawn;  // of the parts that want logits, in their order
    Clock::time_point since;
  };
  Status check(const EngineRequest& request) const;
  void admit();
  void start_tails();
  // Whether the first that waits could be admitted if no other had more than one question at work.
  [[nodiscard]] bool could_make_room() const;
  [[nodiscard]] std::vector<Part> choose() const;
  void share_rows(std::span<Part* const> reading) const;
  Result<Asked> ask(std::vector<Part> parts);
  std::vector<Drawn> draw(const std::vector<Part>& parts);
  // The step behind `step`, whose tokens are not known; nothing where choose() might choose another.
  std::optional<Asked> look_ahead(const Asked& step);
  [[nodiscard]] std::vector<Part> parts_behind(const Asked& step) const;
  // What was drawn: waits for the step.
  void read_tokens(Asked& step);
  void settle(const Asked& step, EngineSink& sink);
  void count_begun(const RequestProgress& progress);
  void account(const std::vector<Part>& parts, double ms);
  // Of what was asked for ahead: sequences that are no longer at work.
  void forget_ended();
  [[nodiscard]] Error not_finite(const Part& part) const;
  void take_token(const Part& part, std::int32_t token, EngineSink& sink);
  void retire(EngineSink& sink);

  std::unique_ptr<kernels::Backend> backend_;
  std::shared_ptr<const ModelWeights> weights_;
  EngineLimits limits_;
  std::int64_t prefill_rows_;
  std::unique_ptr<CachePool> caches_;
  std::unique_ptr<PrefixSnapshots> snapshots_;  // null: none are wanted
  Forward forward_;
  std::deque<EngineRequest> waiting_;
  // The first that waited when it was refused, and CachePool::changes() behind that.
  struct Refused {
    RequestId id;
    std::uint64_t changes;
    // NOLINTNEXTLINE(modernize-use-nullptr): a mistake of clang-tidy 14
    bool operator==(const Refused&) const = default;
  };
  std::optional<Refused> refused_;
  std::vector<std::unique_ptr<RunningRequest>> running_;  // by admission
  EngineCounters counters_;
  // Of a request: what it takes, and how much of its head was to be read.
  struct Seen {
    RequestSize size;
    std::int64_t unread;
  };
  std::deque<Seen> seen_;       // the latest kSeen
  std::optional<Asked> ahead_;  // the next step, where it was begun already
  Clock::time_point settled_;   // the latest step's end
};

}  // namespace dslad::worker
