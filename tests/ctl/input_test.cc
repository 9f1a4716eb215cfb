// Texts that dslactl reads: what is taken unchanged, and where the first wrong byte is said to be.
#include "ctl/input.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace dslad::ctl {
namespace {

class ReadText : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string file(const std::string& content) {
    std::string path = folder_ / "file";
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }

  std::filesystem::path folder_ = std::filesystem::path(testing::TempDir()) / "dslad_input_test";
};

TEST_F(ReadText, KeepsEveryByte) {
  const std::string text = std::string("\xEF\xBB\xBF Grüße\r\n\0 end ", 19);
  const Result<std::string> read = read_text(file(text));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, text);
}

TEST_F(ReadText, FileAsLargeAsTheBound_IsTaken) {
  EXPECT_TRUE(read_text(file(std::string(std::size_t{8} << 20, 'x'))));
  EXPECT_FALSE(read_text(file(std::string((std::size_t{8} << 20) + 1, 'x'))));
}

TEST_F(ReadText, FileThatNeverEnds_IsRefused) {
  EXPECT_FALSE(read_text("/dev/zero"));
}

struct Utf8Case {
  std::string text;
  std::string says;
};

class CheckUtf8 : public ::testing::TestWithParam<Utf8Case> {};

TEST_P(CheckUtf8, NamesTheFirstWrongByte) {
  const Status status = check_utf8("it", GetParam().text);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(status.error().message.find(GetParam().says), std::string::npos) << status.error().message;
}

INSTANTIATE_TEST_SUITE_P(Texts, CheckUtf8,
                         ::testing::Values(Utf8Case{"\xFF", "0xFF at offset 0 (line 1)"},
                                           Utf8Case{"ü\n\n\x80", "0x80 at offset 4 (line 3)"},
                                           Utf8Case{"€\xE2\x82", "0xE2 at offset 3"},  // cut
                                           Utf8Case{"\xF0\x9F\x98\x80\xED\xA0\x80",
                                                    "offset 4"},                          // a surrogate
                                           Utf8Case{"ab\xC0\xAF", "0xC0 at offset 2"}));  // overlong

INSTANTIATE_TEST_SUITE_P(
    OtherEncodings, CheckUtf8,
    ::testing::Values(Utf8Case{{"\xFF\xFEh\0i\0", 6},
                               "it is UTF-16; convert it, e.g. with iconv -f UTF-16 -t UTF-8"},
                      Utf8Case{{"\xFE\xFF\0h\0i", 6}, "iconv -f UTF-16 -t UTF-8"},
                      Utf8Case{{"\xFF\xFE\0\0h\0\0\0", 8}, "iconv -f UTF-32 -t UTF-8"},
                      Utf8Case{{"\0\0\xFE\xFF\0\0\0h", 8}, "iconv -f UTF-32 -t UTF-8"}));

TEST(CheckUtf8Sound, TextIsTaken) {
  EXPECT_TRUE(check_utf8("it", "Grüße \xF0\x9F\x98\x80"));
}

}  // namespace
}  // namespace dslad::ctl
