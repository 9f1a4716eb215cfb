#include "ctl/batch_row.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <type_traits>
#include <vector>

#include "base/nearest.h"
#include "base/utf8.h"
#include "ctl/format.h"

namespace dslad::ctl {
namespace {

using RowJson = nlohmann::json;

constexpr std::size_t kDeepestRow = 16;      // brackets within brackets
constexpr std::size_t kMostValues = 65'536;  // of a row: a parsed value takes more memory than its text

std::string shown(std::string_view text) {
  return one_line(utf8_prefix(text, schema::kMaxShownBytes));
}

// Before anything is parsed: what the parser would need memory for.
Status check_extent(std::string_view text) {
  std::size_t depth = 0;
  std::size_t values = 1;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\') {
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && (c == '[' || c == '{')) {
      ++values;
      if (++depth > kDeepestRow)
        return invalid_argument(fmt::format("brackets are nested deeper than {}", kDeepestRow));
    } else if (!quoted && (c == ']' || c == '}')) {
      depth -= std::min<std::size_t>(depth, 1);
    } else if (!quoted && c == ',') {
      ++values;
    }
  }
  if (values <= kMostValues) return ok_status();
  return invalid_argument(fmt::format("it has more than {} values", kMostValues));
}

Result<RowJson> parse_json(std::string_view text) {
  const std::size_t at = find_malformed_utf8(text);
  if (at != std::string_view::npos) {
    return invalid_argument(
        fmt::format("it is not UTF-8: byte 0x{:02X} at offset {}", static_cast<unsigned char>(text[at]), at));
  }
  if (Status status = check_extent(text); !status) return status.error();
  try {
    return RowJson::parse(text);
  } catch (const RowJson::parse_error& error) {
    return invalid_argument(fmt::format("it is no JSON: something is wrong at byte {}", error.byte));
  } catch (const std::exception& error) {
    return invalid_argument(fmt::format("it is no JSON: {}", shown(error.what())));
  }
}

template <typename T>
constexpr bool kIsOptional = false;
template <typename T>
constexpr bool kIsOptional<std::optional<T>> = true;

std::string_view words_of(schema::Task) {
  return "summarize, qa or generate";
}
std::string_view words_of(schema::Overflow) {
  return "error, truncate or map-reduce";
}

// Called with the fields of a message, or one by one: reads each from the object, where it is there.
class RowReader {
 public:
  explicit RowReader(const RowJson& object) : object_(object) {}

  template <typename T>
  void operator()(const char* key, T& member) {
    const RowJson* value = find(key);
    if (value == nullptr || error_) return;
    const std::string wanted = read(*value, member);
    if (!wanted.empty()) error_ = invalid_argument(fmt::format("{} must be {}", key, wanted));
  }

  // A feature that is not there: only values that ask for nothing are let through.
  void unsupported(const char* key, const std::vector<RowJson>& neutral) {
    const RowJson* value = find(key);
    if (value == nullptr || error_) return;
    if (std::find(neutral.begin(), neutral.end(), *value) == neutral.end())
      error_ = invalid_argument(fmt::format("{} is not supported here; leave it out", key));
  }

  void ignored(const char* key) { find(key); }

