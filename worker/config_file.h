// The worker's configuration file for CLI11: a TOML file whose keys are the program's options, drain_s for
// --drain-s. What the command line gives as well, it wins.
//
// Not thread-safe; used while the command line is parsed.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace dslad::worker {

class ConfigFile : public CLI::Config {
 public:
  // Of `app`'s options, which must outlive it; adds --config to them.
  explicit ConfigFile(CLI::App& app);

  // What the file holds. Throws CLI::ConfigError, which names the place, for an unknown key or what is no
  // TOML.
  std::vector<CLI::ConfigItem> from_config(std::istream& stream) const override;
  std::string to_config(const CLI::App*, bool, bool, std::string) const override { return {}; }

  // An error of parsing as text, with its place in the file where the option that it names came from there.
  [[nodiscard]] std::string explain(const CLI::ParseError& error) const;

 private:
  [[nodiscard]] std::string file() const;

  CLI::App& app_;
  mutable std::map<std::string, std::uint32_t> lines_;  // of the options that the file gave: "--drain-s"
};

}  // namespace dslad::worker
