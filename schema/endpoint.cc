#include "schema/endpoint.h"

#include <algorithm>

namespace dslad::schema {

std::vector<std::string> split_urls(std::string_view list) {
  constexpr std::string_view kBlanks = " \t";
  std::vector<std::string> urls;
  while (!list.empty()) {
    std::string_view url = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), url.size() + 1));
    url.remove_prefix(std::min(url.size(), url.find_first_not_of(kBlanks)));
    url = url.substr(0, url.find_last_not_of(kBlanks) + 1);
    if (!url.empty()) urls.emplace_back(url);
  }
  return urls;
}

}  // namespace dslad::schema
