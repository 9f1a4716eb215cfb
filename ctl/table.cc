#include "ctl/table.h"

#include <algorithm>
#include <numeric>

#include "ctl/columns.h"

namespace dslad::ctl {

Table::Table(std::vector<std::string> headers) {
  for (std::string& header : headers) {
    right_.push_back(header.starts_with('>'));
    if (right_.back()) header.erase(0, 1);
  }
  rows_.push_back(std::move(headers));
}

void Table::add(std::vector<std::string> cells) {
  cells.resize(right_.size());
  rows_.push_back(std::move(cells));
}

void Table::drop_empty() {
  for (std::size_t c = right_.size(); c-- > 0;) {
    const bool used =
        std::any_of(rows_.begin() + 1, rows_.end(), [c](const auto& row) { return !row[c].empty(); });
    if (!used) drop(c);
  }
}

void Table::drop(std::size_t column) {
  const auto at = static_cast<std::ptrdiff_t>(column);
  right_.erase(right_.begin() + at);
  for (auto& row : rows_) row.erase(row.begin() + at);
}

void Table::narrow_to(std::size_t width) {
  const std::vector<std::size_t> all = widths();
  std::size_t taken = std::accumulate(all.begin(), all.end(), 2 * (all.size() - 1));
  for (std::size_t c = all.size(); c-- > 2 && taken > width;) {
    taken -= all[c] + 2;
    drop(c);
  }
}

std::vector<std::size_t> Table::widths() const {
  std::vector<std::size_t> widths(right_.size(), 0);
  for (const auto& row : rows_) {
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], display_width(row[c]));
  }
  return widths;
}

std::string Table::text() const {
  const std::vector<std::size_t> widths = this->widths();
  std::string out;
  for (const auto& row : rows_) {
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string blanks(widths[c] - display_width(row[c]), ' ');
      out += right_[c] ? blanks + row[c] : row[c] + blanks;
      out += "  ";
    }
    out.erase(out.find_last_not_of(' ') + 1);
    out += '\n';
  }
  return out;
}

}  // namespace dslad::ctl
