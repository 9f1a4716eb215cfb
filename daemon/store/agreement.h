// How far two answers to one question agree. Pure.
#pragma once

#include <string_view>

namespace dslad::daemon {

// F1 over words, case and punctuation aside, as in SQuAD's evaluation but for articles, which are words here:
// 1 where both have the same words, 0 where they share none. Two answers without a word agree.
double agreement(std::string_view a, std::string_view b);

}  // namespace dslad::daemon
