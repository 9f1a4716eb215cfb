// Scores of generated answers and summaries: jobs of one document with all its questions run through an
// engine with continuous batching, as the worker runs them.
//
// A summarize item without a question is the task `summarize`; one with a question is asked as `qa` and
// scored as a summary. Scores: "exact_match", "f1" and "contains" of qa files, "rouge1", "rouge2" and
// "rougeL" of summarize files. A score does not depend on what else the engine runs.
#pragma once

#include "base/result.h"
#include "worker/engine/engine.h"
#include "worker/engine/plan_set.h"
#include "worker/eval/eval_data.h"
#include "worker/eval/evaluation.h"
#include "worker/eval/results_log.h"
#include "worker/tasks/model_folder.h"

namespace dslad::worker {

// Generates and logs what the log lacks. Greedy decoding. Errors: those of JobRequests, Engine and the log.
// REQUIRES: `data` is qa or summarize; the engine is idle and runs the model's weights, `plans` has those of
// `settings`.
Result<EvaluatedFile> score_generated(const ModelFolder& model, const PlanSet& plans, Engine& engine,
                                      const EvalData& data, const EvalSettings& settings, ResultsLog& log);

}  // namespace dslad::worker
