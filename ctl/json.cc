#include "ctl/json.h"

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "ctl/batch_status.h"
#include "ctl/job_status.h"
#include "ctl/simulation.h"
#include "ctl/top_view.h"
#include "schema/care_messages.h"
#include "schema/event.h"
#include "schema/policy_messages.h"

namespace dslad::ctl {
namespace {

using Json = nlohmann::ordered_json;

// The visitor that each message's `fields` is called with.
class ObjectWriter {
 public:
  template <typename T>
  void operator()(const char* key, const T& member) {
    object_[key] = value(member);
  }
  template <typename T>
  void operator()(const char* key, const std::optional<T>& member) {
    if (member) object_[key] = value(*member);
  }

  Json take() { return std::move(object_); }

  static Json value(const Error& error) {
    return Json{{"code", std::string(to_string(error.code))}, {"message", error.message}};
  }
  static Json value(const std::string& text) { return text; }
  static Json value(const std::map<std::string, std::uint64_t>& counts) { return Json(counts); }

  template <typename T>
  static Json value(const std::vector<T>& elements) {
    Json array = Json::array();
    for (const T& element : elements) array.push_back(value(element));
    return array;
  }

  template <typename T>
  static Json value(const T& member) {
    if constexpr (std::is_enum_v<T>) {
      return std::string(to_string(member));
    } else if constexpr (std::is_arithmetic_v<T>) {
      return member;
    } else {
      ObjectWriter nested;
      T::fields(member, nested);
      return nested.take();
    }
  }

 private:
  Json object_ = Json::object();
};

}  // namespace

template <typename Message>
std::string to_json(const Message& message) {
  return ObjectWriter::value(message).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

template std::string to_json(const SubmittedJob&);
template std::string to_json(const MadeKey&);
template std::string to_json(const JobOutcome&);
template std::string to_json(const JobStatus&);
template std::string to_json(const BatchOutcome&);
template std::string to_json(const BatchObject&);
template std::string to_json(const SubmittedBatch&);
template std::string to_json(const SavedBackup&);
template std::string to_json(const WrittenReport&);
template std::string to_json(const schema::IntegrityReply&);
template std::string to_json(const schema::JobInfo&);
template std::string to_json(const schema::DaemonStatus&);
template std::string to_json(const schema::JobList&);
template std::string to_json(const schema::CancelReply&);
template std::string to_json(const schema::RequeueReply&);
template std::string to_json(const schema::PurgeReply&);
template std::string to_json(const schema::QueueReply&);
template std::string to_json(const schema::LayersReply&);
template std::string to_json(const schema::PlanReply&);
template std::string to_json(const schema::StatsReply&);
template std::string to_json(const schema::PolicyReply&);
template std::string to_json(const schema::JobVerdict&);
template std::string to_json(const schema::PolicyHistory&);
template std::string to_json(const SimulationReport&);
template std::string to_json(const TopView&);
template std::string to_json(const schema::Event&);

}  // namespace dslad::ctl
