// What two lists of words have in common: the ground of SQuAD's and ROUGE's scores. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace dslad::worker {

using Words = std::vector<std::string>;

// How many words occur in both, each counted as often as it occurs in the list that has fewer of it.
std::size_t shared_words(const Words& a, const Words& b);

// The harmonic mean of precision (shared / found) and recall (shared / expected); 0 where nothing is shared.
double overlap_f1(std::size_t shared, std::size_t found, std::size_t expected);

}  // namespace dslad::worker
