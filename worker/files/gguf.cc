#include "worker/files/gguf.h"

#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <utility>

#include "base/utf8.h"

namespace dslad::worker {
namespace {

constexpr std::uint32_t kOldestVersion = 2, kNewestVersion = 3;
constexpr std::uint64_t kDefaultAlignment = 32, kMaxAlignment = 1 << 20;
constexpr std::uint32_t kMaxDimensions = 4;
constexpr std::string_view kAlignmentKey = "general.alignment";

enum class Kind : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kText,
  kArray,
  kU64,
  kI64,
  kF64
};

// Reads little-endian values one after the other. The first that the file is too short for ends the reading:
// what is returned from there on is empty, and failed() is true.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  T value() {
    static_assert(std::endian::native == std::endian::little);
    T out{};
    if (take(sizeof out)) std::memcpy(&out, bytes_.data() + at_ - sizeof out, sizeof out);
    return out;
  }

  std::string_view text() {
    const auto size = value<std::uint64_t>();
    if (!take(size)) return {};
    return {reinterpret_cast<const char*>(bytes_.data()) + at_ - size, static_cast<std::size_t>(size)};
  }

  // Whether `count` things of at least `bytes` each can follow; memory for them may then be taken.
  bool holds(std::uint64_t count, std::uint64_t bytes) {
    if (count > (bytes_.size() - at_) / bytes) failed_ = true;
    return !failed_;
  }

  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] std::size_t at() const { return at_; }

 private:
  bool take(std::uint64_t size) {
    if (size > bytes_.size() - at_) failed_ = true;
    if (failed_) return false;
    at_ += static_cast<std::size_t>(size);
    return true;
  }

  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
  bool failed_ = false;
};

// `read`(kind's type) for a number of that kind; false for what is none. 64-bit values beyond int64 wrap to
// negative ones, which no key has a use for.
template <typename Read>
bool read_number(Kind kind, const Read& read) {
  switch (kind) {
    case Kind::kU8:
      return read(std::uint8_t{}), true;
    case Kind::kI8:
      return read(std::int8_t{}), true;
    case Kind::kU16:
      return read(std::uint16_t{}), true;
    case Kind::kI16:
      return read(std::int16_t{}), true;
    case Kind::kU32:
      return read(std::uint32_t{}), true;
    case Kind::kI32:
      return read(std::int32_t{}), true;
    case Kind::kU64:
      return read(std::uint64_t{}), true;
    case Kind::kI64:
      return read(std::int64_t{}), true;
    case Kind::kF32:
      return read(float{}), true;
    case Kind::kF64:
      return read(double{}), true;
    default:
      return false;
  }
}

class GgufParser {
 public:
  GgufParser(std::span<const std::byte> file, std::string_view name)
      : file_(file), reader_(file), name_(name) {}

  Result<GgufFile::Contents> parse() {
    Status status = header();
    for (std::uint64_t i = 0; status && i < entries_; ++i) status = entry();
    if (status) status = find_alignment();
    for (std::uint64_t i = 0; status && i < tensors_; ++i) status = tensor();
    if (status) status = place_data();
    if (!status) return status.error();
    return std::move(out_);
  }

 private:
  [[nodiscard]] Error corrupt(std::string_view what) const {
    return {ErrorCode::kCorrupt, fmt::format("{}: {}; fetch or convert the file again", name_, what)};
  }

