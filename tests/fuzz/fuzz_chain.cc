// chain.json: what is taken can be stored, and means the same when it is read again.
#include "tests/fuzz/fuzz.h"
#include "worker/model/chain.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dslad::worker;
  const auto manifest = parse_chain_manifest(dslad::fuzz::text_of(data, size), "chain.json");
  if (!manifest) return 0;
  if (manifest->order.size() != static_cast<std::size_t>(manifest->layers)) std::abort();
  if (manifest->distilled.size() > manifest->order.size()) std::abort();
  const auto& folder = dslad::fuzz::Folder::path();
  if (!save_chain_manifest(folder, *manifest)) std::abort();
  const auto again = load_chain_manifest(folder);
  if (!again || *again != *manifest) std::abort();
  return 0;
}
