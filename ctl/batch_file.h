// A batch file, read row by row as often as wanted; memory holds one row, and of all others the hashes of
// their custom_ids. One user at a time.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "ctl/batch_row.h"
#include "ctl/lines.h"

namespace dslad::ctl {

class BatchFile {
 public:
  // Errors: kInvalidArgument for what cannot be read twice, such as standard input.
  static Result<BatchFile> open(const std::string& path);

  BatchFile(BatchFile&& other) noexcept;
  BatchFile& operator=(BatchFile&&) = delete;
  ~BatchFile();

  [[nodiscard]] const std::string& name() const { return name_; }  // for people, in quotes
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

  // Whether somebody has written to it since it was opened.
  [[nodiscard]] bool changed() const;

 private:
  friend class BatchRows;
  BatchFile(int descriptor, std::string name) : descriptor_(descriptor), name_(std::move(name)) {}

  int descriptor_;
  std::string name_;
  std::uint64_t bytes_ = 0;
  std::int64_t modified_ns_ = 0;
  // Of each custom_id the first line that has it. The first reading fills it; each later one asks it.
  std::unordered_map<Hash, std::uint64_t> first_lines_;
};

struct NumberedRow {
  std::uint64_t line = 0;
  std::uint64_t end = 0;  // offset of what follows
  BatchRow row;
  Status sound = ok_status();  // what is wrong with it
};

// One reading of the file.
class BatchRows {
 public:
  BatchRows(BatchFile& file, RowDefaults defaults)
      : file_(file), defaults_(std::move(defaults)), lines_(file.descriptor_, kLongestRow) {}

  // The next row, good or bad; false at the end. Empty lines are passed over. Errors: the file cannot be
  // read.
  Result<bool> next(NumberedRow& row);

  [[nodiscard]] Hash hash() const { return lines_.hash(); }  // of the file, at its end

 private:
  Status check(const Line& line, NumberedRow& row);
  Status check_unique(NumberedRow& row);

  BatchFile& file_;
  RowDefaults defaults_;
  LineReader lines_;
  Line line_;
};

}  // namespace dslad::ctl