  // The value of a key that somebody else reads; null where it is absent.
  const RowJson* find(const char* key) {
    known_.emplace_back(key);
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  // Whether all was understood.
  [[nodiscard]] Status finish() const {
    if (error_) return *error_;
    for (const auto& [key, value] : object_.items()) {
      if (value.is_null() || std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      return invalid_argument(
          fmt::format("unknown key '{}'; did you mean '{}'?", shown(key), nearest(key, known_)));
    }
    return ok_status();
  }

 private:
  // What the value should have been; nothing where it is that.
  template <typename T>
  static std::string read(const RowJson& value, T& out) {
    if constexpr (kIsOptional<T>) {
      return read(value, out.emplace());
    } else if constexpr (std::is_same_v<T, bool>) {
      if (!value.is_boolean()) return "true or false";
      out = value.get<bool>();
    } else if constexpr (std::is_same_v<T, std::string>) {
      if (!value.is_string()) return "a string";
      out = value.get_ref<const std::string&>();
    } else if constexpr (std::is_same_v<T, double>) {
      if (!value.is_number()) return "a number";
      out = value.get<double>();
    } else if constexpr (std::is_integral_v<T>) {
      return read_whole(value, out);
    } else if constexpr (std::is_enum_v<T>) {
      if (!value.is_string() || !schema::parse_word(value.get_ref<const std::string&>(), out))
        return std::string(words_of(out));
    } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
      return read_texts(value, out);
    } else {
      return read_part(value, out);
    }
    return {};
  }

  template <typename T>
  static std::string read_whole(const RowJson& value, T& out) {
    constexpr T kLow = std::numeric_limits<T>::min();
    constexpr T kHigh = std::numeric_limits<T>::max();
    const bool positive = value.is_number_unsigned();
    const bool fits = positive ? value.get<std::uint64_t>() <= static_cast<std::uint64_t>(kHigh)
                               : value.is_number_integer() && std::is_signed_v<T> &&
                                     value.get<std::int64_t>() >= static_cast<std::int64_t>(kLow);
    if (!fits) return fmt::format("a whole number from {} to {}", kLow, kHigh);
    out = positive ? static_cast<T>(value.get<std::uint64_t>()) : static_cast<T>(value.get<std::int64_t>());
    return {};
  }

  static std::string read_texts(const RowJson& value, std::vector<std::string>& out) {
    const bool texts = value.is_array() && std::all_of(value.begin(), value.end(),
                                                       [](const RowJson& one) { return one.is_string(); });
    if (!texts) return "a list of strings";
    out.clear();
    for (const RowJson& one : value) out.push_back(one.get_ref<const std::string&>());
    return {};
  }

  template <typename T>
  static std::string read_part(const RowJson& value, T& out) {
    if (!value.is_object()) return "an object";
    RowReader reader(value);
    T::fields(out, reader);
    const Status status = reader.finish();
    return status ? "" : "an object of its own keys (" + status.error().message + ")";
  }

  const RowJson& object_;
  std::vector<std::string_view> known_;  // keys that were asked for
  std::optional<Error> error_;           // the first
};

Status read_native(const RowJson& object, schema::JobRequest& request) {
  RowReader reader(object);
  if (reader.find("task") == nullptr)
    return invalid_argument("task is missing; it must be summarize, qa or generate");
  if (reader.find("idempotency_key") != nullptr)
    return invalid_argument("idempotency_key is not for rows; the batch makes it from custom_id");
  schema::JobRequest::fields(request, reader);
  schema::SamplingOptions::fields(request.spec.options, reader);
  return reader.finish();
}

// The texts of a message: its content, or the parts of that.
Status read_content(const RowJson& content, std::string& prompt) {
  const auto append = [&prompt](const std::string& text) {
    if (!text.empty()) prompt += (prompt.empty() ? "" : "\n\n") + text;
  };
  if (content.is_string()) {
    append(content.get_ref<const std::string&>());
    return ok_status();
  }
  if (!content.is_array()) return invalid_argument("content must be a string or a list of text parts");
  for (const RowJson& part : content) {
    std::string type, text;
    if (!part.is_object()) return invalid_argument("content must be a string or a list of text parts");
    RowReader reader(part);
    reader("type", type);
    if (type != "text") {
      return invalid_argument(
          fmt::format("content has a part of type '{}'; only text is supported here", shown(type)));
    }
    reader("text", text);
    if (Status status = reader.finish(); !status) return status.error().with_context("content");
    append(text);
  }
  return ok_status();
}

Status read_message(const RowJson& message, std::string& prompt) {
  constexpr std::array<std::string_view, 4> kRoles = {"system", "developer", "user", "assistant"};
  if (!message.is_object()) return invalid_argument("it must be an object with role and content");
  RowReader reader(message);
  std::string role;
  reader("role", role);
  const RowJson* content = reader.find("content");
  reader.unsupported("tool_calls", {RowJson::array()});
  if (Status status = reader.finish(); !status) return status;
  if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end()) {
    return invalid_argument(
        fmt::format("role is '{}'; only system, user and assistant are supported here", shown(role)));
  }
  return content == nullptr ? invalid_argument("content is missing") : read_content(*content, prompt);
}

Status read_messages(const RowJson* messages, std::string& prompt) {
  if (messages == nullptr || !messages->is_array() || messages->empty())
    return invalid_argument("messages must be a list of at least one message");
  for (std::size_t i = 0; i < messages->size(); ++i) {
    Status status = read_message((*messages)[i], prompt);
    if (!status) return status.error().with_context(fmt::format("messages[{}]", i));
  }
  if (prompt.empty()) return invalid_argument("messages have no text");
  return ok_status();
}

// Of both interfaces: those that do something here first, then those that must ask for nothing.
void read_parameters(RowReader& reader, schema::SamplingOptions& options) {
  reader("max_tokens", options.max_tokens);
  reader("temperature", options.temperature);
  reader("top_p", options.top_p);
  reader("seed", options.seed);
  for (const char* key : {"user", "metadata", "safety_identifier", "prompt_cache_key", "service_tier"})
    reader.ignored(key);
  reader.unsupported("stream", {false});
  reader.unsupported("stream_options", {});
  reader.unsupported("n", {1});
  reader.unsupported("stop", {RowJson::array()});
  reader.unsupported("presence_penalty", {0});
  reader.unsupported("frequency_penalty", {0});
  reader.unsupported("logit_bias", {RowJson::object()});
  reader.unsupported("logprobs", {false});
}

