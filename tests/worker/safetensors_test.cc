#include "worker/model/safetensors.h"

#include <cmath>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

#include "tests/worker/test_files.h"
#include "worker/model/weight_files.h"

namespace dslad::worker {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string file_with(std::string_view header, std::size_t data_bytes) {
  std::string file(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(header.size() >> (8 * i));
  file += header;
  for (std::size_t i = 0; i < data_bytes; ++i) file += static_cast<char>(i);
  return file;
}

Result<std::vector<TensorView>> tensors_in(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), "weights");
}

std::string refusal(std::string_view header, std::size_t data_bytes) {
  const auto result = tensors_in(file_with(header, data_bytes));
  EXPECT_FALSE(result.ok()) << header;
  if (result.ok()) return "";
  EXPECT_EQ(result.error().code, ErrorCode::kCorrupt);
  return result.error().message;
}

TEST(Safetensors, ReadsTensorsInOrderOfTheirData) {
  const std::string file = file_with(R"({"__metadata__":{"format":"pt"},)"
                                     R"("b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
                                     R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                                     R"("none":{"dtype":"I64","shape":[0,7],"data_offsets":[16,16]}}   )",
                                     16);
  const auto tensors = tensors_in(file);
  ASSERT_TRUE(tensors.ok()) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 3u);
  const TensorView& b = (*tensors)[1];
  EXPECT_EQ((*tensors)[0].name, "a");
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.type, StoredType::kBf16);
  EXPECT_THAT(b.shape, ElementsAre(2, 3));
  EXPECT_EQ(b.rows(), 2);
  EXPECT_EQ(b.row_elements(), 3);
  EXPECT_EQ(static_cast<const void*>(b.bytes.data()), file.data() + file.size() - 12);
  EXPECT_EQ((*tensors)[2].elements(), 0);
}

TEST(Safetensors, WrongFields_NameTheTensorAndTheProblem) {
  const auto entry = [](const char* fields) { return std::string(R"({"x":{)") + fields + "}}"; };
  EXPECT_THAT(refusal(entry(R"("dtype":"Q4","shape":[4],"data_offsets":[0,4])"), 4),
              AllOf(HasSubstr("\"x\""), HasSubstr("dtype")));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[5],"data_offsets":[0,4])"), 4), HasSubstr("need 5"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[-4],"data_offsets":[0,4])"), 4), HasSubstr("shape"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[4.0],"data_offsets":[0,4])"), 4), HasSubstr("shape"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":4,"data_offsets":[0,4])"), 4), HasSubstr("shape"));
  EXPECT_THAT(refusal(entry(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])"), 0),
              HasSubstr("64 bits"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[4],"data_offsets":[0,8])"), 4), HasSubstr("within"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[4],"data_offsets":[4,0])"), 4), HasSubstr("within"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[4],"data_offsets":[0])"), 4), HasSubstr("pair"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[4])"), 4), HasSubstr("data_offsets"));
  EXPECT_THAT(refusal(R"({"x":3})", 0), HasSubstr("\"x\""));
  EXPECT_THAT(refusal(R"({"__metadata__":{"a":1}})", 0), HasSubstr("__metadata__"));
}

TEST(Safetensors, DataMustBeCoveredOnce) {
  EXPECT_THAT(refusal(R"({"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 5), HasSubstr("4 of 5"));
  EXPECT_THAT(refusal(R"({"x":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}})", 5),
              HasSubstr("expected 0"));
  EXPECT_THAT(refusal(R"({"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                      R"("y":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                      6),
              HasSubstr("expected 4"));
  EXPECT_THAT(refusal(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                      R"("x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                      2),
              HasSubstr("twice"));
}

TEST(Safetensors, HeaderLengthBeyondTheFile_IsAnError) {
  EXPECT_FALSE(tensors_in("").ok());
  EXPECT_FALSE(tensors_in(std::string(7, '\0')).ok());
  EXPECT_FALSE(tensors_in(std::string(8, '\0')).ok());
  EXPECT_FALSE(tensors_in(std::string(8, '\xff') + "{}").ok());
  std::string cut = file_with(R"({"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4);
  for (std::size_t size = 0; size < cut.size(); ++size)
    EXPECT_FALSE(tensors_in(cut.substr(0, size)).ok()) << size;
}

TEST(Safetensors, HeaderOf100MB_IsTooLong) {
  std::string file(8 + 100'000'001, ' ');
  const std::uint64_t length = file.size() - 8;
  std::memcpy(file.data(), &length, sizeof length);
  file[8] = '{';
  file.back() = '}';
  const auto result = tensors_in(file);
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.error().message, HasSubstr("claims 100000001 bytes"));
}

