#include "daemon/dispatch/policy_settings.h"

#include <charconv>
#include <fmt/format.h>

namespace dslad::daemon {
namespace {

// Writes each member that has a value.
class Texts {
 public:
  template <typename T>
  void operator()(const char* key, const std::optional<T>& member) {
    if (!member) return;
    if constexpr (std::is_enum_v<T>) {
      texts_[key] = std::string(to_string(*member));
    } else {
      texts_[key] = fmt::format("{}", *member);
    }
  }
  std::map<std::string, std::string> take() { return std::move(texts_); }

 private:
  std::map<std::string, std::string> texts_;
};

bool parse(const std::string& text, schema::PolicyKind& value) {
  return schema::parse_word(text, value);
}

bool parse(const std::string& text, std::string& value) {
  value = text;
  return true;
}

template <typename Number>
bool parse(const std::string& text, Number& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size();
}

// Reads each member that there is a text for.
class FromTexts {
 public:
  explicit FromTexts(const std::map<std::string, std::string>& texts) : texts_(texts) {}
  template <typename T>
  void operator()(const char* key, std::optional<T>& member) {
    const auto found = texts_.find(key);
    if (found == texts_.end()) return;
    T value{};
    if (parse(found->second, value)) {
      member = value;
    } else {
      wrong_.push_back(fmt::format("{} is '{}'", key, found->second));
    }
  }
  std::vector<std::string> take_wrong() { return std::move(wrong_); }

 private:
  const std::map<std::string, std::string>& texts_;
  std::vector<std::string> wrong_;
};

}  // namespace

void apply(const schema::SetPolicy& request, policy::Settings& settings) {
  settings.kind = request.policy.value_or(settings.kind);
  settings.static_plan = request.static_plan.value_or(settings.static_plan);
  settings.min_quality = request.min_quality.value_or(settings.min_quality);
  if (request.target_drain_ms) settings.target_drain_ms = static_cast<std::int64_t>(*request.target_drain_ms);
  if (request.dwell_ms) settings.dwell_ms = static_cast<std::int64_t>(*request.dwell_ms);
  policy::IdleRules& idle = settings.idle;
  if (request.idle_after_ms) idle.after_ms = static_cast<std::int64_t>(*request.idle_after_ms);
  idle.window = request.idle_window.value_or(idle.window);
  idle.canary_share = request.canary_share.value_or(idle.canary_share);
  idle.min_agreement = request.min_agreement.value_or(idle.min_agreement);
}

std::map<std::string, std::string> to_stored(const schema::SetPolicy& request) {
  Texts texts;
  schema::SetPolicy::fields(request, texts);
  return texts.take();
}

std::vector<std::string> apply_stored(const std::map<std::string, std::string>& stored,
                                      policy::Settings& settings) {
  schema::SetPolicy request;
  FromTexts reader(stored);
  schema::SetPolicy::fields(request, reader);
  std::vector<std::string> wrong = reader.take_wrong();
  if (const Status status = request.validate(); status) {
    apply(request, settings);
  } else {
    wrong.push_back(status.error().message);
  }
  return wrong;
}

}  // namespace dslad::daemon
