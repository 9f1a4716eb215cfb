#include "worker/distill/student_chain.h"

#include <nlohmann/json.hpp>

#include "worker/model/dsla_layer.h"

namespace dslad::worker {

Status save_student_chain(const std::filesystem::path& dir, ChainManifest measured,
                          const nlohmann::json& recipe, const LlamaConfig& config,
                          const ConvertedAlone& alone) {
  measured.recipe = recipe;
  measured.distilled.clear();
  measured.plans.clear();
  for (const int layer : measured.order) {
    const auto at = static_cast<std::size_t>(layer);
    const StudentLayer& student = *alone.students[at];
    const auto saved = save_dsla_layer(dir, layer_file_name(layer), config, student.variant(),
                                       student.tensors(), kernels::DType::kF32);
    if (!saved) return saved.error();
    measured.distilled.push_back({layer,
                                  saved->file,
                                  saved->checksum,
                                  {{"alone", {{"kl", alone.kl[at]}}}, {"tokens", alone.tokens}},
                                  {}});
  }
  return save_chain_manifest(dir, measured);
}

}  // namespace dslad::worker