void read_chat_parameters(RowReader& reader, schema::SamplingOptions& options) {
  reader("max_completion_tokens", options.max_tokens);
  reader.unsupported("top_logprobs", {0});
  reader.unsupported("tools", {RowJson::array()});
  reader.unsupported("tool_choice", {"none", "auto"});
  reader.unsupported("parallel_tool_calls", {true, false});
  reader.unsupported("functions", {RowJson::array()});
  reader.unsupported("function_call", {"none", "auto"});
  reader.unsupported("response_format", {RowJson{{"type", "text"}}});
  reader.unsupported("modalities", {RowJson::array({"text"})});
  reader.unsupported("audio", {});
  reader.unsupported("prediction", {});
  reader.unsupported("reasoning_effort", {});
  reader.unsupported("verbosity", {});
  reader.unsupported("web_search_options", {});
  reader.unsupported("store", {false});
}

Status read_body(RowKind kind, const RowJson& body, const RowDefaults& defaults,
                 schema::JobRequest& request) {
  RowReader reader(body);
  std::string model;
  request.spec.task = schema::Task::kGenerate;
  reader("model", model);
  read_parameters(reader, request.spec.options);
  const RowJson* messages = nullptr;
  if (kind == RowKind::kChat) {
    messages = reader.find("messages");
    read_chat_parameters(reader, request.spec.options);
  } else {
    reader("prompt", request.spec.prompt);
    reader.unsupported("best_of", {1});
    reader.unsupported("echo", {false});
    reader.unsupported("suffix", {""});
  }
  if (Status status = reader.finish(); !status) return status;
  if (defaults.use_model) request.terms.model = model;
  return kind == RowKind::kChat ? read_messages(messages, request.spec.prompt) : ok_status();
}

Status read_openai(const RowJson& object, const RowDefaults& defaults, BatchRow& row) {
  RowReader reader(object);
  std::string method, url;
  reader("custom_id", row.custom_id);
  reader("method", method);
  reader("url", url);
  const RowJson* body = reader.find("body");
  if (Status status = reader.finish(); !status) return status;
  if (method != "POST") return invalid_argument("method must be POST");
  if (url != "/v1/chat/completions" && url != "/v1/completions") {
    return invalid_argument(fmt::format(
        "url is '{}'; only /v1/chat/completions and /v1/completions are supported here", shown(url)));
  }
  row.kind = url == "/v1/completions" ? RowKind::kCompletion : RowKind::kChat;
  if (body == nullptr || !body->is_object()) return invalid_argument("body must be an object");
  Status status = read_body(row.kind, *body, defaults, row.request);
  return status ? status : status.error().with_context("body");
}

// What the row's author has no hand in.
void make_part_of(const RowDefaults& defaults, BatchRow& row) {
  schema::JobRequest& request = row.request;
  std::vector<std::string> labels = defaults.request.labels;
  for (std::string& label : request.labels) {
    if (std::find(labels.begin(), labels.end(), label) == labels.end()) labels.push_back(std::move(label));
  }
  labels.push_back(defaults.batch);
  if (row.kind != RowKind::kNative) labels.emplace_back(label_of(row.kind));
  request.labels = std::move(labels);
  request.custom_id = row.custom_id;
  request.idempotency_key = row_key(defaults.batch, row.custom_id);
}

// The custom_id of a row that may be bad otherwise.
void note_custom_id(const RowJson& object, BatchRow& row) {
  const auto found = object.find("custom_id");
  if (found != object.end() && found->is_string()) row.custom_id = found->get_ref<const std::string&>();
}

}  // namespace

Status read_batch_row(std::string_view text, const RowDefaults& defaults, BatchRow& row) {
  row = {{}, RowKind::kNative, defaults.request};
  const Result<RowJson> object = parse_json(text);
  if (!object) return object.error();
  if (!object->is_object()) return invalid_argument("it is no JSON object");
  note_custom_id(*object, row);
  const bool openai = object->contains("url") || object->contains("body") || object->contains("method");
  Status status = openai ? read_openai(*object, defaults, row) : read_native(*object, row.request);
  if (!status) return status;
  if (row.custom_id.empty()) return invalid_argument("custom_id is missing; each row needs one of its own");
  make_part_of(defaults, row);
  return row.request.validate();
}

}  // namespace dslad::ctl
