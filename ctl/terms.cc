#include "ctl/terms.h"

#include <CLI/CLI.hpp>
#include <array>
#include <cstdlib>
#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include "ctl/amount.h"
#include "ctl/input.h"
#include "schema/limits.h"

namespace dslad::ctl {
namespace {

constexpr const char* kClientVariable = "DSLAD_CLIENT";

// Empty where the user has no name, or one that no message can carry.
std::string login_name() {
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 4096> texts{};
  if (::getpwuid_r(::getuid(), &entry, texts.data(), texts.size(), &found) != 0 || found == nullptr)
    return {};
  std::string name = found->pw_name;
  return name.size() <= schema::kMaxNameBytes && check_utf8("", name) ? name : "";
}

Status check_name(const std::string& option, const std::string& name) {
  if (Status status = check_utf8(option, name); !status) return status;
  if (name.size() <= schema::kMaxNameBytes) return ok_status();
  return invalid_argument(fmt::format("{} has {} bytes; at most {} are taken: shorten it", option,
                                      name.size(), schema::kMaxNameBytes));
}

}  // namespace

void add_terms(CLI::App& verb, TermsOptions& options) {
  schema::JobTerms& terms = options.terms;
  add_duration(verb, "--deadline", options.deadline_in_ms,
               "By when the answer is wanted, from now: 90s, 10m, 2h, 1d; refused where it cannot be met");
  verb.add_flag("--best-effort", terms.best_effort, "Take the job even where its deadline cannot be met");
  add_share(verb, "--min-quality", terms.min_quality,
            "No plan of less measured quality, relative to plan 0: 0.98 or 98%");
  CLI::Option* max_plan =
      verb.add_option("--max-plan", terms.max_plan, "No plan with more than N layers of DSLA")
          ->check(CLI::Range(std::uint32_t{0}, static_cast<std::uint32_t>(schema::kMaxLayers)))
          ->type_name("N");
  verb.add_flag("--exact", options.exact, "Plan 0 alone: --max-plan 0")->excludes(max_plan);
  verb.add_flag(
      "--upgrade", terms.upgrade,
      "Answered on another plan, run it again on plan 0 when there is nothing else to do; the result "
      "keeps both");
  verb.add_option("--model", terms.model, "Name or digest of the model that must answer; default: any");
  verb.add_option(
      "--client", options.client,
      "For whom the job is; default: DSLAD_CLIENT, or your login name. Who sends the most is made "
      "cheaper first");
}

Result<schema::JobTerms> read_terms(const TermsOptions& options) {
  schema::JobTerms terms = options.terms;
  terms.deadline_in_ms = options.deadline_in_ms.value_or(0);
  if (options.exact) terms.max_plan = 0;
  if (Status status = check_name("--model", terms.model); !status) return status.error();
  return terms;
}

Result<std::string> read_client(const TermsOptions& options) {
  const char* variable = std::getenv(kClientVariable);
  const bool by_variable = variable != nullptr && *variable != '\0';
  if (!options.client && !by_variable) return login_name();
  std::string client = options.client.value_or(by_variable ? variable : "");
  Status status = check_name(options.client ? "--client" : kClientVariable, client);
  if (!status) return status.error();
  return client;
}

}  // namespace dslad::ctl
