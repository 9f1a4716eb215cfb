// ROUGE of a summary: the F1 of shared words (ROUGE-1), of shared pairs of neighbours (ROUGE-2) and of the
// longest common subsequence (ROUGE-L).
//
// Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (ACL workshop, 2004). The definitions are
// those of the Python package rouge-score without stemming: words are the runs of [a-z0-9] of the lower-cased
// text, and ROUGE-L looks at the text as one sentence. Pure; safe from any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace dslad::worker {

struct RougeScore {
  double rouge1 = 0, rouge2 = 0, rouge_l = 0;  // F1, [0, 1]
};

// Each score is that of the reference for which it is best (rouge-score's score_multi): the three may come
// from different references. REQUIRES: there is a reference.
RougeScore rouge_score(std::string_view summary, std::span<const std::string> references);

}  // namespace dslad::worker
