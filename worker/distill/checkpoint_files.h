// How any state of training lies in a folder: a JSON file that says where it stands, and names by a number
// the tensors of that moment. They are replaced in an order that a kill cannot tear: tensors under a new
// name, the state, then the old tensors go.
//
// One writer at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/model/safetensors.h"
#include "worker/model/safetensors_writer.h"

namespace dslad::worker {

class CheckpointFiles {
 public:
  // DIR/<state> and DIR/<tensors><number>.safetensors.
  CheckpointFiles(std::filesystem::path dir, std::string_view state, std::string_view tensors)
      : dir_(std::move(dir)), state_(state), prefix_(tensors) {}

  [[nodiscard]] std::filesystem::path state() const { return dir_ / state_; }

  // `number`: one more than the last's. Errors: those of writing.
  Status replace(std::int64_t number, const nlohmann::ordered_json& state,
                 std::span<const TensorToWrite> tensors) const;
  // The state's JSON; nothing when there is none. Errors: kCorrupt, those of reading.
  [[nodiscard]] Result<std::optional<nlohmann::json>> load_state() const;
  [[nodiscard]] Result<SafetensorsFile> open_tensors(std::int64_t number) const;
  // Of `file`, which open_tensors gave, the tensor `name`. kInvalidArgument: it is missing; names the file.
  [[nodiscard]] Status read_tensor(const SafetensorsFile& file, std::int64_t number, std::string_view name,
                                   std::vector<float>& out) const;
  // The state, then all tensors, those of a kill in between included: without it they mean nothing.
  Status remove() const;

  [[nodiscard]] std::filesystem::path tensors(std::int64_t number) const;

 private:
  std::filesystem::path dir_;
  std::string state_, prefix_;
};

}  // namespace dslad::worker
