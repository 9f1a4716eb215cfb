#include "worker/text/prompt.h"

#include <algorithm>
#include <array>
#include <exception>
#include <fmt/format.h>
#include <toml++/toml.h>
#include <utility>

#include "schema/nearest.h"
#include "worker/files/model_path.h"
#include "worker/files/read_file.h"

namespace dslad::worker {
namespace {

constexpr std::size_t kMaxTemplateBytes = 1 << 20;
constexpr std::array<std::string_view, 5> kKeys = {"bos", "summarize", "qa", "generate", "stop"};
constexpr std::array<std::string_view, 1> kTables = {"prompt"};

bool is_name_letter(char letter) {
  return (letter >= 'a' && letter <= 'z') || letter == '_';
}

// The name in text[at..] = "{name}...", empty when no placeholder stands there.
std::string_view placeholder_at(std::string_view text, std::size_t at) {
  std::size_t end = at + 1;
  while (end < text.size() && is_name_letter(text[end])) ++end;
  const bool closed = end < text.size() && text[end] == '}';
  return closed ? text.substr(at + 1, end - at - 1) : std::string_view{};
}

}  // namespace

// Reads the [prompt] table; throws nothing, but toml++'s parser does: see parse.
class PromptTemplate::Reader {
 public:
  Reader(const toml::table& document, std::string_view name) : document_(document), name_(name) {}

  Result<PromptTemplate> read() {
    Status known = check_keys(document_, kTables);
    if (!known) return known.error();
    if (!document_.contains("prompt")) return result_;
    const toml::table* const prompt = document_["prompt"].as_table();
    if (prompt == nullptr) return problem("prompt must be a table: [prompt]");
    known = check_keys(*prompt, kKeys);
    if (!known) return known.error();
    for (const Status& read : {read_template(*prompt, "summarize", {"document"}, result_.summarize_),
                               read_template(*prompt, "qa", {"document", "question"}, result_.qa_),
                               read_template(*prompt, "generate", {"prompt"}, result_.generate_),
                               read_bos(*prompt), read_stop(*prompt)}) {
      if (!read) return read.error();
    }
    return result_;
  }

 private:
  [[nodiscard]] Error problem(std::string_view what) const {
    return {ErrorCode::kInvalidArgument, fmt::format("{}: {}", name_, what)};
  }

  [[nodiscard]] Status check_keys(const toml::table& table, std::span<const std::string_view> known) const {
    for (const auto& [key, value] : table) {
      if (std::ranges::find(known, key.str()) == known.end()) {
        return problem(fmt::format("unknown key \"{}\"; did you mean \"{}\"?", key.str(),
                                   schema::nearest(key.str(), known)));
      }
    }
    return ok_status();
  }

  // Cuts the template at `names`, each of which it must have once, in that order.
  Status read_template(const toml::table& prompt, std::string_view key,
                       std::initializer_list<std::string_view> names, Literals& literals) const {
    if (!prompt.contains(key)) return ok_status();
    const auto text = prompt[key].value_exact<std::string>();
    if (!text) return problem(fmt::format("{} must be a string", key));
    literals.assign(1, {});
    const auto* expected = names.begin();
    for (std::size_t at = 0; at < text->size(); ++at) {
      const std::string_view name = (*text)[at] == '{' ? placeholder_at(*text, at) : std::string_view{};
      if (name.empty()) {
        literals.back() += (*text)[at];
        continue;
      }
      if (expected == names.end() || name != *expected) return misplaced(key, name, names);
      ++expected;
      literals.emplace_back();
      at += name.size() + 1;
    }
    if (expected == names.end()) return ok_status();
    return problem(fmt::format("{} lacks {{{}}}", key, *expected));
  }

  [[nodiscard]] Error misplaced(std::string_view key, std::string_view name,
                                std::initializer_list<std::string_view> names) const {
    const std::span<const std::string_view> known(names.begin(), names.size());
    if (std::ranges::find(known, name) == known.end()) {
      return problem(fmt::format("{} has the unknown placeholder {{{}}}; did you mean {{{}}}?", key, name,
                                 schema::nearest(name, known)));
    }
    return problem(
        fmt::format("{}: {{{}}} must stand there once, and {{document}} before {{question}}", key, name));
  }

