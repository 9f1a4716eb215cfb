#include "worker/files/model_path.h"

#include <cstdlib>
#include <fmt/format.h>
#include <regex>
#include <system_error>

namespace dslad::worker {
namespace {

// "NAME-00001-of-00003"
const std::regex& part_pattern() {
  static const std::regex pattern("(.+)-([0-9]{5})-of-([0-9]{5})");
  return pattern;
}

// The file's name without ".gguf" and without the number of its part.
std::string gguf_stem(const std::filesystem::path& model) {
  const std::string stem = model.stem().string();
  std::smatch match;
  return std::regex_match(stem, match, part_pattern()) ? match[1].str() : stem;
}

// ORG/NAME of ".../models--ORG--NAME/snapshots/COMMIT"; empty elsewhere.
std::string cached_repository(const std::filesystem::path& folder) {
  constexpr std::string_view kPrefix = "models--", kBetween = "--";
  if (folder.parent_path().filename() != "snapshots") return {};
  std::string name = folder.parent_path().parent_path().filename().string();
  if (!name.starts_with(kPrefix)) return {};
  name.erase(0, kPrefix.size());
  if (const std::size_t at = name.find(kBetween); at != std::string::npos)
    name.replace(at, kBetween.size(), "/");
  return name;
}

}  // namespace

bool is_gguf(const std::filesystem::path& model) {
  return model.extension() == ".gguf";
}

std::filesystem::path model_companion(const std::filesystem::path& model, std::string_view name) {
  if (!is_gguf(model)) return model / name;
  return model.parent_path() / fmt::format("{}.{}", gguf_stem(model), name);
}

std::string model_name(const std::filesystem::path& model) {
  if (is_gguf(model)) return gguf_stem(model);
  // The folder's own path, not where its last component may link to: that is how its owner calls it.
  std::error_code ignored;
  std::filesystem::path folder = std::filesystem::absolute(model, ignored).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  if (std::string repository = cached_repository(folder); !repository.empty()) return repository;
  return folder.filename().string();
}

Result<std::vector<std::filesystem::path>> gguf_parts(const std::filesystem::path& model) {
  const std::string stem = model.stem().string();
  std::smatch match;
  if (!std::regex_match(stem, match, part_pattern())) return std::vector{model};
  const int part = std::atoi(match[2].str().c_str()), parts = std::atoi(match[3].str().c_str());
  if (part != 1) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{}: is part {} of {}; name the first part, the others are found beside it",
                             model.string(), part, parts)};
  }
  std::vector<std::filesystem::path> paths;
  for (int i = 1; i <= parts; ++i) {
    paths.push_back(model.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", match[1].str(), i, parts));
  }
  return paths;
}

}  // namespace dslad::worker
