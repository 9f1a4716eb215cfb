// Where a piece of text stands that lies before, between or behind added tokens. Several tokenizers put
// something before a text's first word, and what they take for the first differs.
#pragma once

#include <cstdint>

namespace dslad::worker {

enum class TextPlace : std::uint8_t {
  kFirst,       // begins the whole text
  kAfterToken,  // follows an added token
  kContinues,   // follows other text: nothing is put before it
};

}  // namespace dslad::worker
