// The answers to one engine request as text: tokens come, outputs stand at the end.
//
// Thread safety: one user at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "schema/job.h"
#include "worker/engine/request.h"
#include "worker/tasks/model_folder.h"
#include "worker/text/stream_decoder.h"

namespace dslad::worker {

class AnswerTexts {
 public:
  // `position`: where the answers begin. Answers of tasks other than generate go without white space around
  // them. `model` must outlive this.
  AnswerTexts(const ModelFolder& model, schema::Task task, std::size_t answers, TextPosition position);

  // A token of answer `tail`. False when the answer now ends with one of the template's stop texts, which is
  // cut off.
  bool add_token(int tail, std::int32_t token);
  void end(int tail, AnswerEnd end, double mean_log_p);

  // Of answer `tail`, the text that will stand in its output whatever comes: without what may yet be the
  // beginning of a stop text. Only grows.
  [[nodiscard]] std::string_view settled(int tail) const;

  [[nodiscard]] bool ended() const { return ended_ == answers_.size(); }
  // Complete when all have ended.
  [[nodiscard]] const schema::Output& output(std::size_t tail) const { return answers_[tail].output; }
  [[nodiscard]] double mean_log_p(std::size_t tail) const { return answers_[tail].mean_log_p; }
  [[nodiscard]] std::size_t size() const { return answers_.size(); }

 private:
  struct Answer {
    StreamDecoder decoder;
    schema::Output output;
    double mean_log_p = 0;
    bool ended = false;
  };

  bool cut_at_stop_text(std::string& text, std::size_t added) const;
  // Bytes at the end of `text` with which a stop text may begin.
  [[nodiscard]] std::size_t held_back(std::string_view text) const;
  [[nodiscard]] Answer& answer(int tail) { return answers_[static_cast<std::size_t>(tail)]; }

  const ModelFolder* model_;
  bool trims_;
  std::vector<Answer> answers_;
  std::size_t ended_ = 0;
};

}  // namespace dslad::worker
