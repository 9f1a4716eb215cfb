// What makes jobs a batch: they have its id as a label. All that is to be known of a batch is in its jobs, so
// that nothing but the daemon's database has to survive.
//
// The id is made from the content of the batch's file and from the options that change what its jobs are;
// each job's idempotency key is made from the id and the row's custom_id. So the same file is the same batch
// whoever submits it how often. Pure; safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "schema/job.h"

namespace dslad::ctl {

// The form of a row, and of the line that answers it. A job tells by a second label of which form its row
// was.
enum class RowKind : std::uint8_t { kNative, kChat, kCompletion };

std::string_view label_of(RowKind kind);  // empty: native rows have none
RowKind kind_of(const std::vector<std::string>& labels);

// What the command line says of rows that say nothing themselves, as far as it changes the work.
std::string batch_id(const Hash& file, const schema::SamplingOptions& options, const std::string& model,
                     bool use_model);

// As long as every id: for what must be known before the id is.
inline constexpr std::string_view kNoBatch = "batch_000000000000000000000000";

// Errors: kInvalidArgument where `text` cannot be a batch's id.
Status check_batch_id(const std::string& text);

// At most schema::kMaxNameBytes, whatever the custom_id.
std::string row_key(std::string_view batch, std::string_view custom_id);

}  // namespace dslad::ctl
