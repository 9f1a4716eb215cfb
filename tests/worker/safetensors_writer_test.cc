// What is written is read back bit for bit, and a write that fails leaves the old file.
#include "worker/model/safetensors_writer.h"

#include <atomic>
#include <bit>
#include <cmath>
#include <csignal>
#include <gtest/gtest.h>
#include <limits>
#include <sys/resource.h>
#include <thread>
#include <vector>

#include "tests/worker/test_files.h"
#include "worker/files/atomic_file.h"
#include "worker/model/digest.h"
#include "worker/model/safetensors.h"

namespace dslad::worker {
namespace {

using kernels::DType;
using testing::read_text;
using testing::TempDir;

// While it lives, this process cannot write files longer than `bytes`: a disk that fills up.
class SmallDisk {
 public:
  explicit SmallDisk(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SmallDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_{};
};

std::vector<float> ramp(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i)
    values[i] = static_cast<float>(std::sin(0.7 * static_cast<double>(i)));
  return values;
}

std::vector<float> stored(const SafetensorsFile& file, const std::string& name) {
  for (const TensorView& view : file.tensors()) {
    if (view.name != name) continue;
    std::vector<float> values(static_cast<std::size_t>(view.elements()));
    EXPECT_TRUE(read_rows(view, 0, view.rows(), values.data()).ok());
    return values;
  }
  ADD_FAILURE() << name << " is missing";
  return {};
}

class SafetensorsWriter : public ::testing::Test {
 protected:
  TempDir folder_;
  std::filesystem::path path_ = folder_.path() / "layer.safetensors";
};

TEST_F(SafetensorsWriter, TensorsComeBackBitForBit) {
  // More values than one slice of the conversion, an odd number of them, a scalar, an empty tensor.
  std::vector<float> matrix = ramp(3 * 50'001);
  matrix[0] = std::numeric_limits<float>::infinity();
  matrix[1] = -0.0f;
  matrix[2] = 1e-40f;
  const std::vector<float> odd = ramp(5), scalar = {2.5f};
  const std::vector<TensorToWrite> tensors = {{"bf16", {3, 50'001}, matrix, DType::kBf16},
                                              {"odd", {5}, odd, DType::kBf16},
                                              {"f32", {3, 50'001}, matrix, DType::kF32},
                                              {"scalar", {}, scalar, DType::kF32},
                                              {"empty", {0, 4}, {}, DType::kF32}};
  const auto checksum = write_safetensors(path_, tensors);
  ASSERT_TRUE(checksum.ok()) << checksum.error().message;

  const auto file = SafetensorsFile::open(path_);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->tensors().size(), 5u);
  EXPECT_EQ(stored(*file, "f32"), matrix);
  EXPECT_EQ(stored(*file, "scalar"), scalar);
  std::vector<float> rounded = matrix;
  for (float& value : rounded) value = to_float(kernels::to_bf16(value));
  EXPECT_EQ(stored(*file, "bf16"), rounded);
  for (const TensorView& view : file->tensors()) {
    EXPECT_EQ(std::bit_cast<std::uintptr_t>(view.bytes.data()) % block_of(view.type).bytes, 0u) << view.name;
  }
}

TEST_F(SafetensorsWriter, ChecksumIsOfTheFilesBytesAndTheSameEachTime) {
  const std::vector<float> values = ramp(100);
  const std::vector<TensorToWrite> tensors = {{"a", {100}, values, DType::kBf16}};
  const auto first = write_safetensors(path_, tensors);
  ASSERT_TRUE(first.ok());
  Digest digest;
  digest.add(read_text(path_));
  EXPECT_EQ(*first, digest.hex());
  EXPECT_EQ(*write_safetensors(path_, tensors), *first);
}

TEST_F(SafetensorsWriter, AFullDiskIsAnErrorAndTheOldFileStays) {
  const std::vector<float> small = ramp(10), large = ramp(100'000);
  ASSERT_TRUE(write_safetensors(path_, {{{"a", {10}, small, DType::kF32}}}).ok());
  const std::string before = read_text(path_);
  {
    const SmallDisk disk(4096);
    const auto written = write_safetensors(path_, {{{"a", {100'000}, large, DType::kF32}}});
    ASSERT_FALSE(written.ok());
    EXPECT_EQ(written.error().code, ErrorCode::kResourceExhausted);
    EXPECT_NE(written.error().message.find(path_.string()), std::string::npos);
  }
  EXPECT_EQ(read_text(path_), before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path()), {}), 1)
      << "nothing is left over";
}

TEST_F(SafetensorsWriter, AMissingFolderIsNotFound) {
  const auto written = write_safetensors(folder_.path() / "no" / "file", {});
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::kNotFound);
}

TEST_F(SafetensorsWriter, WhatAKilledWriterLeftIsOverwritten) {
  folder_.write("layer.safetensors.tmp", "half a file");
  ASSERT_TRUE(write_safetensors(path_, {}).ok());
  EXPECT_TRUE(SafetensorsFile::open(path_).ok());
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "layer.safetensors.tmp"));
}

TEST(AtomicFile, IsInvisibleUntilItIsCommittedAndGoneWhenItIsNot) {
  const TempDir folder;
  const auto path = folder.write("note", "old");
  {
    auto file = AtomicFile::create(path);
    ASSERT_TRUE(file.ok());
    const std::string text = "new";
    ASSERT_TRUE(file->append(std::as_bytes(std::span(text))).ok());
    EXPECT_EQ(read_text(path), "old");
  }
  EXPECT_EQ(read_text(path), "old");
  ASSERT_TRUE(write_file(path, "newer").ok());
  EXPECT_EQ(read_text(path), "newer");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(AtomicFile, IsWholeWhoeverWritesItAtTheSameTime) {
  constexpr int kWriters = 4, kTimes = 25;
  const TempDir folder;
  const auto path = folder.path() / "note";
  const auto text_of = [](int writer) {  // of a length of its own
    return std::string((static_cast<std::size_t>(writer) + 1) << 16, static_cast<char>('a' + writer));
  };
  ASSERT_TRUE(write_file(path, text_of(0)).ok());
  std::atomic<bool> all_written = true;
  {
    std::vector<std::jthread> writers;
    writers.reserve(kWriters);
    for (int writer = 0; writer < kWriters; ++writer) {
      writers.emplace_back([&, writer] {
        for (int time = 0; time < kTimes; ++time) {
          if (!write_file(path, text_of(writer)).ok()) all_written = false;
        }
      });
    }
    for (int time = 0; time < kTimes; ++time) {
      const std::string seen = read_text(path);
      ASSERT_FALSE(seen.empty());
      EXPECT_TRUE(seen == text_of(seen[0] - 'a')) << seen.size() << " bytes of " << seen[0];
    }
  }
  EXPECT_TRUE(all_written);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

}  // namespace
}  // namespace dslad::worker