// One view over `halves`, each a 16-bit element.
TensorView view_of(const std::vector<std::uint16_t>& halves, StoredType type,
                   std::vector<std::int64_t> shape) {
  return {"t", type, std::move(shape), std::as_bytes(std::span(halves))};
}

TEST(ReadRows, EveryHalf_KeepsItsValue) {
  std::vector<std::uint16_t> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  std::vector<float> out(halves.size());
  ASSERT_TRUE(read_rows(view_of(halves, StoredType::kF16, {65536}), 0, 1, out.data()).ok());
  for (int i = 0; i < 65536; ++i) {
    const int exponent = (i >> 10) & 31;
    const int fraction = i & 1023;
    const float sign = (i & 0x8000) != 0 ? -1.0f : 1.0f;
    const float value = out[static_cast<std::size_t>(i)];
    EXPECT_EQ(std::signbit(value), sign < 0);
    if (exponent == 31 && fraction != 0) {
      EXPECT_TRUE(std::isnan(value));
    } else if (exponent == 31) {
      EXPECT_TRUE(std::isinf(value));
    } else {
      const double expected =
          exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
      EXPECT_EQ(value, static_cast<float>(sign * expected)) << i;
    }
  }
}

TEST(ReadRows, Bf16_IsTheUpperHalfOfAFloat) {
  const std::vector<std::uint16_t> halves = {0x3f80, 0xc000, 0x0001, 0x7f80, 0x8000};
  std::vector<float> out(5);
  ASSERT_TRUE(read_rows(view_of(halves, StoredType::kBf16, {5}), 0, 1, out.data()).ok());
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -2.0f);
  EXPECT_EQ(out[2], std::ldexp(1.0f, -133));
  EXPECT_TRUE(std::isinf(out[3]));
  EXPECT_TRUE(std::signbit(out[4]));
}

TEST(ReadRows, RangeOfRows_AtAnyAlignment) {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<std::byte> shifted(1 + values.size() * sizeof(float));
  std::memcpy(shifted.data() + 1, values.data(), values.size() * sizeof(float));
  const TensorView view{"t", StoredType::kF32, {4, 2}, std::span(shifted).subspan(1)};
  std::vector<float> out(4, 0.0f);
  ASSERT_TRUE(read_rows(view, 1, 2, out.data()).ok());
  EXPECT_THAT(out, ElementsAre(3, 4, 5, 6));
  ASSERT_TRUE(read_rows(view, 4, 0, out.data()).ok());
}

TEST(ReadRows, IntegerTensor_IsRefusedByName) {
  const std::vector<std::uint16_t> data = {1, 2};
  float out[2];
  const Status status = read_rows(view_of(data, StoredType::kI16, {2}), 0, 1, out);
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, AllOf(HasSubstr("\"t\""), HasSubstr("I16")));
}

TEST(WeightFiles, OneFileAndShards_HoldTheModelsTensors) {
  for (const char* name : {"tiny_llama/gqa3_f32", "tiny_llama/mha_sharded_bf16"}) {
    const auto weights = WeightFiles::open(testing::golden_path(name));
    ASSERT_TRUE(weights.ok()) << weights.error().message;
    EXPECT_NE(weights->find("model.embed_tokens.weight"), nullptr);
    EXPECT_NE(weights->find("model.layers.1.mlp.down_proj.weight"), nullptr);
    EXPECT_EQ(weights->find("model.layers.9.mlp.down_proj.weight"), nullptr);
  }
}

