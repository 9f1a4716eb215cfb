// What a student is distilled on: sequences of plain text, and documents with their questions and answers.
//
// Text is cut into sequences of at most `sequence` tokens, each beginning with bos where the model wants it.
// A document is one sequence that all its questions continue, tokens exactly as in serving. In text every
// token is predicted; of a task only the answers are (with the end of text behind them), while the divergence
// counts the document's rows too, by `document_weight`. Nothing is shuffled here. Thread safety: const after
// filling.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/distill/batch.h"
#include "worker/model/config.h"
#include "worker/text/prompt.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {

struct CorpusOptions {
  std::int64_t sequence = 1024;  // tokens of a sequence, a document and one of its answers together, at most
  std::size_t questions = 32;    // of a document, at most
  float document_weight = 0.1f;  // of a document's rows in the divergence; an answer's have 1
};

struct TaskExample {
  std::string_view document;
  struct Item {
    PromptText prompt;  // its head is the same for all items
    std::string_view answer;
  };
  std::vector<Item> items;
};

class Corpus {
 public:
  // Borrows all but the options. REQUIRES: options.sequence >= 2.
  Corpus(const Tokenizer& tokenizer, const PromptTemplate& prompt, const LlamaConfig& config,
         const CorpusOptions& options);

  // Errors: malformed UTF-8; a bos that the tokenizer lacks; a token that the model's vocabulary lacks.
  Status add_text(std::string_view text);
  Status add_task(const TaskExample& example);

  // Each may have several segments; the tokens of all sequences.
  [[nodiscard]] const std::vector<TrainingBatch>& sequences() const { return sequences_; }
  [[nodiscard]] std::int64_t tokens() const { return tokens_; }
  // Documents and questions that were left out because they are longer than a sequence may be.
  [[nodiscard]] std::int64_t too_long() const { return too_long_; }

 private:
  Result<std::vector<TokenId>> checked(Result<std::vector<TokenId>> ids) const;
  void keep(TrainingBatch sequence);
  [[nodiscard]] std::optional<TokenId> answer_end() const;

  const Tokenizer& tokenizer_;
  const PromptTemplate& prompt_;
  const LlamaConfig& config_;
  CorpusOptions options_;
  std::vector<TrainingBatch> sequences_;
  std::int64_t tokens_ = 0, too_long_ = 0;
};

}  // namespace dslad::worker
