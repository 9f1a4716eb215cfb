// A conversion chain as one file, to be made once and served anywhere: a tar with chain.json, the layers'
// files that it names and, for people, log.jsonl. Any tar reads it; one that was compressed (gzip, xz, zstd)
// is read, too.
//
// Functions of their arguments. Every layer is held to its checksum on the way out and on the way in.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

#include "base/result.h"
#include "worker/model/chain.h"
#include "worker/model/config.h"

namespace dslad::worker {

// Writes the chain of the folder `dir` to `file`, whole or not at all. Errors: kNotFound (no chain), kCorrupt
// (a layer's file), those of writing.
Result<ChainManifest> export_chain(const std::filesystem::path& dir, const std::filesystem::path& file);

struct ChainTarget {
  std::filesystem::path dir;  // MODEL/dsla
  const LlamaConfig& config;  // of the model
  std::string_view teacher_digest;
  bool replace = false;                    // a chain that is there
  std::function<Status()> on_placed = {};  // called while the folder is still this process's
};

// Checks the chain in `file` in full beside the folder, then puts it there: the layers first, chain.json
// last, so that a worker which serves from the folder takes it up whole. Where it fails the folder is as it
// was. Errors: kRefused (of other weights; a chain is there already; someone distils there), kInvalidArgument
// and kCorrupt (not such a file, a part is missing or damaged; name file and part), those of reading and
// writing.
Result<ChainManifest> import_chain(const std::filesystem::path& file, const ChainTarget& target);

}  // namespace dslad::worker
