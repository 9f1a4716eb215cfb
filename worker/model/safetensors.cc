#include "worker/model/safetensors.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "worker/files/json_file.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kMaxDimensions = 16;

// A tensor as its header entry states it, before it is placed in the data.
struct Entry {
  TensorView view;
  std::uint64_t begin, end;
};

Error corrupt(std::string_view name, std::string_view what) {
  return {ErrorCode::kCorrupt, fmt::format("{}: {}; fetch or convert the file again", name, what)};
}

Result<std::string_view> header_text(std::span<const std::byte> file, std::string_view name) {
  if (file.size() < kLengthBytes) return corrupt(name, "shorter than a safetensors header");
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length |= std::to_integer<std::uint64_t>(file[i]) << (8 * i);
  }
  if (length > kMaxHeaderBytes || length > file.size() - kLengthBytes) {
    return corrupt(name, fmt::format("the header claims {} bytes of a file of {}", length, file.size()));
  }
  const std::string_view text{reinterpret_cast<const char*>(file.data()) + kLengthBytes,
                              static_cast<std::size_t>(length)};
  if (!text.starts_with('{')) return corrupt(name, "the header is no JSON object");
  return text;
}

std::optional<std::uint64_t> unsigned_value(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<std::uint64_t>();
}

std::optional<StoredType> parse_type(const json& value) {
  if (!value.is_string()) return std::nullopt;
  return safetensors_type(value.get_ref<const std::string&>());
}

// The dimensions, and the bytes they need in `bytes`; nothing when one is not a count or the product
// overflows.
std::optional<std::vector<std::int64_t>> parse_shape(const json& value, StoredType type,
                                                     std::uint64_t& bytes) {
  if (!value.is_array() || value.size() > kMaxDimensions) return std::nullopt;
  std::vector<std::int64_t> shape;
  bytes = block_of(type).bytes;
  for (const json& item : value) {
    const auto dimension = unsigned_value(item);
    if (!dimension || *dimension > INT64_MAX) return std::nullopt;
    if (__builtin_mul_overflow(bytes, *dimension, &bytes)) return std::nullopt;
    shape.push_back(static_cast<std::int64_t>(*dimension));
  }
  return shape;
}

// What is wrong with the entry, or nothing; fills `entry`.
std::optional<std::string> parse_entry(const json& fields, std::uint64_t data_bytes, Entry& entry) {
  if (!fields.is_object() || !fields.contains("dtype") || !fields.contains("shape") ||
      !fields.contains("data_offsets")) {
    return "needs dtype, shape and data_offsets";
  }
  const auto type = parse_type(fields["dtype"]);
  if (!type) return "unknown dtype";
  std::uint64_t bytes = 0;
  auto shape = parse_shape(fields["shape"], *type, bytes);
  if (!shape) return "shape is not a list of counts whose product fits in 64 bits";
  const json& offsets = fields["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) return "data_offsets is not a pair";
  const auto begin = unsigned_value(offsets[0]);
  const auto end = unsigned_value(offsets[1]);
  if (!begin || !end || *begin > *end || *end > data_bytes) {
    return fmt::format("data_offsets do not lie within the {} bytes of data", data_bytes);
  }
  if (*end - *begin != bytes) {
    return fmt::format("data_offsets span {} bytes, but dtype and shape need {}", *end - *begin, bytes);
  }
  entry.view.type = *type;
  entry.view.shape = std::move(*shape);
  entry.begin = *begin;
  entry.end = *end;
  return std::nullopt;
}

Status check_metadata(const json& metadata, std::string_view name) {
  const bool strings = metadata.is_object() &&
                       std::ranges::all_of(metadata, [](const json& value) { return value.is_string(); });
  if (!strings) return corrupt(name, "__metadata__ is not an object of strings");
  return ok_status();
}

Result<std::vector<Entry>> parse_entries(const json& header, std::uint64_t data_bytes,
                                         std::string_view name) {
  std::vector<Entry> entries;
  for (const auto& [key, fields] : header.items()) {
    if (key == "__metadata__") {
      const Status metadata = check_metadata(fields, name);
      if (!metadata) return metadata.error();
      continue;
    }
    Entry entry{};
    entry.view.name = key;
    if (const auto problem = parse_entry(fields, data_bytes, entry)) {
      return corrupt(name, fmt::format("tensor \"{}\": {}", key, *problem));
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

// Sorts by place; every byte of the data must belong to exactly one tensor.
Status check_cover(std::vector<Entry>& entries, std::uint64_t data_bytes, std::string_view name) {
  std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != covered) {
      return corrupt(name, fmt::format("tensor \"{}\" begins at byte {} of the data, expected {}",
                                       entry.view.name, entry.begin, covered));
    }
    covered = entry.end;
  }
  if (covered != data_bytes) {
    return corrupt(name, fmt::format("the tensors cover {} of {} bytes of data", covered, data_bytes));
  }
  return ok_status();
}

}  // namespace

Result<std::vector<TensorView>> parse_safetensors(std::span<const std::byte> file, std::string_view name) {
  const auto text = header_text(file, name);
  if (!text) return text.error();
  const auto header = parse_json(*text, fmt::format("{}: header", name));
  if (!header) return header.error();
  const auto data = file.subspan(kLengthBytes + text->size());
  auto entries = parse_entries(*header, data.size(), name);
  if (!entries) return entries.error();
  const Status covered = check_cover(*entries, data.size(), name);
  if (!covered) return covered.error();

  std::vector<TensorView> views;
  views.reserve(entries->size());
  for (Entry& entry : *entries) {
    entry.view.bytes = data.subspan(entry.begin, entry.end - entry.begin);
    views.push_back(std::move(entry.view));
  }
  return views;
}

SafetensorsFile::SafetensorsFile(MappedFile file, std::vector<TensorView> tensors)
    : file_(std::move(file)), tensors_(std::move(tensors)) {}

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  if (!file) return file.error();
  auto tensors = parse_safetensors(file->bytes(), path.string());
  if (!tensors) return tensors.error();
  return SafetensorsFile(*std::move(file), *std::move(tensors));
}

}  // namespace dslad::worker
