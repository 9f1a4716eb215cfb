// A variant as the command line names it: a known one, perhaps with parts of it changed.
//
//   NAME[,PART=VALUE...]     "dslad", "paper,rotary=1", "dslad,window=0,feature_map=none"
// Parts: rotary (0 or 1), feature_map (none, softmax, softmax_pair), states (1 or 2), delta (0 or 1; 1 has
// one state), expand_k (1 to 16), window (tokens), sinks (0 to 16); the rest is the name's, without a window
// no sinks. The whole text becomes the variant's name. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "worker/model/dsla_variant.h"

namespace dslad::worker {

// kInvalidArgument names the part and what it may be.
Result<DslaVariant> parse_variant_option(std::string_view text);

// With every part, as parse_variant_option reads it, whatever a name means in another edition.
std::string variant_option(const DslaVariant& variant);

// LAYER=VARIANT: a layer, from 0, and what it is to compute, with the window and sinks of its `chain` where
// the text names none.
Result<std::pair<int, DslaVariant>> parse_layer_variant_option(std::string_view text,
                                                               const DslaVariant& chain);

}  // namespace dslad::worker
