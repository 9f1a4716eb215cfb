// What `submit` says of its jobs besides their texts: by when, how good, on which model, for whom.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "schema/client_messages.h"

namespace CLI {
class App;
}

namespace dslad::ctl {

struct TermsOptions {
  schema::JobTerms terms;
  std::optional<std::uint64_t> deadline_in_ms;
  bool exact = false;
  std::optional<std::string> client;
};

// `options` must outlive the parsing.
void add_terms(CLI::App& verb, TermsOptions& options);

// Errors: kInvalidArgument, naming the option.
Result<schema::JobTerms> read_terms(const TermsOptions& options);

// For whom the jobs are: as the option says, else DSLAD_CLIENT, else the user's login name; empty where there
// is none. Errors: as read_terms().
Result<std::string> read_client(const TermsOptions& options);

}  // namespace dslad::ctl