  Status read_bos(const toml::table& prompt) {
    if (!prompt.contains("bos")) return ok_status();
    result_.bos_ = prompt["bos"].value_exact<bool>();
    if (!result_.bos_) return problem("bos must be true or false");
    return ok_status();
  }

  Status read_stop(const toml::table& prompt) {
    if (!prompt.contains("stop")) return ok_status();
    const toml::array* const list = prompt["stop"].as_array();
    if (list == nullptr) return problem("stop must be a list of strings");
    for (const toml::node& node : *list) {
      const auto text = node.value_exact<std::string>();
      if (!text || text->empty()) return problem("stop must be a list of strings, none of them empty");
      result_.stop_.push_back(*text);
    }
    return ok_status();
  }

  const toml::table& document_;
  std::string name_;
  PromptTemplate result_;
};

PromptTemplate::PromptTemplate()
    : summarize_{"", "\n\nSummary:"}, qa_{"", "\n\nQuestion: ", "\nAnswer:"}, generate_{"", ""} {}

Result<PromptTemplate> PromptTemplate::parse(std::string_view toml, std::string_view name) {
  try {
    const toml::table document = toml::parse(toml, name);
    return Reader(document, name).read();
  } catch (const toml::parse_error& error) {
    const auto place = error.source().begin;
    return Error{ErrorCode::kCorrupt, fmt::format("{}: malformed TOML at line {}, column {}: {}", name,
                                                  place.line, place.column, error.description())};
  } catch (const std::exception& error) {
    return Error{ErrorCode::kInternal, fmt::format("{}: {}", name, error.what())};
  }
}

Result<PromptTemplate> PromptTemplate::load(const std::filesystem::path& dir) {
  const std::filesystem::path path = model_companion(dir, "dslad.toml");
  const auto text = read_file(path, kMaxTemplateBytes);
  if (text.ok()) return parse(*text, path.string());
  if (text.error().code == ErrorCode::kNotFound) return PromptTemplate();
  return text.error();
}

PromptText PromptTemplate::fill(const Literals& literals, std::initializer_list<std::string_view> values) {
  PromptText text;
  const auto append_literal = [](PromptPiece& piece, const std::string& literal) {
    if (literal.empty()) return;
    piece.from_template.push_back({piece.text.size(), piece.text.size() + literal.size()});
    piece.text += literal;
  };
  append_literal(text.head, literals[0]);
  std::size_t i = 0;
  for (const std::string_view value : values) {
    (i == 0 ? text.head : text.tail).text += value;
    append_literal(text.tail, literals[++i]);
  }
  return text;
}

PromptText PromptTemplate::summarize(std::string_view document) const {
  return fill(summarize_, {document});
}

PromptText PromptTemplate::qa(std::string_view document, std::string_view question) const {
  return fill(qa_, {document, question});
}

PromptText PromptTemplate::generate(std::string_view prompt) const {
  return fill(generate_, {prompt});
}

Result<std::vector<TokenId>> encode_head(const Tokenizer& tokenizer, const PromptTemplate& prompt,
                                         const PromptText& text) {
  std::vector<TokenId> ids;
  if (prompt.bos().value_or(tokenizer.special().adds_bos)) {
    if (!tokenizer.special().bos) {
      return Error{
          ErrorCode::kInvalidArgument,
          "dslad.toml asks for bos, but neither the tokenizer nor config.json names one; set bos = false"};
    }
    ids.push_back(*tokenizer.special().bos);
  }
  const auto encoded = tokenizer.encode(text.head.text, TextPosition::kBeginning, text.head.from_template);
  if (!encoded) return encoded.error();
  ids.insert(ids.end(), encoded->begin(), encoded->end());
  return ids;
}

Result<std::vector<TokenId>> encode_tail(const Tokenizer& tokenizer, const PromptText& text) {
  const TextPosition position =
      text.head.text.empty() ? TextPosition::kBeginning : TextPosition::kContinuation;
  return tokenizer.encode(text.tail.text, position, text.tail.from_template);
}

TextPosition position_after(const PromptText& text) {
  return text.empty() ? TextPosition::kBeginning : TextPosition::kContinuation;
}

}  // namespace dslad::worker
