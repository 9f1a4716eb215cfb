// A chain's archive into the folder beside a model: whole, or not at all, and nothing beside it.
#include <algorithm>
#include <cstdio>

#include "tests/fuzz/fuzz.h"
#include "worker/model/chain_file.h"

namespace {

using namespace dslad::worker;
using dslad::fuzz::Folder;

void require(bool holds) {
  if (!holds) std::abort();
}

// That of tests/golden/make_fuzz_seeds.py.
const LlamaConfig& config() {
  static const LlamaConfig made = *LlamaConfig::parse(
      R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 8,
          "num_hidden_layers": 5, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8,
          "vocab_size": 8, "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "hidden_act": "silu",
          "tie_word_embeddings": true})",
      "", "model");
  return made;
}
constexpr std::string_view kTeacherDigest = "21c3a959117144b2b8fce62a9a6ac73a";

// The sums of a tar's headers as they ought to be: no mutation would get beyond them.
void mend_headers(std::string& tar) {
  constexpr std::size_t kBlock = 512, kSum = 148, kSumBytes = 8, kMagic = 257;
  for (std::size_t at = 0; at + kBlock <= tar.size(); at += kBlock) {
    if (tar.compare(at + kMagic, 5, "ustar") != 0) continue;
    std::fill_n(tar.begin() + static_cast<std::ptrdiff_t>(at + kSum), kSumBytes, ' ');
    unsigned sum = 0;
    for (std::size_t i = 0; i < kBlock; ++i) sum += static_cast<unsigned char>(tar[at + i]);
    std::snprintf(&tar[at + kSum], kSumBytes, "%06o", sum);
  }
}

std::size_t files_in(const std::filesystem::path& folder) {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string tar(dslad::fuzz::text_of(data, size));
  mend_headers(tar);
  const auto file = Folder::write("chain.tar", tar);
  const auto dir = Folder::path() / "dsla";
  const auto imported = import_chain(file, {dir, config(), kTeacherDigest});
  if (!imported) {
    require(files_in(Folder::path()) == 1);
    return 0;
  }
  require(files_in(Folder::path()) == 2);
  require(*load_chain_manifest(dir) == *imported);
  const auto copy = Folder::path() / "copy.tar";
  require(export_chain(dir, copy).ok());
  const auto again = import_chain(copy, {dir, config(), kTeacherDigest, true});
  require(again.ok() && *again == *imported);
  std::filesystem::remove(copy);
  std::filesystem::remove_all(dir);
  return 0;
}
