// The tokenizer in a GGUF file's metadata: "gpt2" (byte-level, merges, the pre-tokenizer by name) or "llama"
// (sentencepiece: scores). The file has what its converter took over; what it leaves out follows llama.cpp.
#pragma once

#include <filesystem>
#include <memory>

#include "base/result.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {

// Errors: kNotFound without a tokenizer; kCorrupt for lists that do not fit each other; kInvalidArgument for
// a kind or a pre-tokenizer that is not implemented (names it). Messages name the file.
Result<std::unique_ptr<Tokenizer>> load_gguf_tokenizer(const std::filesystem::path& path);

}  // namespace dslad::worker
