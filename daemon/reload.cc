#include "daemon/reload.h"

#include <fmt/format.h>
#include <variant>

#include "daemon/config_keys.h"

namespace dslad::daemon {
namespace {

void copy_value(const KeyEntry& key, const Config& from, Config& to) {
  std::visit([&](const auto& kind) { to.*(kind.member) = from.*(kind.member); }, key.kind);
}

}  // namespace

Reload plan_reload(const Config& now, const Config& asked) {
  Reload reload{now, {}, {}};
  for (const KeyEntry& key : key_table()) {
    const std::string old_value = value_of(key, now);
    const std::string new_value = value_of(key, asked);
    if (old_value == new_value) continue;
    if (key.reloads) {
      copy_value(key, asked, reload.config);
      reload.changed.push_back(fmt::format("{} is {} now, was {}", key.name, new_value, old_value));
    } else {
      const char* remedy = key.name.starts_with("policy.") ? "use dslactl policy set, or restart dslad"
                                                           : "restart dslad to change it";
      reload.refused.push_back(
          fmt::format("{} stays {}, {} is not taken: {}", key.name, old_value, new_value, remedy));
    }
  }
  return reload;
}

}  // namespace dslad::daemon
