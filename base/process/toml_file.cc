#include "base/process/toml_file.h"

#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <sstream>
#include <toml++/toml.h>

namespace dslad::process {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 20;
constexpr int kMaxDepth = 8;

using Take = std::function<void(const TomlValue&)>;

void walk(const toml::table& table, const std::string& prefix, int depth, const Take& take) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    if (node.is_table() && depth < kMaxDepth) {
      walk(*node.as_table(), name + ".", depth + 1, take);
      continue;
    }
    TomlValue value{name, node.source().begin.line, std::nullopt, "", {}};
    if (node.is_integer()) {
      value.integer = node.as_integer()->get();
    } else if (node.is_string()) {
      value.text = node.as_string()->get();
    } else {
      std::ostringstream written;
      node.visit([&](const auto& typed) { written << typed; });
      value.text = written.str();
    }
    if (const toml::array* list = node.as_array(); list != nullptr && list->is_homogeneous<std::string>()) {
      for (const auto& item : *list) value.texts.push_back(item.as_string()->get());
    }
    take(value);
  }
}

}  // namespace

std::string read_toml(const std::filesystem::path& file, const Take& take) {
  std::ifstream stream(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream) return fmt::format("{}: cannot be read", file.string());
  if (text.size() > kMaxFileBytes)
    return fmt::format("{}: has more than {} bytes", file.string(), kMaxFileBytes);
  try {
    const toml::table table = toml::parse(text, file.string());
    walk(table, "", 0, take);
  } catch (const toml::parse_error& error) {
    return fmt::format("{}:{}: {}", file.string(), error.source().begin.line, error.description());
  } catch (const std::exception& error) {
    return fmt::format("{}: {}", file.string(), error.what());
  }
  return {};
}

}  // namespace dslad::process
