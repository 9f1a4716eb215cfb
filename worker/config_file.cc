#include "worker/config_file.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/nearest.h"
#include "base/process/toml_file.h"

namespace dslad::worker {
namespace {

std::string option_of(std::string key) {
  std::ranges::replace(key, '_', '-');
  return key;
}

std::string key_of(std::string option) {
  std::ranges::replace(option, '-', '_');
  return option;
}

// Those that a file may give.
std::vector<std::string> keys_of(const CLI::App& app) {
  std::vector<std::string> keys;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_configurable() && !option->get_lnames().empty())
      keys.push_back(key_of(option->get_lnames().front()));
  }
  return keys;
}

std::vector<std::string> inputs_of(const process::TomlValue& value) {
  if (value.integer) return {std::to_string(*value.integer)};
  if (!value.texts.empty()) return value.texts;
  return {value.text};
}

}  // namespace

ConfigFile::ConfigFile(CLI::App& app) : app_(app) {
  app.set_config("--config", "", "TOML file of these options, drain_s for --drain-s; the command line wins")
      ->configurable(false);
  if (CLI::Option* help = app.get_help_ptr()) help->configurable(false);
  if (CLI::Option* version = app.get_version_ptr()) version->configurable(false);
}

std::string ConfigFile::file() const {
  return app_.get_config_ptr()->as<std::string>();
}

std::vector<CLI::ConfigItem> ConfigFile::from_config(std::istream& /*stream*/) const {
  const std::vector<std::string> keys = keys_of(app_);
  std::vector<CLI::ConfigItem> given;
  std::string unknown;
  const std::string unreadable = process::read_toml(file(), [&](const process::TomlValue& value) {
    if (std::ranges::find(keys, value.key) == keys.end()) {
      const std::vector<std::string_view> known(keys.begin(), keys.end());
      unknown += fmt::format("{}{}:{}: unknown key '{}'; did you mean '{}'?", unknown.empty() ? "" : "\n",
                             file(), value.line, value.key, nearest(value.key, known));
      return;
    }
    CLI::ConfigItem item;
    item.name = option_of(value.key);
    item.inputs = inputs_of(value);
    lines_.emplace("--" + item.name, value.line);
    given.push_back(std::move(item));
  });
  if (!unreadable.empty()) throw CLI::ConfigError(unreadable, CLI::ExitCodes::ConfigError);
  if (!unknown.empty()) throw CLI::ConfigError(unknown, CLI::ExitCodes::ConfigError);
  return given;
}

std::string ConfigFile::explain(const CLI::ParseError& error) const {
  const std::string text = error.what();
  for (const auto& [option, line] : lines_) {
    if (text.starts_with(option + ":") || text.starts_with(option + " "))
      return fmt::format("{}:{}: {}", file(), line, text);
  }
  return text;
}

}  // namespace dslad::worker
