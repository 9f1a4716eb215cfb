// The lines of a file, one at a time and of bounded length, so that the size of a file costs no memory.
// One user at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/digest.h"
#include "base/result.h"

namespace dslad::ctl {

struct Line {
  std::string text;          // without its line break; of one that is too long, its beginning
  std::uint64_t number = 0;  // from 1
  std::uint64_t begin = 0;   // offset of its first byte
  std::uint64_t bytes = 0;   // of all of it, with its line break
  bool too_long = false;
  bool ended = false;  // by a line break; false: the file ends within it
};

class LineReader {
 public:
  // Of the descriptor, from the file's beginning, wherever it stands; it must outlive the reader.
  LineReader(int descriptor, std::size_t longest) : descriptor_(descriptor), longest_(longest) {}

  // The next line; false at the end. `line` is reused. Errors: kInvalidArgument with the system's reason.
  Result<bool> next(Line& line);

  // Of what was read, all lines once next() has said false.
  [[nodiscard]] Hash hash() const { return hash_.value(); }

 private:
  Status refill();

  int descriptor_;
  std::size_t longest_;
  std::uint64_t offset_ = 0;  // of the file: what was read into block_ ends there
  std::string block_;
  std::size_t at_ = 0;  // in block_
  std::uint64_t number_ = 0;
  RunningHash hash_;
};

}  // namespace dslad::ctl