  Status header() {
    if (file_.size() < 4 || std::memcmp(file_.data(), "GGUF", 4) != 0) return corrupt("no GGUF file");
    static_cast<void>(reader_.value<std::uint32_t>());
    const auto version = reader_.value<std::uint32_t>();
    if (version != 0 && (version & 0xffffu) == 0) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("{}: is written for big-endian machines; convert it anew", name_)};
    }
    if (!reader_.failed() && (version < kOldestVersion || version > kNewestVersion)) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("{}: has version {} of GGUF, dslad reads {} to {}; convert it anew", name_,
                               version, kOldestVersion, kNewestVersion)};
    }
    tensors_ = reader_.value<std::uint64_t>();
    entries_ = reader_.value<std::uint64_t>();
    // The shortest entry and the shortest tensor; the sum cannot overflow where each fits.
    if (!reader_.holds(entries_, 13) || !reader_.holds(tensors_, 32)) {
      return corrupt(fmt::format("the header claims {} entries and {} tensors in {} bytes", entries_,
                                 tensors_, file_.size()));
    }
    out_.tensors.reserve(static_cast<std::size_t>(tensors_));
    return ok_status();
  }

  Status entry() {
    const std::string_view key = reader_.text();
    if (key.empty() || !valid_utf8(key)) return corrupt("an entry of the metadata has no proper key");
    const auto kind = static_cast<Kind>(reader_.value<std::uint32_t>());
    auto value = kind == Kind::kArray ? array(key) : scalar(key, kind);
    if (!value) return value.error();
    if (!out_.metadata.emplace(key, GgufValue(*std::move(value))).second) {
      return corrupt(fmt::format("the metadata has \"{}\" twice", key));
    }
    return ok_status();
  }

  Result<GgufValue::Value> scalar(std::string_view key, Kind kind) {
    GgufValue::Value value;
    const auto number = [&]<typename T>(T) {
      if constexpr (std::is_floating_point_v<T>) {
        value = static_cast<double>(reader_.value<T>());
      } else {
        value = static_cast<std::int64_t>(reader_.value<T>());
      }
    };
    if (kind == Kind::kText) {
      value = reader_.text();
    } else if (kind == Kind::kBool) {
      value = reader_.value<std::uint8_t>() != 0;
    } else if (!read_number(kind, number) && !reader_.failed()) {
      return corrupt(fmt::format("\"{}\" has the unknown type {}", key, static_cast<std::uint32_t>(kind)));
    }
    return checked(key, std::move(value));
  }

  Result<GgufValue::Value> array(std::string_view key) {
    const auto kind = static_cast<Kind>(reader_.value<std::uint32_t>());
    const auto count = reader_.value<std::uint64_t>();
    GgufValue::Value value;
    const auto numbers = [&]<typename T>(T) {
      if (!reader_.holds(count, sizeof(T))) return;
      using Wide = std::conditional_t<std::is_floating_point_v<T>, double, std::int64_t>;
      std::vector<Wide> all;
      all.reserve(static_cast<std::size_t>(count));
      for (std::uint64_t i = 0; i < count; ++i) all.push_back(static_cast<Wide>(reader_.value<T>()));
      value = std::move(all);
    };
    if (kind == Kind::kText) {
      GgufValue::Texts texts;
      if (reader_.holds(count, sizeof(std::uint64_t))) texts.reserve(static_cast<std::size_t>(count));
      for (std::uint64_t i = 0; i < count && !reader_.failed(); ++i) texts.push_back(reader_.text());
      value = std::move(texts);
    } else if (!read_number(kind == Kind::kBool ? Kind::kU8 : kind, numbers) && !reader_.failed()) {
      return corrupt(
          fmt::format("\"{}\" is a list of the unknown type {}", key, static_cast<std::uint32_t>(kind)));
    }
    return checked(key, std::move(value));
  }

  [[nodiscard]] Result<GgufValue::Value> checked(std::string_view key, GgufValue::Value value) const {
    if (!reader_.failed()) return value;
    return corrupt(fmt::format("ends within the metadata, at \"{}\"", key));
  }

  Status find_alignment() {
    const GgufValue* const value = find(kAlignmentKey);
    if (value == nullptr) return ok_status();
    const auto alignment = value->integer();
    if (!alignment || *alignment < 1 || *alignment > static_cast<std::int64_t>(kMaxAlignment) ||
        !std::has_single_bit(static_cast<std::uint64_t>(*alignment))) {
      return corrupt(fmt::format("\"{}\" is no power of two up to {}", kAlignmentKey, kMaxAlignment));
    }
    alignment_ = static_cast<std::uint64_t>(*alignment);
    return ok_status();
  }

  [[nodiscard]] const GgufValue* find(std::string_view key) const {
    const auto found = out_.metadata.find(key);
    return found == out_.metadata.end() ? nullptr : &found->second;
  }

  Status tensor() {
    GgufTensor tensor{};
    tensor.name = reader_.text();
    if (!valid_utf8(tensor.name)) return corrupt("the name of a tensor is not UTF-8");
    const auto dimensions = reader_.value<std::uint32_t>();
    if (!reader_.failed() && (dimensions == 0 || dimensions > kMaxDimensions)) {
      return corrupt(fmt::format("tensor \"{}\" has {} dimensions, not 1 to {}", tensor.name, dimensions,
                                 kMaxDimensions));
    }
    std::int64_t product = 1;
    bool fits = true;
    for (std::uint32_t i = 0; i < dimensions && !reader_.failed(); ++i) {
      const auto size = reader_.value<std::int64_t>();
      fits = fits && size >= 0 && !__builtin_mul_overflow(product, size, &product);
      tensor.sizes.push_back(size);
    }
    tensor.type = reader_.value<std::uint32_t>();
    tensor.offset = reader_.value<std::uint64_t>();
    if (reader_.failed()) return corrupt("ends within the list of tensors");
    if (!fits) return corrupt(fmt::format("tensor \"{}\" has sizes that overflow", tensor.name));
    out_.tensors.push_back(std::move(tensor));
    return ok_status();
  }

  Status place_data() {
    const std::uint64_t begin = (reader_.at() + alignment_ - 1) / alignment_ * alignment_;
    const bool empty = begin >= file_.size();
    out_.data = empty ? std::span<const std::byte>{} : file_.subspan(static_cast<std::size_t>(begin));
    for (const GgufTensor& tensor : out_.tensors) {
      if (tensor.offset > out_.data.size() || tensor.offset % alignment_ != 0) {
        return corrupt(fmt::format("tensor \"{}\" begins at byte {} of {}, in steps of {}", tensor.name,
                                   tensor.offset, out_.data.size(), alignment_));
      }
    }
    return ok_status();
  }

  std::span<const std::byte> file_;
  ByteReader reader_;
  std::string_view name_;
  std::uint64_t tensors_ = 0, entries_ = 0, alignment_ = kDefaultAlignment;
  GgufFile::Contents out_;
};

template <typename T>
std::optional<T> value_of(const GgufValue::Value& value) {
  const T* const held = std::get_if<T>(&value);
  return held == nullptr ? std::nullopt : std::optional<T>(*held);
}

}  // namespace

std::optional<std::int64_t> GgufValue::integer() const {
  return value_of<std::int64_t>(value_);
}

std::optional<double> GgufValue::number() const {
  if (const auto whole = integer()) return static_cast<double>(*whole);
  return value_of<double>(value_);
}

std::optional<bool> GgufValue::boolean() const {
  return value_of<bool>(value_);
}

std::optional<std::string_view> GgufValue::text() const {
  return value_of<std::string_view>(value_);
}

Result<GgufFile::Contents> parse_gguf(std::span<const std::byte> file, std::string_view name) {
  return GgufParser(file, name).parse();
}

Result<GgufFile> GgufFile::open(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  if (!file) return file.error();
  auto contents = parse_gguf(file->bytes(), path.string());
  if (!contents) return contents.error();
  return GgufFile(*std::move(file), *std::move(contents));
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto found = contents_.metadata.find(key);
  return found == contents_.metadata.end() ? nullptr : &found->second;
}

}  // namespace dslad::worker
