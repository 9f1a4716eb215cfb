// One line of a batch file as a job. Two forms:
//
//   native   {"custom_id", "task", and any key of the protocol's job request; max_tokens, temperature, top_p
//            and seed may also stand beside the others instead of in "options"}
//   OpenAI's {"custom_id", "method": "POST", "url": "/v1/completions" | "/v1/chat/completions", "body"}
//
// What a key says is done or refused, never passed over: an unknown key, a wrong type or a feature that is
// not there makes a bad row. Keys that are null count as absent. Pure; safe from any thread; no line crashes
// it, and its memory is bounded by a small multiple of the line's length.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "ctl/batch_label.h"
#include "schema/client_messages.h"
#include "schema/limits.h"

namespace dslad::ctl {

inline constexpr std::size_t kLongestRow = schema::kMaxFrameBytes;

struct RowDefaults {
  schema::JobRequest request;   // for what a row does not say; labels go to every job
  std::string batch{kNoBatch};  // its id
  bool use_model = false;       // the `model` of an OpenAI body names the job's model
};

struct BatchRow {
  std::string custom_id;  // also of a bad row, where it is known
  RowKind kind = RowKind::kNative;
  schema::JobRequest request;  // valid, with labels and idempotency key
};

// `row` is filled as far as the text is understood. Errors: kInvalidArgument, in the words of the row's
// author.
Status read_batch_row(std::string_view text, const RowDefaults& defaults, BatchRow& row);

}  // namespace dslad::ctl
