// The conversion chain's manifest, MODEL/dsla/chain.json: which layers of which teacher were distilled, in
// what order, why, how, and how good each plan is. docs/formats.md is the format's specification.
//
// Plain values. Invariants of what load_chain_manifest returns and save_chain_manifest takes: `order` is a
// permutation of the teacher's layers; `distilled` are its first layers, in its order; numbers are finite and
// in the ranges stated here. The layers' own files: dsla_layer.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/model/dsla_variant.h"

namespace dslad::worker {

// Entropy of a layer's softmax attention in the teacher, nats, over many prompts.
struct AttentionEntropy {
  double last = 0;            // of the last query, mean over heads and prompts: the paper's measure; >= 0
  double last_spread = 0;     // its standard deviation between prompts; >= 0
  double all = 0;             // of all queries, mean; >= 0
  std::vector<double> heads;  // `last` by head; empty or one a head
  bool operator==(const AttentionEntropy&) const = default;
};

// What was measured of a layer before the order was decided; absent: not measured.
struct LayerEvidence {
  int layer = 0;
  std::optional<AttentionEntropy> entropy;
  std::optional<double> kl;  // KL(teacher || student), nats a token, with this layer alone converted; >= 0
  bool operator==(const LayerEvidence&) const = default;
};

struct DistilledLayer {
  int layer = 0;
  std::string file;                                   // in the manifest's folder
  std::string checksum;                               // XXH3-128 of the file's bytes, 32 hex digits
  nlohmann::json losses = nlohmann::json::object();   // last value of each loss, by stage; free
  std::optional<DslaVariant> variant = std::nullopt;  // absent: the chain's; they fit_one_chain
  bool operator==(const DistilledLayer&) const = default;
};

// How good the model is with the first `plan` layers of the order converted; absent: not measured.
struct PlanQuality {
  int plan = 0;
  std::optional<double> kl;                // KL(plan 0 || plan), nats a token; >= 0
  std::optional<double> perplexity_ratio;  // to plan 0's; > 0
  std::optional<double> quality;           // the headline: generated scores relative to plan 0's (1)
  nlohmann::json scores = nlohmann::json::object();  // each task's score and interval; free
  bool operator==(const PlanQuality&) const = default;
};

struct ChainManifest {
  static constexpr int kFormatVersion = 1;

  std::string teacher_digest;  // ModelWeights::digest
  int layers = 0;              // of the teacher, 1 .. 1024
  std::string program;         // that made it
  std::string version;         // of that program
  DslaVariant variant;
  std::string order_method;             // "entropy-ascending", "kl", "file", ...
  std::vector<int> order;               // position -> layer
  std::vector<LayerEvidence> evidence;  // at most one a layer, any order
  nlohmann::json recipe =
      nlohmann::json::object();           // stages, steps, tokens, learning rates, seed, data; free
  std::vector<DistilledLayer> distilled;  // in conversion order
  std::vector<PlanQuality> plans;         // ascending, at most one a plan, plans <= distilled layers

  // nullptr where nothing was measured.
  [[nodiscard]] const LayerEvidence* evidence_of(int layer) const;
  [[nodiscard]] const PlanQuality* quality_of(int plan) const;
  [[nodiscard]] const DslaVariant& variant_of(const DistilledLayer& layer) const {
    return layer.variant ? *layer.variant : variant;
  }
  // For people: the chain's variant and those of layers that have another.
  [[nodiscard]] std::string variants_text() const;
  bool operator==(const ChainManifest&) const = default;
};

inline constexpr const char* kChainFile = "chain.json";

// Where a model's chain lies: MODEL/dsla.
std::filesystem::path chain_folder(const std::filesystem::path& model);

// Reads `dir`/chain.json; `dir` is the chain's folder. Errors: kNotFound without the file; kCorrupt for
// malformed JSON; kInvalidArgument naming file, field and value (another format version included).
Result<ChainManifest> load_chain_manifest(const std::filesystem::path& dir);

// The manifest and which edition of the chain it is: the XXH3-128 of the file's bytes, 32 hex digits. Errors:
// as above.
struct ChainEdition {
  ChainManifest manifest;
  std::string digest;
};
Result<ChainEdition> load_chain_edition(const std::filesystem::path& dir);

// The manifest from the file's text; `name` stands for the file in errors.
Result<ChainManifest> parse_chain_manifest(std::string_view text, std::string_view name);

// Replaces `dir`/chain.json atomically; makes the folder when it is missing. Errors: kInvalidArgument when
// parsing would refuse it (nothing is written); kResourceExhausted (disk full), kUnavailable.
Status save_chain_manifest(const std::filesystem::path& dir, const ChainManifest& manifest);

// Gets the stored manifest, or why there is none, and returns what is to be stored.
using ChainChange = std::function<Result<ChainManifest>(Result<ChainManifest> stored)>;

// The same for who builds on what the file holds: whoever else writes it, in this process or another, waits
// from before it is read until it is replaced. Errors: as above, and `change`'s, after which the old file
// stays. REQUIRES: `change` does not itself write the file.
Status update_chain_manifest(const std::filesystem::path& dir, const ChainChange& change);

}  // namespace dslad::worker
