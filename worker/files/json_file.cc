#include "worker/files/json_file.h"

#include <exception>
#include <fmt/format.h>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "worker/files/read_file.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxDepth = 64;

// Ends the parse from inside the parser's callback.
class Refused : public std::exception {
 public:
  explicit Refused(std::string why) : why_(std::move(why)) {}
  [[nodiscard]] const char* what() const noexcept override { return why_.c_str(); }

 private:
  std::string why_;
};

// Sees every event of the parser; throws on what JSON allows and dslad does not.
class Watch {
 public:
  bool operator()(int /*depth*/, json::parse_event_t event, const json& value) {
    switch (event) {
      case json::parse_event_t::object_start:
      case json::parse_event_t::array_start:
        if (keys_.size() == kMaxDepth) throw Refused(fmt::format("nested more than {} deep", kMaxDepth));
        keys_.emplace_back();
        break;
      case json::parse_event_t::object_end:
      case json::parse_event_t::array_end:
        keys_.pop_back();
        break;
      case json::parse_event_t::key:
        if (!keys_.back().insert(value.get<std::string>()).second) {
          throw Refused(fmt::format("the key \"{}\" appears twice in one object", value.get<std::string>()));
        }
        break;
      case json::parse_event_t::value:
        break;
    }
    return true;
  }

 private:
  std::vector<std::unordered_set<std::string>> keys_;  // of each open object or array
};

}  // namespace

Result<json> parse_json(std::string_view text, std::string_view name) {
  try {
    Watch watch;
    return json::parse(text.begin(), text.end(), std::ref(watch));
  } catch (const json::parse_error& error) {
    return Error{ErrorCode::kCorrupt, fmt::format("{}: malformed JSON at byte {}", name, error.byte)};
  } catch (const std::exception& error) {
    return Error{ErrorCode::kCorrupt, fmt::format("{}: {}", name, error.what())};
  }
}

Result<json> load_json(const std::filesystem::path& path, std::size_t max_bytes) {
  const auto text = read_file(path, max_bytes);
  if (!text) return text.error();
  return parse_json(*text, path.string());
}

}  // namespace dslad::worker
