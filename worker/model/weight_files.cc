#include "worker/model/weight_files.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "worker/files/json_file.h"
#include "worker/files/model_path.h"
#include "worker/model/gguf_tensors.h"
#include "worker/model/safetensors.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxIndexBytes = 64 << 20;
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

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

}  // namespace

Status WeightFiles::check_unchanged() const {
  for (const auto& [path, then] : opened_) {
    if (FileStamp::of(path) == then) continue;
    return Error{ErrorCode::kRefused,
                 fmt::format("{}: the model's file has changed since it was opened", path.string())};
  }
  return ok_status();
}

Status WeightFiles::add_safetensors(const std::filesystem::path& path) {
  opened_.emplace_back(path, FileStamp::of(path));
  auto file = MappedFile::open(path);
  if (!file) return file.error();
  auto tensors = parse_safetensors(file->bytes(), path.string());
  if (!tensors) return tensors.error();
  files_.push_back(*std::move(file));
  std::ranges::move(*tensors, std::back_inserter(tensors_));
  return ok_status();
}

Status WeightFiles::add_gguf(const std::filesystem::path& path) {
  opened_.emplace_back(path, FileStamp::of(path));
  auto file = GgufFile::open(path);
  if (!file) return file.error();
  auto tensors = gguf_tensors(*file, gguf_files_.empty() ? *file : gguf_files_.front(), path.string());
  if (!tensors) return tensors.error();
  gguf_files_.push_back(*std::move(file));
  std::ranges::move(*tensors, std::back_inserter(tensors_));
  return ok_status();
}

Status WeightFiles::index_tensors() {
  for (const TensorView& view : tensors_) {
    if (!by_name_.emplace(view.name, &view).second) {
      return Error{ErrorCode::kCorrupt,
                   fmt::format("{}: the weights hold \"{}\" twice", model_.string(), view.name)};
    }
  }
  return ok_status();
}

Result<WeightFiles> WeightFiles::open(const std::filesystem::path& model) {
  WeightFiles weights(model);
  Status status = ok_status();
  WeightMap map;
  std::error_code ignored;
  if (is_gguf(model)) {
    const auto parts = gguf_parts(model);
    if (!parts) return parts.error();
    for (const auto& part : *parts) {
      if (status) status = weights.add_gguf(part);
    }
  } else if (std::filesystem::exists(model / kSingleFile, ignored)) {
    status = weights.add_safetensors(model / kSingleFile);
  } else {
    auto index = read_index(model / kIndexFile);
    if (!index) return index.error().with_context(fmt::format("no {}", kSingleFile));
    map = *std::move(index);
    std::set<std::string> shards;
    for (const auto& [tensor, shard] : map) shards.insert(shard);
    for (const std::string& shard : shards) {
      if (status) status = weights.add_safetensors(model / shard);
    }
  }
  if (status) status = weights.index_tensors();
  if (!status) return status.error();
  for (const auto& [tensor, shard] : map) {
    if (weights.find(tensor) == nullptr) {
      return Error{ErrorCode::kCorrupt, fmt::format("{}: the index places \"{}\" in {}, which lacks it",
                                                    model.string(), tensor, shard)};
    }
  }
  return weights;
}

const TensorView* WeightFiles::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

bool WeightFiles::ties(bool configured) const {
  if (!configured) return false;
  const TensorView* const head = find("lm_head.weight");
  const TensorView* const embedding = find("model.embed_tokens.weight");
  if (head == nullptr || embedding == nullptr) return head == nullptr;
  if (head->type != embedding->type) return false;
  const bool equal = std::ranges::equal(head->bytes, embedding->bytes);
  release_pages(head->bytes);
  release_pages(embedding->bytes);
  return equal;
}

Result<const TensorView*> WeightFiles::require(std::string_view name,
                                               std::span<const std::int64_t> shape) const {
  const TensorView* const view = find(name);
  if (view == nullptr) {
    return Error{ErrorCode::kNotFound, fmt::format("{}: the weights lack \"{}\"", model_.string(), name)};
  }
  if (!std::ranges::equal(view->shape, shape)) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{}: \"{}\" has the shape [{}], config.json asks for [{}]", model_.string(),
                             name, fmt::join(view->shape, ", "), fmt::join(shape, ", "))};
  }
  if (!readable(view->type)) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{}: \"{}\" holds {}; convert it to F32, F16 or BF16", model_.string(), name,
                             to_string(view->type))};
  }
  return view;
}

}  // namespace dslad::worker
