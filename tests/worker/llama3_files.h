// Llama 3's tokenizer in Hugging Face's form, made from the form that Meta publishes.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

namespace dslad::worker::testing {

// `ranks`: a line for each token, its bytes in base64 and its rank. Merges are not in there; they follow
// from the ranks: a token is made of the two that merging its bytes by lower ranks alone ends with.
nlohmann::json llama3_tokenizer_json(const std::filesystem::path& ranks);

}  // namespace dslad::worker::testing
