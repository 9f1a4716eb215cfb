// How a task becomes the model's prompt: `dslad.toml` in the model's folder, or a plain default.
//
//   [prompt]
//   bos = true                                   # begin with bos; default: what the tokenizer's files say
//   summarize = "{document}\n\nSummary:"         # needs {document}
//   qa = "{document}\n\nQuestion: {question}\nAnswer:"   # needs {document}, then {question}
//   generate = "{prompt}"                        # needs {prompt}
//   stop = ["\nQuestion:"]                       # texts that end an answer; not part of it
//
// A prompt comes in two pieces: the head, up to and including the document, which all questions of a
// document share, and the tail. They are encoded apart and joined, so that the head's tokens are the same
// whatever the question. Placeholders are looked for in the template alone: "{question}" inside a document
// is just text. Immutable after loading: safe from any thread.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "schema/result.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {

struct PromptPiece {
  std::string text;
  std::vector<TextRange> from_template;  // sorted, disjoint: where names of special tokens mean those tokens
};

struct PromptText {
  PromptPiece head;
  PromptPiece tail;  // may be empty

  [[nodiscard]] bool empty() const { return head.text.empty() && tail.text.empty(); }
};

class PromptTemplate {
 public:
  // Reads `dir`/dslad.toml; the default when there is none. Errors: kCorrupt for malformed TOML;
  // kInvalidArgument for an unknown key (with the nearest one), a wrong type, an unknown or missing
  // placeholder.
  static Result<PromptTemplate> load(const std::filesystem::path& dir);
  static Result<PromptTemplate> parse(std::string_view toml, std::string_view name);

  [[nodiscard]] PromptText summarize(std::string_view document) const;
  [[nodiscard]] PromptText qa(std::string_view document, std::string_view question) const;
  [[nodiscard]] PromptText generate(std::string_view prompt) const;

  // Unset: the tokenizer's own files decide.
  [[nodiscard]] std::optional<bool> bos() const { return bos_; }
  [[nodiscard]] std::span<const std::string> stop() const { return stop_; }  // none is empty

 private:
  // A template cut at its placeholders: literal, value, literal, value, ..., literal.
  using Literals = std::vector<std::string>;
  class Reader;  // prompt.cc

  PromptTemplate();  // the default
  static PromptText fill(const Literals& literals, std::initializer_list<std::string_view> values);

  Literals summarize_, qa_, generate_;
  std::optional<bool> bos_;
  std::vector<std::string> stop_;
};

// bos (where asked for) and the head's ids. Errors: malformed UTF-8; bos asked for, but the tokenizer has
// none.
Result<std::vector<TokenId>> encode_head(const Tokenizer& tokenizer, const PromptTemplate& prompt,
                                         const PromptText& text);

// The tail's ids, to follow those of the head.
Result<std::vector<TokenId>> encode_tail(const Tokenizer& tokenizer, const PromptText& text);

// Where the generated text lies: StreamDecoder wants to know.
TextPosition position_after(const PromptText& text);

}  // namespace dslad::worker
