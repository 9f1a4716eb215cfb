// One GGUF file, mapped read-only: its metadata, and where its tensors lie.
//
//   file   := "GGUF" | u32 version (2, 3) | u64 tensors | u64 entries | entry* | info* | padding | data
//   entry  := string key | u32 type | value         string := u64 bytes | UTF-8
//   value  := a number, a bool, a string, or an array: u32 type of its elements | u64 count | element*
//   info   := string name | u32 dimensions | u64 size* (the innermost first) | u32 type | u64 offset in data
// All little endian; data and each tensor begin at multiples of general.alignment (default 32).
//
// Every field is checked when the file is opened, against the file's size too, so a truncated or hostile file
// is an error there and never a fault later. What a tensor's type means is the reader's affair
// (model/gguf_tensors.h). Immutable after opening: safe from any thread. Views live as long as the file
// object, moved or not. Source of the format: github.com/ggml-org/ggml, docs/gguf.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/result.h"
#include "worker/files/mapped_file.h"

namespace dslad::worker {

// One value of the metadata. Each reader gives nothing where the value is of another kind; integers of any
// width are one kind, and numbers are integers or floats.
class GgufValue {
 public:
  using Integers = std::vector<std::int64_t>;
  using Numbers = std::vector<double>;
  using Texts = std::vector<std::string_view>;
  using Value = std::variant<std::int64_t, double, bool, std::string_view, Integers, Numbers, Texts>;

  explicit GgufValue(Value value) : value_(std::move(value)) {}

  [[nodiscard]] std::optional<std::int64_t> integer() const;
  [[nodiscard]] std::optional<double> number() const;
  [[nodiscard]] std::optional<bool> boolean() const;
  [[nodiscard]] std::optional<std::string_view> text() const;
  // Arrays; nullptr for another kind. An array of bools is one of integers.
  [[nodiscard]] const Integers* integers() const { return std::get_if<Integers>(&value_); }
  [[nodiscard]] const Numbers* numbers() const { return std::get_if<Numbers>(&value_); }
  [[nodiscard]] const Texts* texts() const { return std::get_if<Texts>(&value_); }

 private:
  Value value_;
};

struct GgufTensor {
  std::string_view name;
  std::uint32_t type;
  std::vector<std::int64_t> sizes;  // 1 to 4, the innermost first; their product fits in 63 bits
  std::uint64_t offset;             // in data(); not beyond its end
};

class GgufFile {
 public:
  // Errors: kNotFound, kUnavailable (cannot be read), kInvalidArgument (another version, big endian),
  // kCorrupt.
  static Result<GgufFile> open(const std::filesystem::path& path);

  // nullptr when the metadata has no such key.
  [[nodiscard]] const GgufValue* find(std::string_view key) const;
  [[nodiscard]] const std::unordered_map<std::string_view, GgufValue>& metadata() const {
    return contents_.metadata;
  }
  [[nodiscard]] std::span<const GgufTensor> tensors() const { return contents_.tensors; }
  [[nodiscard]] std::span<const std::byte> data() const { return contents_.data; }

  // What a file holds; views into it.
  struct Contents {
    std::unordered_map<std::string_view, GgufValue> metadata;
    std::vector<GgufTensor> tensors;  // in the order of the file
    std::span<const std::byte> data;
  };

 private:
  GgufFile(MappedFile file, Contents contents) : file_(std::move(file)), contents_(std::move(contents)) {}

  MappedFile file_;
  Contents contents_;
};

// As GgufFile::open reads it; `name` stands for the file in errors.
Result<GgufFile::Contents> parse_gguf(std::span<const std::byte> file, std::string_view name);

}  // namespace dslad::worker
