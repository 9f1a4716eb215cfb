// What idle distilling does next, by what lies on disk. Pure.
//
// A chain grows in a folder of its own, the stage (stage.h), which begins as a copy of the chain that serves.
// There the next layer is distilled, then measured, and only then published into the chain that serves. Each
// step is repeated as long as its result is not on disk, so a kill at any moment costs no more than the step.
//
// Of layers that are distilled on recent documents each has a stage of its own, which holds the documents
// that there were when it began: those that come later are for the next one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "worker/model/chain.h"

namespace dslad::worker {

// How a stage was begun, and what was measured in it.
struct StageRecord {
  std::optional<int> keep;         // layers that it began with; absent: there was no chain to begin with
  std::string recipe;              // fingerprint of what training depended on
  std::string measured;            // of what its last plan was measured with; empty: it was not
  std::uint64_t recent_bytes = 0;  // of the recent documents among what it trains on
  bool operator==(const StageRecord&) const = default;
};

// Bytes of recent documents without which no layer is begun on them alone: 16 sequences of 1,024 tokens or
// so.
inline constexpr std::uint64_t kLeastRecentBytes = 64 << 10;

// What next_step() decides by.
struct IdleFacts {
  std::optional<ChainManifest> published;  // of this teacher; absent: there is none
  std::optional<ChainManifest> staged;     // absent: none yet, or of another teacher
  std::optional<StageRecord> record;
  std::string recipe, measurement;            // fingerprints as things are now
  int layers = 0;                             // to distil in all
  double min_quality = 0;                     // below which a plan is not published
  bool has_texts = true;                      // to train on, whatever jobs come
  std::optional<std::uint64_t> recent_bytes;  // of documents as they are now; absent: none are trained on
  bool frozen = false;                        // the stage has those that it began with
};

struct BeginStage {  // discard what the stage holds
  std::optional<int> keep;
  std::string why;  // for people; empty: there was no stage
  bool operator==(const BeginStage&) const = default;
};
struct DistilLayer {
  std::optional<int> keep;
  int plan = 0;              // that the layer completes
  std::optional<int> layer;  // absent: the order is not decided yet
  bool operator==(const DistilLayer&) const = default;
};
struct MeasurePlan {
  int plan = 0, layer = 0;
  bool operator==(const MeasurePlan&) const = default;
};
struct PublishPlan {
  int plan = 0, layer = 0;
  std::optional<double> quality;
  bool operator==(const PublishPlan&) const = default;
};
// The layer's plan is not good enough. Plans nest, so nothing can be built on it: it takes another recipe.
struct RejectPlan {
  int plan = 0, layer = 0;
  std::optional<double> quality;
  std::string why;
  bool operator==(const RejectPlan&) const = default;
};
// Too few documents have come to begin a layer on.
struct AwaitDocuments {
  bool operator==(const AwaitDocuments&) const = default;
};
struct NothingLeft {
  bool operator==(const NothingLeft&) const = default;
};
using IdleStep =
    std::variant<BeginStage, DistilLayer, MeasurePlan, PublishPlan, RejectPlan, AwaitDocuments, NothingLeft>;

IdleStep next_step(const IdleFacts& facts);

// The layers that are still to be distilled, in that order, where `next` is what next_step() says: from the
// one that is next on. None where nothing follows, or where the order is not decided yet.
std::vector<int> layers_to_come(const IdleFacts& facts, const IdleStep& next);

// Whether `chain` begins with all layers of `first`, the same files in the same order of conversion.
bool continues(const ChainManifest& chain, const ChainManifest& first);

}  // namespace dslad::worker
