// attend_tile over pages of pairs, by AMX: the products of bf16 tiles, at float32's accuracy.
//
// A query's channels are split into three bf16 numbers, which hold a float32 exactly, and a weight into two,
// so what is lost is a weight's part below 2^-17. Rows do not depend on each other: as for other pages, how
// work is split never shows in the output. Internal to kernels/attention. Thread safety: functions of their
// arguments alone.
#pragma once

#include "kernels/attention/attention_tile.h"

namespace dslad::kernels {

inline constexpr std::int64_t kAmxTileQueries = 32;

// Whether this machine can attend to pages of pairs of that shape.
bool amx_attends(DType dtype, int head_dim);

std::int64_t attend_tile_amx_workspace(int d);

// As attend_tile. REQUIRES: the layout has pairs, and amx_attends().
void attend_tile_amx(const AttentionTile& tile, std::int64_t partition, SoftmaxPartial out, float* workspace);

}  // namespace dslad::kernels
