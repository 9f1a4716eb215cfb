// Where Unicode's age shows. Hugging Face's tokenizers (0.23) are made of parts that know different versions
// of it: their patterns 16, Rust's own characters 17, punctuation 8, normalization forms between 10 and 12.
// PCRE2 and utf8proc of Debian 12 know 14 and 15, those of Debian 13 know 16. These tables make up for the
// difference. They were found by asking both sides about every code point (unicode_test).
// Pure; safe from any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace dslad::worker {

// The characters of a general category ("L", "Nd") or script ("Han") that are younger than Unicode 14, as
// ranges for within a bracket of a PCRE2 pattern; empty for others.
std::string younger_characters(std::string_view property);

// Characters that a normalization form of Hugging Face's leaves where they are, as if nobody had assigned
// them: their decompositions and their order among accents came later.
bool is_left_by_normalizers(char32_t character);

// The small letter of a capital one that is younger than Unicode 15.
std::optional<char32_t> younger_lower_case(char32_t character);

// PCRE2 patterns: what is a digit and what is punctuation to the pre-tokenizers of these names, and what a
// word is made of to added tokens.
std::string digit_pattern();
std::string punctuation_pattern();
std::string word_pattern();

}  // namespace dslad::worker
