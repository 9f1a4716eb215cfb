#include "worker/model/safetensors_writer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <nlohmann/json.hpp>

#include "worker/files/atomic_file.h"
#include "worker/model/digest.h"

namespace dslad::worker {
namespace {

using kernels::DType;

static_assert(std::endian::native == std::endian::little, "the format is little endian, and so is memory");

constexpr std::size_t kSliceValues = std::size_t{1} << 16;  // converted to bf16 at a time
constexpr std::size_t kDataAlignment = 8;

std::size_t bytes_of(const TensorToWrite& tensor) {
  return tensor.values.size() * size_of(tensor.dtype);
}

// The header with its length before it, filled up with spaces so that the data is aligned.
std::string head(std::span<const TensorToWrite* const> tensors) {
  auto header = nlohmann::ordered_json::object();
  std::size_t end = 0;
  for (const TensorToWrite* tensor : tensors) {
    const std::size_t begin = end;
    end += bytes_of(*tensor);
    header[tensor->name] = {{"dtype", tensor->dtype == DType::kF32 ? "F32" : "BF16"},
                            {"shape", tensor->shape},
                            {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + kDataAlignment - 1) / kDataAlignment * kDataAlignment, ' ');
  const auto length = std::bit_cast<std::array<char, 8>>(static_cast<std::uint64_t>(text.size()));
  return std::string(length.data(), length.size()) + text;
}

// Everything that goes into the file goes into the checksum.
class Output {
 public:
  explicit Output(AtomicFile& file) : file_(file) {}

  Status add(std::span<const std::byte> bytes) {
    digest_.add(bytes);
    return file_.append(bytes);
  }

  Status add(const TensorToWrite& tensor) {
    if (tensor.dtype == DType::kF32) return add(std::as_bytes(tensor.values));
    Status status = ok_status();
    for (std::size_t first = 0; status && first < tensor.values.size(); first += kSliceValues) {
      const auto values = tensor.values.subspan(first, std::min(kSliceValues, tensor.values.size() - first));
      slice_.resize(values.size());
      std::ranges::transform(values, slice_.begin(), kernels::to_bf16);
      status = add(std::as_bytes(std::span(slice_)));
    }
    return status;
  }

  [[nodiscard]] std::string checksum() const { return digest_.hex(); }

 private:
  AtomicFile& file_;
  Digest digest_;
  std::vector<kernels::bf16> slice_;
};

}  // namespace

Result<std::string> write_safetensors(const std::filesystem::path& path,
                                      std::span<const TensorToWrite> tensors) {
  std::vector<const TensorToWrite*> placed;
  placed.reserve(tensors.size());
  for (const TensorToWrite& tensor : tensors) placed.push_back(&tensor);
  std::stable_partition(placed.begin(), placed.end(),
                        [](const auto* tensor) { return tensor->dtype == DType::kF32; });

  auto file = AtomicFile::create(path);
  if (!file) return file.error();
  Output output(*file);
  const std::string header = head(placed);
  Status status = output.add(std::as_bytes(std::span(header)));
  for (const TensorToWrite* tensor : placed) {
    if (status) status = output.add(*tensor);
  }
  if (status) status = file->commit();
  if (!status) return status.error();
  return output.checksum();
}

}  // namespace dslad::worker
