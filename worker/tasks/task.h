// A job as the engine sees it, and its answers as the user does: text to tokens on the way in, tokens to text
// on the way out.
//
// Thread safety: one user at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "schema/job.h"
#include "schema/result.h"
#include "worker/engine/request.h"
#include "worker/tasks/model_folder.h"
#include "worker/text/stream_decoder.h"

namespace dslad::worker {

class Task {
 public:
  // Renders the prompt template and encodes it. Errors: kInvalidArgument for text that is no UTF-8 or not a
  // valid job.
  static Result<Task> create(const ModelFolder& model, const schema::JobSpec& spec, RequestId id,
                             std::shared_ptr<const Plan> plan);

  // What to give to the engine. REQUIRES: called once.
  [[nodiscard]] EngineRequest take_request() { return std::move(request_); }

  // Of answer `tail`, the text that will stand in its output whatever comes: without what may yet be the
  // beginning of a stop text, and for summaries and answers without white space around it. Only grows.
  [[nodiscard]] std::string_view settled(int tail) const;

  // A token of answer `tail`. False when the answer now ends with one of the template's stop texts, which is
  // cut off.
  bool add_token(int tail, std::int32_t token);
  void end_answer(int tail, AnswerEnd end);

  // Complete when every answer has ended; summaries and answers without the white space around them.
  [[nodiscard]] const std::vector<schema::Output>& outputs() const { return outputs_; }

 private:
  Task(const ModelFolder& model, const schema::JobSpec& spec);
  bool cut_at_stop_text(std::string& text, std::size_t added) const;
  // Bytes at the end of `text` with which a stop text may begin.
  [[nodiscard]] std::size_t held_back(std::string_view text) const;

  const ModelFolder* model_;
  schema::Task kind_;
  EngineRequest request_;
  std::vector<StreamDecoder> decoders_;  // by answer
  std::vector<schema::Output> outputs_;  // by answer
  std::vector<bool> ended_;              // by answer
};

}  // namespace dslad::worker
