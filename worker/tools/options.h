// What every verb of dslad-model takes.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "kernels/tensor.h"
#include "worker/engine/engine.h"
#include "worker/model/loaded_chain.h"
#include "worker/tasks/model_folder.h"

namespace dslad::worker {

struct ToolOptions {
  std::string model;           // a Hugging Face directory
  std::string dtype = "bf16";  // what weights are held in (kernels/gemm/weight_format.h)
  std::string device = "cpu";  // or cuda:N
  int threads = 0;             // 0: one for each processor
  int plan = 0;                // layers converted to DSLA, in the order of the model's chain
  std::int64_t cache_mib = 1024;
  bool json = false;
};

// kInvalidArgument for anything but "bf16" and "f32".
// `text`: one of kernels::kWeightFormatNames.
Result<kernels::WeightFormat> parse_format(const std::string& text);
// What training computes with and chains are stored in: bf16 | f32.
Result<kernels::DType> parse_dtype(const std::string& text);

Result<std::unique_ptr<Engine>> make_engine(std::shared_ptr<const ModelWeights> weights,
                                            const ToolOptions& options, bool prefix_snapshots = true);

// Says on stderr what of the chain could not be used, and which layers of `plan` are not distilled: the
// reader of a text or a figure has to know.
void report_chain(const LoadedChain& chain, int plan);

[[nodiscard]] int threads_of(const ToolOptions& options);

// Prints the error to stderr as "dslad-model: ..." and returns the exit status 1.
int fail(const Error& error);

}  // namespace dslad::worker
