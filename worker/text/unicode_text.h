// Normalization forms, small letters and white space as Hugging Face's tokenizers have them; the tables are
// utf8proc's, and unicode_ages.h has where those differ. Pure; safe from any thread.
#pragma once

#include <string>
#include <string_view>

#include "worker/text/normalizer.h"

namespace dslad::worker {

// All REQUIRE well-formed UTF-8.
std::string to_form(std::string_view text, NormalizationForm form);
std::string to_lower_case(std::string_view text);  // character by character: no word-final sigma

bool is_white_space(char32_t character);
bool is_word_character(char32_t character);  // for rare questions: slow

}  // namespace dslad::worker
