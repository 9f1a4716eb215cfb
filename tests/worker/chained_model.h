// A copy of a golden model with a conversion chain beside it, whose layers are as training starts them.
#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/worker/test_files.h"
#include "worker/model/digest.h"
#include "worker/model/dsla_layer.h"

namespace dslad::worker::testing {

class ChainedModel {
 public:
  // Distils the first `distilled` layers of `order`.
  ChainedModel(const std::string& golden, std::vector<int> order, int distilled,
               const DslaVariant& variant = {}, kernels::DType dtype = kernels::DType::kF32)
      : config(*LlamaConfig::load(golden_path(golden))) {
    std::filesystem::copy(golden_path(golden), path());
    const WeightFiles teacher = *WeightFiles::open(path());
    manifest.teacher_digest = weights_digest(teacher);
    manifest.layers = config.layers;
    manifest.program = "a test";
    manifest.version = "1";
    manifest.variant = variant;
    manifest.order_method = "file";
    manifest.order = std::move(order);
    for (int position = 0; position < distilled; ++position) {
      const int layer = manifest.order[static_cast<std::size_t>(position)];
      const auto tensors = initial_dsla_layer(teacher, config, layer, variant);
      const auto saved = save_dsla_layer(chain(), layer_file_name(layer), config, variant, *tensors, dtype);
      manifest.distilled.push_back({layer, saved->file, saved->checksum, nlohmann::json::object()});
    }
    save();
  }

  [[nodiscard]] const std::filesystem::path& path() const { return folder_.path(); }
  [[nodiscard]] std::filesystem::path chain() const { return chain_folder(path()); }
  [[nodiscard]] std::filesystem::path file(int position) const {
    return chain() / manifest.distilled[static_cast<std::size_t>(position)].file;
  }
  void save() const {
    const Status saved = save_chain_manifest(chain(), manifest);
    if (!saved) throw std::runtime_error(saved.error().message);
  }
  // Flips a bit of the layer's file.
  void damage(int position) const {
    std::string content = read_text(file(position));
    content[content.size() - 1] ^= 1;
    std::ofstream(file(position), std::ios::binary) << content;
  }

  LlamaConfig config;
  ChainManifest manifest;  // save() after a change

 private:
  TempDir folder_;
};

}  // namespace dslad::worker::testing
