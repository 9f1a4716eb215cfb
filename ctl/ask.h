// A verb that asks one question and prints the answer.
#pragma once

#include "ctl/client.h"
#include "ctl/json.h"
#include "ctl/terminal.h"

namespace dslad::ctl {

// Prints the answer as `show` says, or in JSON.
template <typename Reply, typename Request, typename Show>
Result<Exit> ask(const Globals& globals, const Request& request, Show show) {
  Result<Client> client = Client::open(globals);
  if (!client) return client.error();
  const auto reply = client->call<Reply>(request);
  if (!reply) return reply.error();
  print(globals.json ? to_json(*reply) : show(*reply));
  return kOk;
}

}  // namespace dslad::ctl
