// Whether a model finds the right choice likeliest.
//
// A choice's likelihood is that of " " + choice after the question (and bos, where prompts have one), divided
// by its bytes, so that the result does not depend on how a tokenizer cuts words (Gao et al., "A Framework
// for Few-Shot Language Model Evaluation": acc_norm). A "_" that stands alone in a question is a blank: the
// choice takes its place, and what follows the blank is scored (Trinh and Le, arXiv 1806.02847, "partial"
// scoring). Score: "accuracy", 0 or 1; the first of equally likely choices counts.
#pragma once

#include "base/result.h"
#include "worker/eval/eval_data.h"
#include "worker/eval/evaluation.h"
#include "worker/eval/results_log.h"
#include "worker/eval/token_scorer.h"
#include "worker/tasks/model_folder.h"

namespace dslad::worker {

// Scores and logs what the log lacks; skips items of which the context does not hold a choice. Errors: those
// of the tokenizer, TokenScorer and the log. REQUIRES: `data` is choices; the scorer runs the model's
// weights.
Result<EvaluatedFile> score_choices(const ModelFolder& model, TokenScorer& scorer, const EvalData& data,
                                    const EvalSettings& settings, ResultsLog& log);

}  // namespace dslad::worker
