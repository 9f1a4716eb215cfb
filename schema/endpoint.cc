#include "schema/endpoint.h"

#include <algorithm>

namespace dslad::schema {

std::vector<std::string> split_urls(std::string_view list) {
  constexpr std::string_view kBetween = ", \t";
  std::vector<std::string> urls;
  while (true) {
    list.remove_prefix(std::min(list.size(), list.find_first_not_of(kBetween)));
    if (list.empty()) return urls;
    urls.emplace_back(list.substr(0, list.find_first_of(kBetween)));
    list.remove_prefix(urls.back().size());
  }
}

}  // namespace dslad::schema
