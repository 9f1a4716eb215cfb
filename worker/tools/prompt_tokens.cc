#include "worker/tools/prompt_tokens.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace dslad::worker {
namespace {

using nlohmann::ordered_json;

// Which bytes of a piece each of its tokens has, as far as its text tells: a special token has its name's,
// and a tokenizer may have put a space in front.
void list_piece(const PromptPiece& piece, std::span<const TokenId> ids, std::string_view value,
                const Tokenizer& tokenizer, std::vector<PromptToken>& tokens) {
  std::size_t at = 0;
  for (const TokenId id : ids) {
    const std::string_view rest = std::string_view(piece.text).substr(std::min(at, piece.text.size()));
    const std::string_view name = tokenizer.name_of(id);
    const std::string_view bytes = name.empty() ? tokenizer.bytes_of(id) : name;
    std::size_t taken = bytes.size();
    if (!rest.starts_with(bytes)) {
      const bool space_added = bytes.starts_with(' ') && rest.starts_with(bytes.substr(1));
      taken = space_added    ? taken - 1
              : name.empty() ? taken
                             : 0;  // a bos that stands in no template has no bytes
    }
    const std::size_t last = at + taken - std::min<std::size_t>(taken, 1);
    const bool of_template = std::ranges::any_of(
        piece.from_template, [&](const TextRange& range) { return range.begin <= last && last < range.end; });
    const bool of_value = taken > 0 && !of_template;
    tokens.push_back({id, std::string(bytes), !name.empty(), of_value ? value : std::string_view{}});
    at += taken;
  }
}

Result<PromptListing> list_prompt(schema::Task task, const PromptText& text, std::string_view in_head,
                                  std::string_view in_tail, const Tokenizer& tokenizer) {
  PromptListing listing{task, {}};
  const auto head = encode_head(tokenizer, text);
  if (!head) return head.error();
  const auto tail = encode_tail(tokenizer, text);
  if (!tail) return tail.error();
  list_piece(text.head, *head, in_head, tokenizer, listing.tokens);
  list_piece(text.tail, *tail, in_tail, tokenizer, listing.tokens);
  return listing;
}

std::string printable(std::string_view text) {
  return ordered_json(text).dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace

Result<std::vector<PromptListing>> list_prompts(const PromptTemplate& prompt, const Tokenizer& tokenizer) {
  constexpr std::string_view kDocument = "This is the document.", kQuestion = "What is this?",
                             kPrompt = "This is";
  std::vector<PromptListing> listings;
  for (const auto& [task, text, in_head, in_tail] :
       {std::tuple(schema::Task::kSummarize, prompt.summarize(kDocument), "document", ""),
        std::tuple(schema::Task::kQa, prompt.qa(kDocument, kQuestion), "document", "question"),
        std::tuple(schema::Task::kGenerate, prompt.generate(kPrompt), "prompt", "")}) {
    auto listing = list_prompt(task, text, in_head, in_tail, tokenizer);
    if (!listing) return listing.error();
    listings.push_back(*std::move(listing));
  }
  return listings;
}

std::string listing_text(const std::vector<PromptListing>& listings) {
  std::string text;
  for (const PromptListing& listing : listings) {
    text += fmt::format("{}, token by token with an example\n", schema::to_string(listing.task));
    for (const PromptToken& token : listing.tokens) {
      text += fmt::format("  {:>8}  {:<10}{}\n", token.id, token.of,
                          token.special ? token.text + "  (special)" : printable(token.text));
    }
  }
  return text;
}

ordered_json listing_json(const std::vector<PromptListing>& listings) {
  ordered_json out;
  for (const PromptListing& listing : listings) {
    ordered_json& tokens = out[std::string(schema::to_string(listing.task))] = ordered_json::array();
    for (const PromptToken& token : listing.tokens) {
      tokens.push_back({{"id", token.id},
                        {"text", token.text},
                        {"special", token.special},
                        {"of", token.of.empty() ? "template" : token.of}});
    }
  }
  return out;
}

}  // namespace dslad::worker
