#include "worker/model/weight_files.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "worker/files/json_file.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxIndexBytes = 64 << 20;
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

bool readable(StoredType type) {
  return type == StoredType::kF32 || type == StoredType::kF16 || type == StoredType::kBf16;
}

// A shard is a file beside the index, never one elsewhere.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name.find('/') == std::string::npos && name != "." && name != "..";
}

// tensor -> shard
using WeightMap = std::vector<std::pair<std::string, std::string>>;

Result<WeightMap> read_index(const std::filesystem::path& path) {
  const auto document = load_json(path, kMaxIndexBytes);
  if (!document) return document.error();
  const auto broken = [&](std::string_view what) {
    return Error{ErrorCode::kCorrupt, fmt::format("{}: {}", path.string(), what)};
  };
  if (!document->is_object() || !document->contains("weight_map")) return broken("has no weight_map");
  const json& map = (*document)["weight_map"];
  if (!map.is_object() || map.empty()) return broken("weight_map is not an object with entries");
  WeightMap weights;
  for (const auto& [tensor, shard] : map.items()) {
    if (!shard.is_string() || !is_plain_name(shard.get<std::string>())) {
      return broken(fmt::format("weight_map: \"{}\" does not name a file of this folder", tensor));
    }
    weights.emplace_back(tensor, shard.get<std::string>());
  }
  return weights;
}

Result<std::vector<SafetensorsFile>> open_all(const std::filesystem::path& dir,
                                              const std::set<std::string>& names) {
  std::vector<SafetensorsFile> files;
  for (const std::string& name : names) {
    auto file = SafetensorsFile::open(dir / name);
    if (!file) return file.error();
    files.push_back(*std::move(file));
  }
  return files;
}

}  // namespace

WeightFiles::WeightFiles(std::filesystem::path dir, std::vector<SafetensorsFile> files)
    : dir_(std::move(dir)), files_(std::move(files)) {}

Status WeightFiles::index_tensors() {
  for (const SafetensorsFile& file : files_) {
    for (const TensorView& view : file.tensors()) {
      if (!by_name_.emplace(view.name, &view).second) {
        return Error{ErrorCode::kCorrupt,
                     fmt::format("{}: two shards hold \"{}\"", dir_.string(), view.name)};
      }
    }
  }
  return ok_status();
}

Result<WeightFiles> WeightFiles::open(const std::filesystem::path& dir) {
  WeightMap map;
  std::set<std::string> names = {kSingleFile};
  if (std::error_code ignored; !std::filesystem::exists(dir / kSingleFile, ignored)) {
    auto index = read_index(dir / kIndexFile);
    if (!index) return index.error().with_context(fmt::format("no {}", kSingleFile));
    map = *std::move(index);
    names.clear();
    for (const auto& [tensor, shard] : map) names.insert(shard);
  }
  auto files = open_all(dir, names);
  if (!files) return files.error();
  WeightFiles weights(dir, *std::move(files));
  const Status indexed = weights.index_tensors();
  if (!indexed) return indexed.error();
  for (const auto& [tensor, shard] : map) {
    if (weights.find(tensor) == nullptr) {
      return Error{ErrorCode::kCorrupt, fmt::format("{}: the index places \"{}\" in {}, which lacks it",
                                                    dir.string(), tensor, shard)};
    }
  }
  return weights;
}

const TensorView* WeightFiles::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

Result<const TensorView*> WeightFiles::require(std::string_view name,
                                               std::span<const std::int64_t> shape) const {
  const TensorView* const view = find(name);
  if (view == nullptr) {
    return Error{ErrorCode::kNotFound, fmt::format("{}: the weights lack \"{}\"", dir_.string(), name)};
  }
  if (!std::ranges::equal(view->shape, shape)) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{}: \"{}\" has the shape [{}], config.json asks for [{}]", dir_.string(), name,
                             fmt::join(view->shape, ", "), fmt::join(shape, ", "))};
  }
  if (!readable(view->type)) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{}: \"{}\" holds {}; convert it to F32, F16 or BF16", dir_.string(), name,
                             to_string(view->type))};
  }
  return view;
}

}  // namespace dslad::worker
