#include "worker/text/regex.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <fmt/format.h>
#include <utility>

#include "worker/text/code_points.h"
#include "worker/text/oniguruma.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace dslad::worker {

struct PcreFree {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};

namespace {

// Steps of backtracking that one match may take: a run of spaces as long as the text needs a few for each.
constexpr std::uint32_t kLeastSteps = 1'000'000;
constexpr std::size_t kStepsPerByte = 16;
constexpr std::uint32_t kMostSteps = 1'000'000'000;
constexpr std::uint32_t kHeapKibibytes = 64 * 1024;
constexpr std::size_t kJitStackStart = 32 * 1024;
constexpr std::size_t kJitStackMost = 1024 * 1024;

// Lines begin and end within a text, too, as in Ruby's syntax.
constexpr unsigned kOptions = PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;

std::string describe(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct Regex::Code {
  std::unique_ptr<pcre2_code, PcreFree> compiled;
};

class Regex::Search::Scan {
 public:
  explicit Scan(const pcre2_code* code)
      : code_(code),
        data_(pcre2_match_data_create_from_pattern(code, nullptr)),
        context_(pcre2_match_context_create(nullptr)),
        stack_(pcre2_jit_stack_create(kJitStackStart, kJitStackMost, nullptr)) {
    pcre2_set_heap_limit(context_.get(), kHeapKibibytes);
    pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
  }

  void set_text(std::string_view text) {
    text_ = text;
    const std::size_t steps = std::min<std::size_t>(kMostSteps, kLeastSteps + kStepsPerByte * text.size());
    pcre2_set_match_limit(context_.get(), static_cast<std::uint32_t>(steps));
  }

  // PCRE2's result for the first match at or after `at`; that the text is UTF-8 was checked by the caller.
  int match(std::size_t at) {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(), at,
                       PCRE2_NO_UTF_CHECK, data_.get(), context_.get());
  }
  [[nodiscard]] std::size_t begin() const { return pcre2_get_ovector_pointer(data_.get())[0]; }
  [[nodiscard]] std::size_t end() const { return pcre2_get_ovector_pointer(data_.get())[1]; }

 private:
  const pcre2_code* code_;
  std::string_view text_;
  std::unique_ptr<pcre2_match_data, PcreFree> data_;
  std::unique_ptr<pcre2_match_context, PcreFree> context_;
  std::unique_ptr<pcre2_jit_stack, PcreFree> stack_;
};

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::compile(const std::string& pattern, unsigned options, std::string_view shown) {
  int problem = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_unique<Code>();
  code->compiled.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                     options | PCRE2_UTF, &problem, &offset, nullptr));
  if (!code->compiled) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("pattern \"{}\": {}", shown, describe(problem))};
  }
  // Where the machine forbids it (no executable pages), matching is interpreted: slower, the same.
  static_cast<void>(pcre2_jit_compile(code->compiled.get(), PCRE2_JIT_COMPLETE));
  return Regex(std::move(code));
}

Result<Regex> Regex::compile(const std::string& pattern) {
  const auto translated = pcre_pattern(pattern);
  if (!translated) return translated.error().with_context(fmt::format("pattern \"{}\"", pattern));
  return compile(*translated, kOptions, pattern);
}

Result<Regex> Regex::compile_pcre(const std::string& pattern) {
  return compile(pattern, kOptions, pattern);
}

Result<Regex> Regex::literal(const std::string& text) {
  return compile(text, PCRE2_LITERAL, text);
}

Regex::Search::Search(const Regex& regex) : scan_(std::make_unique<Scan>(regex.code_->compiled.get())) {}
Regex::Search::~Search() = default;

Status Regex::Search::find_all(std::string_view text, std::vector<TextRange>& matches) {
  matches.clear();
  scan_->set_text(text);
  std::size_t at = 0;
  while (at <= text.size()) {
    const int result = scan_->match(at);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      return Error{ErrorCode::kResourceExhausted,
                   fmt::format("the tokenizer's pattern gives up at byte {} of {}: {}", at, text.size(),
                               describe(result))};
    }
    const TextRange match = {scan_->begin(), scan_->end()};
    const bool repeated = match.begin == match.end && !matches.empty() && matches.back().end == match.end;
    if (!repeated) {
      matches.push_back(match);
      at = match.end;
    } else {
      at += at < text.size() ? character_length(text, at) : 1;
    }
  }
  return ok_status();
}

}  // namespace dslad::worker
