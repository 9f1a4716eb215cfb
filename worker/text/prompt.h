// How a task becomes the model's prompt: `dslad.toml` in the model's folder, else the chat template of the
// model's makers where dslad knows its kind (chat_template.h), else a plain default.
//
//   [prompt]
//   bos = true                                   # begin with bos; default: as the template or the tokenizer
//   says summarize = "{document}\n\nSummary:"         # needs {document} qa = "{document}\n\nQuestion:
//   {question}\nAnswer:"   # needs {document}, then {question} generate = "{prompt}"                        #
//   needs {prompt} stop = ["\nQuestion:"]                       # texts that end an answer; not part of it
//
// Each key stands for itself: what dslad.toml does not say stays as it would be without it. Prompts to
// continue go to the model as they are, whatever its chat template: a continuation is not an answer.
//
// A prompt comes in two pieces: the head, up to and including the document, which all questions of a
// document share, and the tail. They are encoded apart and joined, so that the head's tokens are the same
// whatever the question. Placeholders are looked for in the template alone: "{question}" inside a document
// is just text. Immutable after loading: safe from any thread.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "schema/job.h"
#include "worker/text/chat_template.h"
#include "worker/text/prompt_sources.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {

struct PromptPiece {
  std::string text;
  std::vector<TextRange> from_template;  // sorted, disjoint: where names of special tokens mean those tokens
};

struct PromptText {
  PromptPiece head;
  PromptPiece tail;         // may be empty
  std::optional<bool> bos;  // begin with bos; unset: the tokenizer's own files decide

  [[nodiscard]] bool empty() const { return head.text.empty() && tail.text.empty(); }
};

// Whose word a task's template is.
enum class PromptOrigin : std::uint8_t { kDefault, kChatTemplate, kSettings };
[[nodiscard]] std::string_view to_string(PromptOrigin origin);

// A token that ends an answer by the word of the chat template or of dslad.toml.
struct PromptEnd {
  TokenId id;
  PromptOrigin origin;
};

class PromptTemplate {
 public:
  // Of a model's folder. Errors: kCorrupt for malformed TOML; kInvalidArgument for an unknown key (with the
  // nearest one), a wrong type, an unknown or missing placeholder; those of read_prompt_sources.
  static Result<PromptTemplate> load(const std::filesystem::path& dir, const Tokenizer& tokenizer);
  static Result<PromptTemplate> create(const PromptSources& sources, const Tokenizer& tokenizer);
  // Of a dslad.toml alone; its stop texts are all texts.
  static Result<PromptTemplate> parse(std::string_view toml, std::string_view name);

  [[nodiscard]] PromptText summarize(std::string_view document) const;
  [[nodiscard]] PromptText qa(std::string_view document, std::string_view question) const;
  [[nodiscard]] PromptText generate(std::string_view prompt) const;
  // The tail of qa(document, question), whatever the document: its head is that of any other question.
  [[nodiscard]] PromptPiece qa_tail(std::string_view question) const;

  // What dslad.toml says. Unset: the chat template decides for tasks that use it, else the tokenizer's own
  // files.
  [[nodiscard]] std::optional<bool> bos() const { return bos_; }
  [[nodiscard]] std::span<const std::string> stop() const { return stop_; }  // none is empty
  // Beside the model's own. Each once.
  [[nodiscard]] std::span<const PromptEnd> ends() const { return ends_; }

  // For people. A task's template with its placeholders; the chat template that was recognised, and where it
  // stands; what is odd, a sentence each.
  [[nodiscard]] std::string shown(schema::Task task) const;
  [[nodiscard]] PromptOrigin origin(schema::Task task) const { return of(task).origin; }
  [[nodiscard]] const std::optional<ChatFormat>& chat() const { return chat_; }
  [[nodiscard]] const std::string& chat_from() const { return chat_from_; }  // empty: the model has none
  [[nodiscard]] std::span<const std::string> warnings() const { return warnings_; }

 private:
  // A template cut at its placeholders: literal, value, literal, value, ..., literal.
  using Literals = std::vector<std::string>;
  struct TaskTemplate {
    Literals literals;
    PromptOrigin origin = PromptOrigin::kDefault;
    std::optional<bool> bos;
    bool trims_last = false;  // the last value goes without the white space at its end
  };
  class Reader;  // prompt_settings.cc, with read_settings

  PromptTemplate();  // the default
  // `base` with what dslad.toml says instead.
  static Result<PromptTemplate> read_settings(std::string_view toml, std::string_view name,
                                              PromptTemplate base);
  void use_format(ChatFormat format, const Tokenizer& tokenizer);
  void sort_stops(const Tokenizer& tokenizer);
  void add_end(TokenId id, PromptOrigin origin);
  [[nodiscard]] const TaskTemplate& of(schema::Task task) const;
  [[nodiscard]] PromptText one_value(const TaskTemplate& task, std::string_view value) const;
  static void append_literal(PromptPiece& piece, const std::string& literal);
  static std::string_view last_value(const TaskTemplate& task, std::string_view value);

  TaskTemplate summarize_, qa_, generate_;
  std::optional<bool> bos_;
  std::vector<std::string> stop_;
  std::vector<PromptEnd> ends_;
  std::optional<ChatFormat> chat_;
  std::string chat_from_;
  std::vector<std::string> warnings_;
};

// bos (where asked for, and where the template does not begin with it by name) and the head's ids. Errors:
// malformed UTF-8; bos asked for, but the tokenizer has none.
Result<std::vector<TokenId>> encode_head(const Tokenizer& tokenizer, const PromptText& text);

// The tail's ids, to follow those of the head.
Result<std::vector<TokenId>> encode_tail(const Tokenizer& tokenizer, const PromptText& text);
Result<std::vector<TokenId>> encode_tail(const Tokenizer& tokenizer, const PromptPiece& tail,
                                         bool head_empty);

// Where the generated text lies: StreamDecoder wants to know.
TextPosition position_after(const PromptText& text);

}  // namespace dslad::worker
