// SQuAD's scores of an answer: exact match and F1 of the words that answer and reference share; and whether
// the answer contains a reference, which is right where a model answers in whole sentences.
//
// Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text" (arXiv 1606.05250), section
// 6.1; questions without an answer as in "Know What You Don't Know" (arXiv 1806.03822). The definitions are
// those of its evaluation script (evaluate-v2.0.py). Pure; safe from any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace dslad::worker {

struct SquadScore {
  double exact_match = 0;  // 0 or 1
  double f1 = 0;           // [0, 1]
  double contains = 0;     // 0 or 1: a reference's words stand in the answer, in their order, side by side
};

// Lower case, without ASCII punctuation, without the words "a", "an" and "the", single spaces between words.
std::string normalize_answer(std::string_view text);

// Each score is the best over the references. References that normalise to nothing do not count; where none
// is left, the right answer is an empty one (the document does not answer the question).
SquadScore squad_score(std::string_view answer, std::span<const std::string> references);

}  // namespace dslad::worker
