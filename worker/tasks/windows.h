// A document that is too long for a prompt, cut to pieces that are not: windows that follow each other, or
// its beginning and end.
//
// Cuts lie at the end of a paragraph where one is near, else of a line, a sentence or a word, and never
// within a character. Pure; safe from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {

// The ids of the prompt around a piece of the document, up to the piece's end. Its errors are the caller's.
using EncodePiece = std::function<Result<std::vector<TokenId>>(std::string_view piece)>;

// A piece that fits.
struct Window {
  TextRange bytes;           // of the document
  std::vector<TokenId> ids;  // of the prompt around it
};

struct WindowSize {
  std::int64_t whole;  // tokens of the prompt around the whole document, about
  std::int64_t limit;  // tokens of the prompt around a piece, at most
  std::int64_t
      overlap;  // tokens, about, that a window shares with the one before it; less than half of limit
};

// Windows of about equal length that cover the document, each with `limit` tokens at most: a fact that lies
// where one ends lies whole within the next. kInvalidArgument: not even a character fits.
Result<std::vector<Window>> windows_of(std::string_view document, const WindowSize& size,
                                       const EncodePiece& encode);

// What stands where a document's middle was.
inline constexpr std::string_view kLeftOut = "\n\n[...]\n\n";

// The prompt around the document's beginning and end, of about the same length, with kLeftOut between them:
// `limit` tokens at most. kInvalidArgument: not even a character of each fits.
Result<std::vector<TokenId>> without_middle(std::string_view document, const WindowSize& size,
                                            const EncodePiece& encode);

}  // namespace dslad::worker
