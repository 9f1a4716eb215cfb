// What both training verbs work with: the teacher, the data, and the chain's folder with its manifest.
#pragma once

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "worker/distill/chain_source.h"
#include "worker/distill/chain_training.h"
#include "worker/distill/sensitivity.h"
#include "worker/files/folder_lock.h"
#include "worker/tools/stage_option.h"
#include "worker/tools/training_verbs.h"

namespace dslad::worker {

class TrainingSession {
 public:
  // Loads everything and says on stderr what it found; the chain's folder is locked from then on. Errors:
  // kRefused where another session works there; those of the files.
  static Result<std::unique_ptr<TrainingSession>> open(TrainingArguments arguments);

  // Sets by SIGINT and SIGTERM: long work ends at its next step.
  [[nodiscard]] static const std::atomic<bool>& stop_requested();

  // Entropy, and where `with_divergence` each layer's divergence when converted alone, into the manifest's
  // evidence.
  Status measure(bool with_divergence);
  // The order in the file `name`; nothing where there is no such file. Errors: those of reading it.
  [[nodiscard]] Result<std::optional<std::vector<int>>> order_in_file(const std::string& name) const;
  // Whether decide_order will know the method, or the file of that name; to be asked before long work.
  [[nodiscard]] Status check_order(const std::string& method) const;
  // Decides the manifest's order by `method` (or from a file of that name), measuring what it needs.
  Status decide_order(const std::string& method);
  // Decides it by these divergences of each layer converted alone, which become its evidence.
  Status decide_order_by(const std::vector<double>& kl);
  // The students that the order was measured with, which the session lets go of; none where it was not.
  [[nodiscard]] ConvertedAlone take_students() { return std::exchange(alone_, {}); }

  TrainingArguments arguments;
  std::filesystem::path dir;  // of the chain
  DslaVariant variant;
  std::map<int, DslaVariant> layer_variants;  // of layers that are to have another
  std::optional<ChainSource> source;          // what this one begins with
  std::optional<LearnedChain> warm_start;     // where its layers start
  std::unique_ptr<kernels::TrainingBackend> backend;
  std::unique_ptr<WeightFiles> weights;
  std::unique_ptr<Network> network;
  TrainingData data;
  // Of each further stage; empty where it goes on with `data`. Their held-out parts are in data.held_out.
  std::vector<TrainingData> further;
  ChainManifest manifest;
  bool manifest_is_new = false;  // the folder has none yet

 private:
  explicit TrainingSession(TrainingArguments given) : arguments(std::move(given)) {}
  Status load();
  Status check_joint_chained();
  [[nodiscard]] Status check_apart(std::string_view option, const std::string& folder) const;
  Status open_source();
  Status open_warm_start();
  [[nodiscard]] Result<DslaVariant> unasked_variant() const;
  Status read_variants();
  Status keep_variants();
  Status read_stages();
  Status load_further(const LlamaConfig& config);
  Status read_manifest();
  Status begin_manifest();
  [[nodiscard]] SensitivitySetup sensitivity_setup() const;
  LayerEvidence& evidence(int layer);
  void take_divergences(const std::vector<double>& kl);

  std::vector<StageArgument> stages_;
  std::optional<FolderLock> lock_;
  ConvertedAlone alone_;
};

}  // namespace dslad::worker
