#include "worker/text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "worker/text/byte_level.h"
#include "worker/text/unicode_ages.h"

namespace dslad::worker {
namespace {

constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// What matches no text at all, unlike an empty pattern, which matches everywhere.
constexpr const char* kNever = "(?!)";

Result<Regex> compile(const SplitStep& step) {
  if (step.is_regex) return Regex::compile(step.pattern);
  return step.pattern.empty() ? Regex::compile_pcre(kNever) : Regex::literal(step.pattern);
}

std::string with_replacement(std::string_view text, std::string_view replacement) {
  std::string result;
  result.reserve(text.size() + text.size() / 2);
  for (const char byte : text) byte == ' ' ? result.append(replacement) : result.append(1, byte);
  return result;
}

}  // namespace

// The pieces of one text while steps are taken.
class PreTokenizer::Splitting {
 public:
  Splitting(std::string_view text, TextPlace place) : place_(place) {
    if (!text.empty()) words_.list.push_back(text);
  }

  Status take(const Cut& cut) {
    std::vector<std::string_view> pieces;
    std::vector<TextRange> matches;
    Regex::Search search(cut.pattern);
    for (const std::string_view piece : words_.list) {
      const Status found = search.find_all(piece, matches);
      if (!found) return found;
      split_at(piece, matches, cut.behavior, cut.invert, pieces);
    }
    whole_beginning_ =
        whole_beginning_ && !pieces.empty() && pieces.front().data() == words_.list.front().data();
    words_.list = std::move(pieces);
    return ok_status();
  }

  Status take(const SpaceBefore&) {
    change([&](std::string_view piece, bool first, std::string& changed) {
      const bool wanted = !piece.starts_with(' ') && !(first && place_ == TextPlace::kContinues);
      if (wanted) changed += ' ';
      changed += piece;
    });
    return ok_status();
  }

  Status take(const ByteAlphabet&) {
    change([](std::string_view piece, bool /*first*/, std::string& changed) {
      for (const char byte : piece) append_byte_level(static_cast<unsigned char>(byte), changed);
    });
    return ok_status();
  }

  Status take(const MetaspaceStep& step) {
    change([&](std::string_view piece, bool first, std::string& changed) {
      const bool begins_text = first && whole_beginning_ && place_ == TextPlace::kFirst;
      const bool wanted = step.prefix == MetaspaceStep::Prefix::kAlways
                              ? !(first && place_ == TextPlace::kContinues)
                              : step.prefix == MetaspaceStep::Prefix::kFirst && begins_text;
      const std::string replaced = with_replacement(piece, step.replacement);
      if (wanted && !replaced.starts_with(step.replacement)) changed += step.replacement;
      changed += replaced;
    });
    return step.split ? split_before(step.replacement) : ok_status();
  }

  Words finish() { return std::move(words_); }

 private:
  // `write` appends what becomes of a piece. All changed pieces share one string.
  template <typename Write>
  void change(Write write) {
    std::string changed;
    std::vector<std::size_t> ends;
    ends.reserve(words_.list.size());
    for (const std::string_view piece : words_.list) {
      write(piece, ends.empty(), changed);
      ends.push_back(changed.size());
    }
    const std::string_view all = words_.changed.emplace_back(std::move(changed));
    for (std::size_t i = 0, begin = 0; i < ends.size(); begin = ends[i++]) {
      words_.list[i] = all.substr(begin, ends[i] - begin);
    }
  }

  // Each `mark` begins a piece.
  Status split_before(std::string_view mark) {
    std::vector<std::string_view> pieces;
    std::vector<TextRange> matches;
    for (const std::string_view piece : words_.list) {
      matches.clear();
      for (std::size_t at = piece.find(mark); at != std::string_view::npos;
           at = piece.find(mark, at + mark.size())) {
        matches.push_back({at, at + mark.size()});
      }
      split_at(piece, matches, SplitBehavior::kMergedWithNext, false, pieces);
    }
    words_.list = std::move(pieces);
    return ok_status();
  }

  TextPlace place_;
  bool whole_beginning_ = true;  // no step has removed what the text begins with
  Words words_;
};

Result<PreTokenizer> PreTokenizer::create(const std::vector<PreTokenizerStep>& steps) {
  PreTokenizer result;
  for (const PreTokenizerStep& step : steps) {
    const Status added = std::visit([&](const auto& kind) { return result.add(kind); }, step);
    if (!added) return added.error();
  }
  return result;
}

Status PreTokenizer::add(const SplitStep& step) {
  return add_cut(compile(step), step.behavior, step.invert);
}

Status PreTokenizer::add(const DigitsStep& step) {
  return add_cut(Regex::compile_pcre(digit_pattern()),
                 step.individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
}

Status PreTokenizer::add(const PunctuationStep& step) {
  return add_cut(Regex::compile_pcre(punctuation_pattern()), step.behavior);
}

Status PreTokenizer::add(const ByteLevelStep& step) {
  if (step.add_prefix_space) steps_.emplace_back(SpaceBefore{});
  if (step.use_pattern) {
    const Status added = add_cut(Regex::compile(kGpt2Pattern), SplitBehavior::kIsolated);
    if (!added) return added;
  }
  steps_.emplace_back(ByteAlphabet{});
  return ok_status();
}

Status PreTokenizer::add(const MetaspaceStep& step) {
  if (step.replacement.empty()) {
    return Error{ErrorCode::kInvalidArgument, "pre_tokenizer: Metaspace without a replacement"};
  }
  steps_.emplace_back(step);
  return ok_status();
}

Status PreTokenizer::add_cut(Result<Regex> pattern, SplitBehavior behavior, bool invert) {
  if (!pattern) return pattern.error().with_context("pre_tokenizer");
  steps_.emplace_back(Cut{*std::move(pattern), behavior, invert});
  return ok_status();
}

Result<Words> PreTokenizer::split(std::string_view text, TextPlace place) const {
  Splitting splitting(text, place);
  for (const Step& step : steps_) {
    const Status taken = std::visit([&](const auto& kind) { return splitting.take(kind); }, step);
    if (!taken) return taken.error();
  }
  return splitting.finish();
}

}  // namespace dslad::worker
