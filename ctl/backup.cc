// Fetches a copy of the daemon's database into a file.
#include <CLI/CLI.hpp>
#include <chrono>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <thread>

#include "base/digest.h"
#include "ctl/backup_file.h"
#include "ctl/client.h"
#include "ctl/files.h"
#include "ctl/format.h"
#include "ctl/interrupt.h"
#include "ctl/json.h"
#include "ctl/progress.h"
#include "ctl/terminal.h"
#include "schema/care_messages.h"

namespace dslad::ctl {
namespace {

constexpr std::chrono::milliseconds kLookEvery{100};

struct BackupOptions {
  std::string file;
  bool force = false;
  bool quiet = false;
};

// One line that moves on a terminal, nothing elsewhere.
class CopyProgress {
 public:
  explicit CopyProgress(bool quiet) : shown_(!quiet && is_terminal(stderr)) {}
  void show(const char* doing, std::uint64_t done, std::uint64_t total) {
    if (!shown_) return;
    block_.show({fmt::format("{} {} {} of {}", doing, progress_bar(std::min(done, total), total),
                             format_bytes(done), format_bytes(total))});
  }
  void clear() { block_.erase(); }

 private:
  bool shown_;
  LiveBlock block_;
};

Result<schema::BackupReply> await_copy(Client& client, CopyProgress& progress) {
  Result<schema::BackupReply> backup = client.call<schema::BackupReply>(schema::BeginBackup{});
  while (backup && !backup->ready) {
    progress.show("copying ", backup->copied, backup->bytes);
    std::this_thread::sleep_for(kLookEvery);
    if (interrupted()) return Error{ErrorCode::kUnavailable, "interrupted"};
    backup = client.call<schema::BackupReply>(schema::ShowBackup{backup->backup});
  }
  return backup;
}

Status fetch_copy(Client& client, const schema::BackupReply& backup, BackupFile& file,
                  CopyProgress& progress) {
  RunningHash hash;
  std::uint64_t have = 0;
  while (have < backup.bytes) {
    progress.show("fetching", have, backup.bytes);
    const auto piece = client.call<schema::BackupPiece>(schema::ReadBackup{backup.backup, have});
    if (!piece) return piece.error();
    const std::string& data = piece->data.data;
    if (piece->from != have || data.empty() || data.size() > backup.bytes - have)
      return Error{ErrorCode::kCorrupt, "the daemon's copy has changed while it was fetched: try again"};
    if (Status status = file.append(data); !status) return status;
    hash.add(data);
    have += data.size();
  }
  if (hash.value().hex() == backup.digest) return ok_status();
  return Error{ErrorCode::kCorrupt, "what was fetched is not what the daemon copied: try again"};
}

Result<Exit> back_up(const Globals& globals, const BackupOptions& options) {
  const InterruptGuard guard;
  Result<BackupFile> file = BackupFile::open(options.file, options.force);
  if (!file) return file.error();
  Result<Client> client = Client::open(globals);
  if (!client) return client.error();
  CopyProgress progress(options.quiet || globals.json);
  const Result<schema::BackupReply> backup = await_copy(*client, progress);
  Status status = backup ? fetch_copy(*client, *backup, *file, progress) : Status(backup.error());
  progress.clear();
  if (!status && interrupted()) return kInterrupted;  // the daemon removes its copy as we depart
  if (status) status = file->publish();
  if (!status) return status.error();
  // The file is whole; a copy that stays behind goes when we depart.
  [[maybe_unused]] const auto ended = client->call<schema::BackupReply>(schema::EndBackup{backup->backup});
  const SavedBackup saved{options.file, backup->bytes, backup->digest};
  print(globals.json ? to_json(saved)
                     : fmt::format("{}: {}, XXH3 {}\n", one_line(saved.file), format_bytes(saved.bytes),
                                   saved.digest));
  return kOk;
}

}  // namespace

void add_backup(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("backup", "Fetch a copy of the daemon's database while it runs");
  auto options = std::make_shared<BackupOptions>();
  verb->add_option("FILE", options->file, "Where it goes; FILE.part until it is whole")->required();
  verb->add_flag("--force", options->force, "Replace FILE where it is there already");
  verb->add_flag("-q,--quiet", options->quiet, "Show no progress on standard error");
  verb->callback([options, &action] {
    action = [options](const Globals& globals) { return back_up(globals, *options); };
  });
}

}  // namespace dslad::ctl