TEST(WeightFiles, SurviveBeingMoved) {
  auto opened = WeightFiles::open(testing::golden_path("tiny_llama/mqa_bf16"));
  ASSERT_TRUE(opened.ok());
  const WeightFiles moved = *std::move(opened);
  const TensorView* const view = moved.find("model.norm.weight");
  ASSERT_NE(view, nullptr);
  EXPECT_EQ(view->name, "model.norm.weight");
  std::vector<float> norm(static_cast<std::size_t>(view->elements()));
  ASSERT_TRUE(read_rows(*view, 0, 1, norm.data()).ok());
  for (const float value : norm) EXPECT_TRUE(value >= 0.5f && value <= 1.5f) << value;
}

TEST(WeightFiles, Require_ChecksNameShapeAndType) {
  const auto weights = WeightFiles::open(testing::golden_path("tiny_llama/gqa3_f32"));
  ASSERT_TRUE(weights.ok());
  const std::vector<std::int64_t> right = {97, 48};
  const std::vector<std::int64_t> wrong = {48, 97};
  EXPECT_TRUE(weights->require("lm_head.weight", right).ok());
  const auto shape = weights->require("lm_head.weight", wrong);
  ASSERT_FALSE(shape.ok());
  EXPECT_THAT(shape.error().message, AllOf(HasSubstr("[97, 48]"), HasSubstr("[48, 97]")));
  const auto absent = weights->require("lm_head.bias", right);
  ASSERT_FALSE(absent.ok());
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
}

constexpr const char* kShard = R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";

TEST(WeightFiles, BrokenFolders_AreNamedErrors) {
  const testing::TempDir dir;
  const auto message = [&] {
    const auto weights = WeightFiles::open(dir.path());
    EXPECT_FALSE(weights.ok());
    return weights.ok() ? std::string() : weights.error().message;
  };
  EXPECT_THAT(message(), HasSubstr("model.safetensors"));
  const char* const index = "model.safetensors.index.json";
  dir.write(index, R"({"weight_map":{"x":"../outside.safetensors"}})");
  EXPECT_THAT(message(), HasSubstr("file of this folder"));
  dir.write(index, R"({"weight_map":{"x":"a.safetensors"}})");
  EXPECT_THAT(message(), HasSubstr("a.safetensors"));
  dir.write("a.safetensors", file_with(kShard, 4));
  dir.write(index, R"({"weight_map":{"x":"a.safetensors","y":"a.safetensors"}})");
  EXPECT_THAT(message(), AllOf(HasSubstr("\"y\""), HasSubstr("lacks")));
  dir.write("b.safetensors", file_with(kShard, 4));
  dir.write(index, R"({"weight_map":{"x":"a.safetensors","y":"b.safetensors"}})");
  EXPECT_THAT(message(), HasSubstr("twice"));
  dir.write(index, R"({"weight_map":{}})");
  EXPECT_THAT(message(), HasSubstr("weight_map"));
  std::filesystem::create_directory(dir.path() / "model.safetensors");
  EXPECT_THAT(message(), HasSubstr("not a regular file"));
}

TEST(SafetensorsFuzz, MutatedFiles_AreReadOrRefusedNeverACrash) {
  std::mt19937_64 random(2);
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
      R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]}})";
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    // Half of the rounds keep the length field true, so that the header itself is reached.
    const std::string file = round % 2 == 0 ? file_with(testing::mutate(header, random), 24)
                                            : testing::mutate(file_with(header, 24), random);
    const auto tensors = tensors_in(file);
    if (!tensors.ok()) {
      ++refused;
      continue;
    }
    for (const TensorView& view : *tensors) {
      std::vector<float> out(static_cast<std::size_t>(view.elements()));
      static_cast<void>(read_rows(view, 0, view.rows(), out.data()));  // touches every byte of the view
    }
  }
  EXPECT_GT(refused, 5000);
}

}  // namespace
}  // namespace dslad::worker
