// What the names and the conditions of a chat template come to in the one conversation that dslad has: one
// message of a user's, an answer to follow, thinking off, neither tools nor documents.
//
// As transformers hands it in, with one difference: there is no clock, so that answers do not differ by the
// day. A template that states a date for that case has that one; else strftime_now is always the same day.
// What this does not understand is unknown, never guessed. Pure values.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace dslad::worker {

struct TemplateValue {
  enum class Kind : std::uint8_t { kUnknown, kUndefined, kNone, kTrue, kFalse, kText, kContent, kMessage };
  Kind kind = Kind::kUnknown;
  std::string text = {};  // of kText; kContent is what the user says, kMessage the message that has it
};

// What {% set %} gave, in the order of the template.
class TemplateNames {
 public:
  // `surely`: whatever the conditions that are unknown.
  void assign(std::string_view name, TemplateValue value, bool surely);
  [[nodiscard]] TemplateValue value_of(std::string_view name) const;

 private:
  std::map<std::string, TemplateValue, std::less<>> assigned_;
};

// The constants true, false and none, in either spelling; nothing for other names.
[[nodiscard]] std::optional<TemplateValue> template_constant(std::string_view name);

// Whether {% if condition %} is taken; nothing where that is unknown.
[[nodiscard]] std::optional<bool> holds(std::string_view condition, const TemplateNames& names);

// strftime_now(format): 8 July 2025 in English; nothing for a directive that is not of a date.
[[nodiscard]] std::optional<std::string> fixed_date(std::string_view format);

}  // namespace dslad::worker
