#include "worker/distill/checkpoint_files.h"

#include <fmt/format.h>
#include <system_error>

#include "worker/files/atomic_file.h"
#include "worker/files/json_file.h"

namespace dslad::worker {
namespace {

constexpr std::size_t kMostCheckpointStateBytes = 1 << 20;

}  // namespace

std::filesystem::path CheckpointFiles::tensors(std::int64_t number) const {
  return dir_ / fmt::format("{}{}.safetensors", prefix_, number);
}

Status CheckpointFiles::replace(std::int64_t number, const nlohmann::ordered_json& state,
                                std::span<const TensorToWrite> tensors_now) const {
  const auto written = write_safetensors(tensors(number), tensors_now);
  if (!written) return written.error();
  Status replaced = write_file(this->state(), state.dump(1) + "\n");
  if (!replaced) return replaced;
  std::error_code ignored;  // an old file left behind costs space, not correctness
  std::filesystem::remove(tensors(number - 1), ignored);
  return ok_status();
}

Result<std::optional<nlohmann::json>> CheckpointFiles::load_state() const {
  if (std::error_code missing; !std::filesystem::exists(state(), missing))
    return std::optional<nlohmann::json>();
  auto json = load_json(state(), kMostCheckpointStateBytes);
  if (!json) return json.error();
  return std::optional(*std::move(json));
}

Result<SafetensorsFile> CheckpointFiles::open_tensors(std::int64_t number) const {
  return SafetensorsFile::open(tensors(number));
}

Status CheckpointFiles::read_tensor(const SafetensorsFile& file, std::int64_t number, std::string_view name,
                                    std::vector<float>& out) const {
  for (const TensorView& view : file.tensors()) {
    if (view.name != name) continue;
    out.resize(static_cast<std::size_t>(view.elements()));
    return read_rows(view, 0, view.rows(), out.data());
  }
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("{}: the tensor '{}' is missing", tensors(number).string(), name)};
}

Status CheckpointFiles::remove() const {
  std::error_code error;
  std::filesystem::remove(state(), error);
  if (error) return Error{ErrorCode::kUnavailable, fmt::format("{}: {}", state().string(), error.message())};
  std::error_code ignored;  // without its state what is left costs space, not correctness
  for (std::filesystem::directory_iterator entry(dir_, ignored), end; !ignored && entry != end;
       entry.increment(ignored)) {
    const std::string name = entry->path().filename().string();
    const bool whole = name.ends_with(".safetensors"), begun = name.ends_with(".safetensors.tmp");
    if (name.starts_with(prefix_) && (whole || begun)) std::filesystem::remove(entry->path(), error);
  }
  return ok_status();
}

}  // namespace dslad::worker
