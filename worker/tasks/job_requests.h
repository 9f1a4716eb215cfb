// A job as requests to the engine, and their answers as what the user gets: text to tokens on the way in,
// tokens to text on the way out.
//
// Most jobs are one request. A document that is longer than the context may be read in parts (map-reduce):
// each part is a request of its own, any number of which may be at work side by side. The answers to a
// question are then compared, and the likeliest counts; summaries follow each other as a new document, which
// is summarized in turn, until one part is left. So next() has something to give, then nothing until answers
// have come, then perhaps something again.
//
// Thread safety: one user at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "schema/job.h"
#include "worker/engine/request.h"
#include "worker/tasks/answer_texts.h"
#include "worker/tasks/model_folder.h"

namespace dslad::worker {

class JobRequests {
 public:
  // Renders the prompt template and encodes it. `longest`: tokens of prompt and answer that the engine can
  // run together; of no account where a document that is too long is the engine's to refuse. `model` must
  // outlive it. Errors: kInvalidArgument for text that is no UTF-8 or not a valid job, and where the
  // document must be cut but the rest of the prompt leaves no room for a piece of it.
  static Result<JobRequests> create(const ModelFolder& model, const schema::JobSpec& spec,
                                    std::int64_t longest);

  // The next request, which is called `id` from then on and has no plan yet; nothing while that depends on
  // answers that have not ended, and in the end. kInvalidArgument where summaries do not get shorter.
  Result<std::optional<EngineRequest>> next(RequestId id);

  // What the engine says of a request. False as EngineSink's.
  bool add_token(RequestId id, int tail, std::int32_t token);
  void end_answer(RequestId id, int tail, AnswerEnd end, double mean_log_p);

  // An answer that has ended, of a request whose stage is at work.
  [[nodiscard]] const schema::Output& answer(RequestId id, int tail) const {
    return parts_[place_of(id)].answers.output(static_cast<std::size_t>(tail));
  }

  // Whether outputs() are complete.
  [[nodiscard]] bool done() const { return done_; }
  // One, or one a question.
  [[nodiscard]] const std::vector<schema::Output>& outputs() const { return outputs_; }
  // Of a job of one request, what is settled of the answer so far (AnswerTexts).
  [[nodiscard]] std::string_view settled(int tail) const { return parts_.front().answers.settled(tail); }

  // Prompt tokens of the stage at work that were not given yet.
  [[nodiscard]] std::int64_t tokens_to_come() const;

  // What became of a document that is too long: the parts it was read in, 0 for one; the tokens left out.
  [[nodiscard]] std::uint32_t document_parts() const { return document_parts_; }
  [[nodiscard]] std::uint64_t cut_tokens() const { return cut_tokens_; }

 private:
  // A request and its answers.
  struct Part {
    std::vector<TokenId> head;  // given away with the request
    AnswerTexts answers;
    RequestId id = 0;
  };

  JobRequests(const ModelFolder& model, const schema::JobSpec& spec, std::int64_t longest);
  // `first`: the tail of the first question, or the only one.
  Status encode_tails(const schema::JobSpec& spec, PromptPiece first, bool head_empty);
  // The prompt's ids up to and including `document`, which takes the place of the job's.
  [[nodiscard]] Result<std::vector<TokenId>> encode_head(std::string_view document) const;
  // Makes the first stage's parts. `head`: of the whole document.
  Status read(const schema::JobSpec& spec, std::vector<TokenId> head);
  Status read_in_parts(std::string_view document, std::int64_t tokens, std::int64_t overlap);
  void add_part(std::vector<TokenId> head);
  [[nodiscard]] std::int64_t room_for_answer() const;
  [[nodiscard]] std::int64_t head_limit() const;
  [[nodiscard]] std::int64_t max_tokens(std::int64_t head) const;  // of an answer
  [[nodiscard]] std::size_t place_of(RequestId id) const;
  void conclude();
  void choose_likeliest();
  [[nodiscard]] std::string summaries() const;

  const ModelFolder* model_;
  schema::Task kind_;
  schema::SamplingOptions options_;
  std::int64_t longest_;
  std::vector<std::vector<TokenId>> tails_;
  std::int64_t longest_tail_ = 0;
  bool fits_itself_ = false;  // it makes its document fit, rather than being refused
  TextPosition answer_position_ = TextPosition::kContinuation;

  std::vector<Part> parts_;  // of the stage at work
  std::size_t given_ = 0;    // of them, to the engine
  std::size_t open_ = 0;     // answers of the stage that have not ended
  std::vector<schema::Output> outputs_;
  std::uint32_t document_parts_ = 0;
  std::uint64_t cut_tokens_ = 0;
  bool done_ = false;
};

}  // namespace dslad::worker
