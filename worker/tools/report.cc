#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>

#include "worker/files/atomic_file.h"
#include "worker/report/chain_page.h"
#include "worker/tools/options.h"
#include "worker/tools/training_verbs.h"

namespace dslad::worker {
namespace {

// What can be read of the log: a run that was killed may have left half a line.
std::vector<nlohmann::json> read_log(const std::filesystem::path& path) {
  std::vector<nlohmann::json> lines;
  std::ifstream file(path);
  for (std::string text; std::getline(file, text);) {
    auto line = nlohmann::json::parse(text, nullptr, false);
    if (line.is_object()) lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace

int report(const ReportArguments& arguments) {
  std::filesystem::path dir = arguments.chain;
  if (std::error_code hidden; std::filesystem::exists(chain_folder(dir) / "chain.json", hidden))
    dir = chain_folder(dir);
  const auto manifest = load_chain_manifest(dir);
  if (!manifest) return fail(manifest.error());
  const std::filesystem::path out =
      arguments.out.empty() ? dir / "report.html" : std::filesystem::path(arguments.out);
  const Status written = write_file(out, chain_page(*manifest, read_log(dir / "log.jsonl")));
  if (!written) return fail(written.error());
  fmt::print("{}\n", out.string());
  return 0;
}

}  // namespace dslad::worker
