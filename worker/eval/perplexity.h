// How well a model predicts a text, and how far its plans' predictions lie from plan 0's.
//
// The text is read in the windows of text_windows.h, each with bos before it where prompts have one; each
// token is scored once (without bos all but the first). Scores of a window: "nats", the mean of -log p a
// token, and "kl", the mean of KL(plan 0 || plan) a token; it weighs as many tokens as it scores. Perplexity
// is exp(nats).
#pragma once

#include "base/result.h"
#include "worker/eval/eval_data.h"
#include "worker/eval/evaluation.h"
#include "worker/eval/results_log.h"
#include "worker/eval/token_scorer.h"
#include "worker/tasks/model_folder.h"

namespace dslad::worker {

// Scores and logs what the log lacks. Errors: kInvalidArgument for a text of fewer than two tokens and for a
// window or stride out of range; those of the tokenizer, TokenScorer and the log.
// REQUIRES: `data` is text; the scorer runs the model's weights.
Result<EvaluatedFile> score_text(const ModelFolder& model, TokenScorer& scorer, const EvalData& data,
                                 const EvalSettings& settings, ResultsLog& log);

}  // namespace dslad::worker
