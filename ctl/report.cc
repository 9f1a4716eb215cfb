// A page about what the database holds. It asks no daemon: the file is read as any user of its views reads
// it.
#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <system_error>
#include <unistd.h>

#include "ctl/amount.h"
#include "ctl/files.h"
#include "ctl/format.h"
#include "ctl/json.h"
#include "ctl/terminal.h"
#include "ctl/verb.h"
#include "daemon/report/facts.h"
#include "daemon/report/page.h"

namespace dslad::ctl {
namespace {

struct ReportOptions {
  std::string database = "/var/lib/dslad/dslad.db";
  std::string output;
  std::optional<std::uint64_t> last_ms;
};

Error cannot_write(const std::string& file, std::string_view why) {
  return {ErrorCode::kInvalidArgument, fmt::format("cannot write {}: {}", file_name(file), why)};
}

// For its owner alone: names and errors of everybody's jobs are in it.
Status write_page(const std::string& file, std::string_view page) {
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (descriptor < 0) return cannot_write(file, std::generic_category().message(errno));
  const Status status = write_all(descriptor, page);
  const int closed = ::close(descriptor);
  if (!status) return cannot_write(file, status.error().message);
  return closed == 0 ? ok_status() : Status(cannot_write(file, std::generic_category().message(errno)));
}

Result<Exit> report_on(const Globals& globals, const ReportOptions& options) {
  const bool to_output = options.output.empty() || options.output == "-";
  if (to_output && is_terminal(stdout))
    return Error{ErrorCode::kInvalidArgument,
                 "a page is no text for a terminal: name a file with --output FILE"};
  const std::int64_t now_s = wall_ms() / 1000;
  std::optional<std::int64_t> since_s;
  if (options.last_ms) since_s = now_s - static_cast<std::int64_t>(*options.last_ms / 1000);
  const Result<daemon::report::Facts> facts = daemon::report::read_facts(options.database, now_s, since_s);
  if (!facts) return facts.error();
  const std::string page = daemon::report::to_page(*facts);
  if (to_output) {
    print(page);
    return kOk;
  }
  if (Status status = write_page(options.output, page); !status) return status.error();
  print(globals.json ? to_json(WrittenReport{options.output, page.size()})
                     : fmt::format("{}: {}\n", one_line(options.output), format_bytes(page.size())));
  return kOk;
}

}  // namespace

void add_report(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("report", "A page of plots and tables about the database, as HTML");
  auto options = std::make_shared<ReportOptions>();
  verb->add_option("--database", options->database, "dslad's database, or a backup of it")
      ->capture_default_str()
      ->type_name("PATH");
  verb->add_option("--output", options->output, "Where the page goes; default: standard output")
      ->type_name("FILE");
  add_duration(*verb, "--last", options->last_ms,
               "Only jobs that were submitted so long ago at most; default: all");
  verb->callback([options, &action] {
    action = [options](const Globals& globals) { return report_on(globals, *options); };
  });
}

}  // namespace dslad::ctl
