// What belongs to a model on disk: a Hugging Face folder, or one GGUF file with its companions beside it.
//
//   folder: my-llama/          my-llama/dslad.toml        my-llama/dsla/
//   file:   my-llama.gguf      my-llama.dslad.toml        my-llama.dsla/
// A GGUF file in several parts (NAME-00001-of-00003.gguf) is named by its first; its companions are NAME's.
// Pure but for looking at the disk; safe from any thread.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dslad::worker {

// Whether `model` names a GGUF file rather than a folder, by its ending.
bool is_gguf(const std::filesystem::path& model);

// Where the companion `name` ("dslad.toml", "dsla") of the model lies.
std::filesystem::path model_companion(const std::filesystem::path& model, std::string_view name);

// What people call the model: the file's name without its ending; in a cache of Hugging Face
// (models--ORG--NAME/snapshots/COMMIT) ORG/NAME; else the folder's name.
std::string model_name(const std::filesystem::path& model);

// All parts of the GGUF file `model`, in order: by its name, all that the name says there are.
// Errors: kInvalidArgument for a part that is not the first.
Result<std::vector<std::filesystem::path>> gguf_parts(const std::filesystem::path& model);

}  // namespace dslad::worker
