// All tensors of a model: of a folder model.safetensors, or the shards that model.safetensors.index.json
// names; or those of a GGUF file and its further parts. Behind this nothing knows which it was. Opening reads
// headers only; weights are paged in as they are read.
//
// Immutable after opening: safe from any thread. Views live as long as this object.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "worker/files/file_stamp.h"
#include "worker/files/gguf.h"
#include "worker/files/mapped_file.h"
#include "worker/model/stored_tensor.h"

namespace dslad::worker {

class WeightFiles {
 public:
  // `model`: a folder or a GGUF file. Errors: kNotFound (no weights, or a shard is missing), kCorrupt (a
  // file's header; a tensor that two shards hold, or that the index places in a shard which lacks it),
  // kInvalidArgument (a type or a version that is not implemented).
  static Result<WeightFiles> open(const std::filesystem::path& model);

  // nullptr when no file holds `name`.
  [[nodiscard]] const TensorView* find(std::string_view name) const;

  // The tensor `name`, which must have `shape` and a type that read_rows converts.
  // Errors: kNotFound, kInvalidArgument; both name the tensor and the model.
  [[nodiscard]] Result<const TensorView*> require(std::string_view name,
                                                  std::span<const std::int64_t> shape) const;

  [[nodiscard]] const std::filesystem::path& model() const { return model_; }  // for errors
  // Whether the output projection is the embedding, where the configuration says so. A head that is there and
  // differs counts all the same: fine-tunes leave such files. Compares all of the two tensors.
  [[nodiscard]] bool ties(bool configured) const;

  // Whether the files are still those that were opened. kRefused where one was replaced or written to since:
  // what is read from it now is of no one model.
  [[nodiscard]] Status check_unchanged() const;

  // In the order of the files and of their data.
  [[nodiscard]] std::span<const TensorView> tensors() const { return tensors_; }

 private:
  explicit WeightFiles(std::filesystem::path model) : model_(std::move(model)) {}
  Status add_safetensors(const std::filesystem::path& path);
  Status add_gguf(const std::filesystem::path& path);
  Status index_tensors();

  std::filesystem::path model_;
  std::vector<std::pair<std::filesystem::path, std::optional<FileStamp>>> opened_;  // as they were then
  std::vector<MappedFile> files_;
  std::vector<GgufFile> gguf_files_;
  std::vector<TensorView> tensors_;                                  // views into the files
  std::unordered_map<std::string_view, const TensorView*> by_name_;  // into tensors_
};

}  // namespace dslad::worker
