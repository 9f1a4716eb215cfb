// The tensors of a GGUF file under the names, shapes and row order that Hugging Face gives them.
//
// "blk.3.attn_q.weight" is "model.layers.3.self_attn.q_proj.weight"; sizes are turned round, since GGUF
// counts the innermost first. What GGUF has and Hugging Face has not (rope_freqs.weight) keeps its name.
// Pure; safe from any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/files/gguf.h"
#include "worker/model/stored_tensor.h"

namespace dslad::worker {

// Views into `file`, in its order; `name` stands for it in errors. `model`: the file with the model's
// metadata, of which `file` is a part, the only one or a further one. Errors: kCorrupt (a tensor beyond the
// end of the data, or upon another), kInvalidArgument (a type that dslad does not read: names it).
Result<std::vector<TensorView>> gguf_tensors(const GgufFile& file, const GgufFile& model,
                                             std::string_view name);

// Hugging Face's name of GGUF's tensor; the name itself where there is none.
std::string hugging_face_name(std::string_view gguf_name);

}  // namespace dslad::worker
