// A further stage of each layer as the command line describes it.
//
//   LOSS,steps=N[,PART=VALUE...]     "chained,steps=300,above=0.05", "chained,steps=90,text=a.jsonl"
// LOSS: layerwise or chained. Parts: steps, rate (highest learning rate), above (nats a token: layers whose
// held-out divergence is not above it do without), text (a file of its own; may come again), sequence (tokens
// of one of its sequences, at most). A pure function.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/distill/distil_options.h"

namespace dslad::worker {

struct StageArgument {
  LayerStage stage;                      // rate 0: that of the loss's first stage
  std::vector<std::string> files;        // empty: it goes on with the texts of the first stages
  std::optional<std::int64_t> sequence;  // absent: as for --sequence
};

// kInvalidArgument names the part and what it may be.
Result<StageArgument> parse_stage_option(std::string_view text);

}  // namespace dslad::worker
