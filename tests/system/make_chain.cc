// Writes a conversion chain beside a model, its layers as training starts them and its figures made up: what
// the tests of serving need, in a moment. Usage: make_chain MODEL LAYERS [LAYER], with LAYERS of the order 2,
// 0, 4, 1, 3; LAYER of them gets weights so large that what it computes is not finite.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "worker/model/digest.h"
#include "worker/model/dsla_layer.h"

namespace {

using namespace dslad;
using namespace dslad::worker;

Status make_chain(const std::filesystem::path& model, int layers, int overflowing) {
  const auto config = LlamaConfig::load(model);
  if (!config) return config.error();
  const auto teacher = WeightFiles::open(model);
  if (!teacher) return teacher.error();
  ChainManifest manifest;
  manifest.teacher_digest = weights_digest(*teacher);
  manifest.layers = config->layers;
  manifest.program = "make_chain";
  manifest.version = "1";
  manifest.order_method = "file";
  manifest.order = {2, 0, 4, 1, 3};
  for (int position = 0; position < layers; ++position) {
    const int layer = manifest.order.at(static_cast<std::size_t>(position));
    auto tensors = initial_dsla_layer(*teacher, *config, layer, manifest.variant);
    if (!tensors) return tensors.error();
    if (layer == overflowing) std::ranges::fill(tensors->o, std::numeric_limits<float>::max());
    const auto saved = save_dsla_layer(chain_folder(model), layer_file_name(layer), *config, manifest.variant,
                                       *tensors, kernels::DType::kF32);
    if (!saved) return saved.error();
    manifest.distilled.push_back({layer, saved->file, saved->checksum, nlohmann::json::object()});
    manifest.evidence.push_back(
        {layer, AttentionEntropy{4.0 - position, 0.5, 3.0, {}}, 0.25 * (position + 1)});
    manifest.plans.push_back({position + 1, 0.5, 1.5, 0.875, nlohmann::json::object()});
  }
  return save_chain_manifest(chain_folder(model), manifest);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) return 2;
  const Status made = make_chain(argv[1], std::atoi(argv[2]), argc == 4 ? std::atoi(argv[3]) : -1);
  if (!made) std::fprintf(stderr, "make_chain: %s\n", made.error().message.c_str());
  return made ? 0 : 1;
}
