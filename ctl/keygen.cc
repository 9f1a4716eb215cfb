// Makes a key: of a client, a worker or the daemon; they are all alike.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <memory>
#include <string>

#include "ctl/format.h"
#include "ctl/json.h"
#include "ctl/terminal.h"
#include "ctl/verb.h"
#include "schema/keys/key_file.h"

namespace dslad::ctl {
namespace {

Result<Exit> keygen(const Globals& globals, const std::string& file) {
  const keys::KeyPair pair = keys::make_key_pair();
  if (Status status = keys::write_key_pair(file, pair); !status)
    return Error{ErrorCode::kInvalidArgument, status.error().message};
  const std::string open = keys::public_file_of(file).string();
  if (globals.json) {
    print(to_json(MadeKey{file, open, pair.public_key}));
  } else {
    print(fmt::format("{}: secret; keep it to yourself\n{}: give it to whom is to know you\n", one_line(file),
                      one_line(open)));
  }
  return kOk;
}

}  // namespace

void add_keygen(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("keygen", "Make a key for tcp: FILE, which is secret, and FILE.pub");
  auto file = std::make_shared<std::string>();
  verb->add_option("FILE", *file, "Where the secret key goes; never overwritten")->required();
  verb->callback(
      [file, &action] { action = [file](const Globals& globals) { return keygen(globals, *file); }; });
}

}  // namespace dslad::ctl
