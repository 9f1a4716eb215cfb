#include "ctl/batch_label.h"

#include <algorithm>
#include <fmt/format.h>

#include "ctl/format.h"
#include "schema/limits.h"

namespace dslad::ctl {
namespace {

constexpr std::string_view kBatchPrefix = "batch_";
constexpr std::string_view kChatLabel = "openai:chat";
constexpr std::string_view kCompletionLabel = "openai:completion";

}  // namespace

std::string_view label_of(RowKind kind) {
  switch (kind) {
    case RowKind::kChat:
      return kChatLabel;
    case RowKind::kCompletion:
      return kCompletionLabel;
    default:
      return {};
  }
}

RowKind kind_of(const std::vector<std::string>& labels) {
  for (const RowKind kind : {RowKind::kChat, RowKind::kCompletion}) {
    if (std::find(labels.begin(), labels.end(), label_of(kind)) != labels.end()) return kind;
  }
  return RowKind::kNative;
}

std::string batch_id(const Hash& file, const schema::SamplingOptions& options, const std::string& model,
                     bool use_model) {
  const std::string all = fmt::format("{}|{}|{}|{}|{}|{}|{}", file.hex(), options.max_tokens,
                                      options.temperature, options.top_p, options.seed, use_model, model);
  return std::string(kBatchPrefix) + hash_of(all).hex().substr(0, kNoBatch.size() - kBatchPrefix.size());
}

Status check_batch_id(const std::string& text) {
  const std::string_view digits = std::string_view(text).substr(std::min(text.size(), kBatchPrefix.size()));
  const bool hex = digits.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  if (text.starts_with(kBatchPrefix) && text.size() == kNoBatch.size() && hex) return ok_status();
  return invalid_argument(
      fmt::format("'{}' is no id of a batch; it is batch_ and 24 hex digits, as dslactl submit batch says it",
                  one_line(text)));
}

std::string row_key(std::string_view batch, std::string_view custom_id) {
  std::string key = fmt::format("{}:{}", batch, custom_id);
  if (key.size() <= schema::kMaxNameBytes) return key;
  return fmt::format("{}#{}", batch, hash_of(custom_id).hex());
}

}  // namespace dslad::ctl
