// Hours of a day, as "22:00-06:00"; they may go over midnight. Empty text: the whole day.
#pragma once

#include <string_view>

#include "base/result.h"

namespace dslad::schema {

struct DayWindow {
  int from = 0, to = 24 * 60;  // minutes since midnight; equal: the whole day

  // kInvalidArgument where `text` is neither empty nor two times with a dash between them.
  static Result<DayWindow> parse(std::string_view text);
  [[nodiscard]] bool contains(int minute) const {
    if (from == to) return true;
    return from < to ? from <= minute && minute < to : minute >= from || minute < to;
  }
};

}  // namespace dslad::schema
