// Comma-separated lines below a header, as spreadsheets and published traces have them. A field may stand in
// double quotes ("" is one of them) on one line; lines may end in CR LF; a byte order mark and empty lines
// are passed over. Reads as it goes, so that the length of a file costs no memory. One user at a time.
//
// Errors: kInvalidArgument, naming file, line, what is wrong and the remedy.
#pragma once

#include <cstddef>
#include <istream>
#include <string>
#include <vector>

#include "base/result.h"

namespace dslad::ctl {

class CsvReader {
 public:
  // Reads the header. `name` is what errors call the input, which must outlive the reader.
  static Result<CsvReader> open(std::istream& in, std::string name);

  [[nodiscard]] const std::vector<std::string>& columns() const { return columns_; }

  // The next line's fields, as many as there are columns; false at the end.
  Result<bool> next(std::vector<std::string>& fields);

  // Of the line that was read last.
  [[nodiscard]] Error error(const std::string& what) const;

 private:
  CsvReader(std::istream& in, std::string name) : in_(&in), name_(std::move(name)) {}
  Result<bool> next_line(std::string& text);
  Status split(const std::string& text, std::vector<std::string>& fields) const;

  std::istream* in_;
  std::string name_;
  std::size_t line_ = 0;  // counted from 1
  std::string text_;
  std::vector<std::string> columns_;
};

}  // namespace dslad::ctl
