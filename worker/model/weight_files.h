// All tensors of a model directory: model.safetensors, or the shards that model.safetensors.index.json
// names. Opening reads headers only; weights are paged in as they are read.
//
// Immutable after opening: safe from any thread. Views live as long as this object.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "schema/result.h"
#include "worker/model/safetensors.h"

namespace dslad::worker {

class WeightFiles {
 public:
  // Errors: kNotFound (no weights, or a shard is missing), kCorrupt (a shard's header; a tensor that two
  // shards hold, or that the index places in a shard which lacks it).
  static Result<WeightFiles> open(const std::filesystem::path& dir);

  // nullptr when no file holds `name`.
  [[nodiscard]] const TensorView* find(std::string_view name) const;

  // The tensor `name`, which must have `shape` and a type that read_rows converts.
  // Errors: kNotFound, kInvalidArgument; both name the tensor and the directory.
  [[nodiscard]] Result<const TensorView*> require(std::string_view name,
                                                  std::span<const std::int64_t> shape) const;

  [[nodiscard]] std::size_t count() const { return by_name_.size(); }
  [[nodiscard]] std::span<const SafetensorsFile> files() const { return files_; }

 private:
  WeightFiles(std::filesystem::path dir, std::vector<SafetensorsFile> files);
  Status index_tensors();

  std::filesystem::path dir_;
  std::vector<SafetensorsFile> files_;
  std::unordered_map<std::string_view, const TensorView*> by_name_;  // into files_
};

}  // namespace dslad::worker
