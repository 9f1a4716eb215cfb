// Files that people write or bring, each through its reader. The first byte says which one it is, so that one
// program and one corpus do for all: b, o: a batch and its output; k: a key; d, w: configuration of daemon
// and worker; t: a trace; e: exams, or what is distilled on; l: SQLite's log.
#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <set>
#include <sstream>
#include <sys/stat.h>

#include "ctl/batch_file.h"
#include "ctl/batch_line.h"
#include "ctl/trace.h"
#include "daemon/config.h"
#include "daemon/store/wal_check.h"
#include "schema/codec.h"
#include "schema/keys/key_file.h"
#include "tests/fuzz/fuzz.h"
#include "worker/config_file.h"
#include "worker/eval/eval_data.h"

namespace {

using namespace dslad;
using fuzz::Folder;

void require(bool holds) {
  if (!holds) std::abort();
}

// A sound row is a job that a daemon takes; what is wrong with another can be told.
void check_row(const ctl::NumberedRow& row) {
  using namespace ctl;
  if (!row.sound) {
    const std::string batch(kNoBatch);
    const std::string told = bad_row_line(batch, row.line, row.row.custom_id, row.sound.error());
    const Result<std::string> key = form_of(batch).key_of(told);
    require(key.ok() && *key == bad_row_key(row.line));
    return;
  }
  require(row.row.request.validate().ok());
  const auto sent = schema::Envelope::parse(schema::encode(schema::Submit{{row.row.request}}, 1));
  require(sent.ok());
  const auto taken = schema::decode<schema::Submit>(*sent);
  require(taken.ok() && taken->jobs.size() == 1 && taken->jobs[0].validate().ok());
}

void read_batch(std::string_view text) {
  using namespace ctl;
  Result<BatchFile> file = BatchFile::open(Folder::write("rows.jsonl", text));
  require(file.ok());
  for (const bool use_model : {false, true}) {
    RowDefaults defaults;
    defaults.use_model = use_model;
    BatchRows rows(*file, defaults);
    NumberedRow row;
    std::uint64_t end = 0;
    for (Result<bool> some = rows.next(row); some.ok() && *some; some = rows.next(row)) {
      require(row.end > end && row.end <= text.size());
      end = row.end;
      check_row(row);
    }
  }
}

// What is taken once is taken again, with a line more if that is new.
void read_batch_output(std::string_view text) {
  using namespace ctl;
  const std::string path = Folder::write("out.jsonl", text);
  const std::string batch(kNoBatch);
  const LineForm form = form_of(batch);
  std::size_t lines = 0;
  {
    Result<BatchOutput> output = BatchOutput::open(path, form);
    if (!output) return;
    const std::string line = bad_row_line(batch, 1, "row", {ErrorCode::kInvalidArgument, "bad"});
    require(output->append(bad_row_key(1), line).ok() && output->sync().ok());
    lines = output->lines();
  }
  Result<BatchOutput> again = BatchOutput::open(path, form);
  require(again.ok() && again->lines() == lines && again->has(bad_row_key(1)));
  require(again->retain([](std::string_view line) { return !tells_of_failure(line); }, form).ok());
}

void read_key(std::string_view text) {
  constexpr std::size_t kKeyChars = 40;
  const auto file = Folder::write("key", text);
  if (const auto open = keys::read_public_key(file); open.ok()) require(open->size() == kKeyChars);
  if (const auto pair = keys::read_key_pair(file); pair.ok())
    require(pair->public_key.size() == kKeyChars && pair->secret_key.size() == kKeyChars);
}

// What passes is fit for use.
void read_daemon_config(std::string_view text) {
  using namespace daemon;
  Config config;
  if (!read_config_file(Folder::write("dslad.toml", text), config).empty()) return;
  if (!config.validate()) return;
  require(config.heartbeat_interval_ms() >= 1 && config.heartbeat_interval_ms() * 2 <= config.lease_ms);
  require(config.min_quality >= 0 && config.min_quality <= 1);
}

// Options as dslad-worker's are; what is wrong is an error of parsing, as that is what its main expects.
void read_worker_config(std::string_view text) {
  CLI::App app;
  worker::ConfigFile* file = nullptr;
  std::string model, dtype;
  std::int64_t cache_mib = 0;
  double min_quality = 0;
  std::vector<std::string> texts;
  app.add_option("--model", model)->required();
  app.add_option("--dtype", dtype)->check(CLI::IsMember({"f32", "bf16"}));
  app.add_option("--cache-mib", cache_mib)->check(CLI::NonNegativeNumber);
  app.add_option("--distil-text", texts);
  app.add_option("--distil-min-quality", min_quality)->check(CLI::Range(0.0, 1.0));
  app.config_formatter(std::shared_ptr<worker::ConfigFile>(file = new worker::ConfigFile(app)));
  try {
    app.parse("--config " + Folder::write("worker.toml", text).string());
    require(cache_mib >= 0 && min_quality >= 0 && min_quality <= 1);
  } catch (const CLI::ParseError& error) {
    (void)file->explain(error);
  }
}

void read_trace(std::string_view text) {
  std::istringstream in{std::string(text)};
  const auto jobs = ctl::read_trace(in, "'trace.csv'", ctl::kMostTraceJobs);
  if (!jobs) return;
  require(!jobs->empty());
  for (const ctl::TraceJob& job : *jobs) {
    require(std::isfinite(job.arrived_s) && job.arrived_s >= 0);
    require((job.bytes > 0) != (job.prompt_tokens > 0));
    require((job.max_tokens > 0) != (job.output_tokens > 0));
  }
}

void check_document(worker::DataKind kind, const worker::EvalDocument& document) {
  require(!document.document.empty() && !document.items.empty());
  for (const worker::EvalItem& item : document.items) {
    if (kind == worker::DataKind::kQa) require(item.question.has_value());
    if (kind == worker::DataKind::kSummarize) require(!item.references.empty());
  }
}

void read_exam(std::string_view text) {
  using namespace worker;
  for (const char* const name : {"exam.jsonl", "exam.txt"}) {
    const auto data = parse_eval_data(text, name);
    if (!data) continue;
    require((data->kind == DataKind::kText) == !data->texts.empty());
    for (const std::string& one : data->texts) require(!one.empty());
    std::set<std::string> ids;
    for (const EvalDocument& document : data->documents) {
      check_document(data->kind, document);
      require(!document.id.empty() && ids.insert(document.id).second);
    }
    for (const EvalChoice& choice : data->choices) {
      require(choice.choices.size() >= 2 && choice.answer < choice.choices.size());
      require(!choice.id.empty() && ids.insert(choice.id).second);
    }
  }
}

// Where the log is damaged, the cut that the error advises makes it sound.
void read_log(std::string_view text) {
  const auto file = Folder::write("dslad.db-wal", text);
  const auto database = Folder::path() / "dslad.db";
  const auto end = daemon::check_log(database);
  if (end.ok()) return;
  require(end.error().code == ErrorCode::kCorrupt);
  constexpr std::string_view kAdvice = "truncate -s ";
  const std::string& message = end.error().message;
  const std::size_t number = message.find(kAdvice) + kAdvice.size();
  std::uintmax_t bytes = text.size();
  std::from_chars(message.data() + number, message.data() + message.size(), bytes);
  require(bytes < text.size());
  std::filesystem::resize_file(file, bytes);
  const auto cut = daemon::check_log(database);
  require(cut.ok() && *cut == daemon::LogEnd::kWhole);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ::mode_t before = ::umask(077);  // a secret key is its owner's alone
  (void)before;
  if (size == 0) return 0;
  const std::string_view text = fuzz::text_of(data + 1, size - 1);
  switch (data[0]) {
    case 'b':
      read_batch(text);
      break;
    case 'o':
      read_batch_output(text);
      break;
    case 'k':
      read_key(text);
      break;
    case 'd':
      read_daemon_config(text);
      break;
    case 'w':
      read_worker_config(text);
      break;
    case 't':
      read_trace(text);
      break;
    case 'e':
      read_exam(text);
      break;
    case 'l':
      read_log(text);
      break;
    default:
      break;
  }
  return 0;
}
