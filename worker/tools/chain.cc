#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "worker/distill/checkpoint.h"
#include "worker/distill/joint_checkpoint.h"
#include "worker/model/chain_file.h"
#include "worker/model/digest.h"
#include "worker/model/weight_files.h"
#include "worker/tools/options.h"
#include "worker/tools/verbs.h"

namespace dslad::worker {
namespace {

int told(const ChainArguments& arguments, const ChainManifest& manifest, const std::string& where) {
  if (arguments.json) {
    const nlohmann::ordered_json line = {{"file", arguments.file},
                                         {"layers", manifest.layers},
                                         {"plans", manifest.distilled.size()},
                                         {"teacher_digest", manifest.teacher_digest}};
    fmt::print("{}\n", line.dump());
  } else {
    fmt::print("{}: plans 0 to {} of {} layers\n", where, manifest.distilled.size(), manifest.layers);
  }
  return 0;
}

}  // namespace

int chain_export(const ChainArguments& arguments) {
  const auto manifest = export_chain(chain_folder(arguments.model), arguments.file);
  return manifest ? told(arguments, *manifest, arguments.file) : fail(manifest.error());
}

int chain_import(const ChainArguments& arguments) {
  const auto config = LlamaConfig::load(arguments.model);
  if (!config) return fail(config.error());
  const auto files = WeightFiles::open(arguments.model);
  if (!files) return fail(files.error());
  const std::string digest = weights_digest(*files);
  const std::filesystem::path dir = chain_folder(arguments.model);
  // What was being trained behind the chain that stood there is of no use behind this one.
  const auto forget_training = [&dir] {
    Status removed = remove_checkpoint(dir);
    if (removed) removed = remove_joint_checkpoint(dir, Stage::kLayerwise);
    return removed ? remove_joint_checkpoint(dir, Stage::kChained) : removed;
  };
  const auto manifest =
      import_chain(arguments.file, {dir, *config, digest, arguments.replace, forget_training});
  return manifest ? told(arguments, *manifest, dir.string()) : fail(manifest.error());
}

}  // namespace dslad::worker
