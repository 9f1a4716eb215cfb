// Has the daemon check its database.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <memory>
#include <thread>

#include "ctl/client.h"
#include "ctl/format.h"
#include "ctl/interrupt.h"
#include "ctl/json.h"
#include "ctl/terminal.h"
#include "schema/care_messages.h"

namespace dslad::ctl {
namespace {

constexpr std::chrono::milliseconds kFirstLook{20}, kLooksAtMostEvery{500};

constexpr const char* kDamageRemedy =
    "dslactl: the database is damaged. Keep a copy of dslad.db and dslad.db-wal before anything else, check "
    "the disk, "
    "then put the latest backup in place, or save what is left: docs/database.md, 'Damage', has the steps\n";

Result<Exit> check(const Globals& globals, bool quick) {
  const InterruptGuard guard;
  Result<Client> client = Client::open(globals);
  if (!client) return client.error();
  auto reply = client->call<schema::IntegrityReply>(schema::BeginIntegrity{quick});
  for (auto pause = kFirstLook; reply && !reply->done; pause = std::min(2 * pause, kLooksAtMostEvery)) {
    std::this_thread::sleep_for(pause);
    if (interrupted()) return kInterrupted;  // the daemon ends it as we depart
    reply = client->call<schema::IntegrityReply>(schema::ShowIntegrity{reply->check});
  }
  if (!reply && interrupted()) return kInterrupted;
  if (!reply) return reply.error();
  if (globals.json) {
    print(to_json(*reply));
  } else {
    for (const std::string& finding : reply->findings) print(printable(finding) + "\n");
    if (reply->more) print("and more\n");
    if (reply->findings.empty()) print("ok\n");
  }
  if (reply->findings.empty()) return kOk;
  print_error(kDamageRemedy);
  return kJobFailed;
}

}  // namespace

void add_integrity(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("integrity", "Check the daemon's database while it runs");
  auto quick = std::make_shared<bool>(false);
  verb->add_flag("--quick", *quick, "Leave out whether each index agrees with its table, and read no texts");
  verb->callback(
      [quick, &action] { action = [quick](const Globals& globals) { return check(globals, *quick); }; });
}

}  // namespace dslad::ctl
