// Characters of UTF-8 text as Python's `str` sees them, as far as the usual metric packages look: lower case,
// white space, letters and digits. Pure; safe from any thread.
//
// The C library's Unicode tables decide (locale C.UTF-8). Known differences from Python, none of which has
// been seen in a reference: one character is lowered to one (Python makes two of U+0130), and a final sigma
// is a sigma.
#pragma once

#include <string>
#include <string_view>

namespace dslad::worker {

// The code points of `text`; malformed parts become U+FFFD.
std::u32string characters_of(std::string_view text);
std::string text_of(std::u32string_view characters);

char32_t lower(char32_t character);       // str.lower
bool is_space(char32_t character);        // str.split() cuts there
bool is_word(char32_t character);         // \w: letters, digits and "_"
bool is_punctuation(char32_t character);  // string.punctuation: the 32 of ASCII

}  // namespace dslad::worker
