// Aligned columns for people: a header row, two spaces between columns, no trailing blanks. Plain value.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace dslad::ctl {

class Table {
 public:
  // A header that starts with '>' makes its column flush right; the mark is not printed.
  explicit Table(std::vector<std::string> headers);

  // Cells must be single lines (one_line); missing ones are empty. REQUIRES: no more cells than headers.
  void add(std::vector<std::string> cells);

  // Columns without a cell that says something go, so that tables stay as narrow as they can be.
  void drop_empty();

  // The last columns go until it is no wider than that, or two are left.
  void narrow_to(std::size_t width);

  [[nodiscard]] std::string text() const;

 private:
  void drop(std::size_t column);
  [[nodiscard]] std::vector<std::size_t> widths() const;

  std::vector<bool> right_;  // by column
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace dslad::ctl
