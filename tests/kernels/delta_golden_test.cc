// Against float64 vectors from a closed form: tests/golden/make_delta.py.
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/delta/delta_rule.h"
#include "tests/kernels/kernel_test.h"
#include "tests/source_dir.h"

namespace dslad::kernels {
namespace {

class DeltaGolden : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto path = source_dir() / "tests/golden/delta" / (std::string(GetParam()) + ".json");
    std::ifstream file(path);
    ASSERT_TRUE(file) << path;
    golden_ = nlohmann::json::parse(file);
    shape_ = {golden_["n_heads"], golden_["n_kv"], golden_["d_k"], golden_["d_v"], 1};
    for (const char* name : {"q", "k", "v", "z", "bias"}) inputs_[name] = floats(name);
  }

  [[nodiscard]] std::vector<float> floats(const char* name) const { return golden_[name]; }

  template <class Run>
  void expect_golden(const Run& run) {
    const auto [n_heads, n_kv, d_k, d_v, states] = shape_;
    std::vector<float> state = floats("state");
    std::vector<DslaPiece> pieces;
    std::int64_t rows = 0;
    for (const std::int64_t own : golden_["pieces"]) {
      pieces.push_back({rows, own, state.data() + pieces.size() * n_kv * d_k * d_v});
      rows += own;
    }
    std::vector<float> o = testing::poisoned(rows * n_heads * d_v);
    run(DeltaRuleArgs{shape_, inputs_["q"].data(), n_heads * d_k, inputs_["k"].data(), n_kv * d_k,
                      inputs_["v"].data(), n_kv * d_v, inputs_["z"].data(), 2 * n_kv, inputs_["bias"].data(),
                      o.data(), n_heads * d_v, pieces});
    EXPECT_TRUE(testing::close(o, floats("o"), 2e-6));
    EXPECT_TRUE(testing::close(state, floats("final_state"), 2e-6));
  }

  nlohmann::json golden_;
  DslaShape shape_{};
  std::map<std::string, std::vector<float>> inputs_;
};

TEST_P(DeltaGolden, ReferenceAgrees) {
  expect_golden([](const DeltaRuleArgs& args) { delta_rule_ref(args); });
}

TEST_P(DeltaGolden, VectorisedFormAgrees) {
  ThreadPool pool(2);
  expect_golden([&](const DeltaRuleArgs& args) { delta_rule_cpu(pool, args); });
}

INSTANTIATE_TEST_SUITE_P(Cases, DeltaGolden,
                         ::testing::Values("one_token", "parts_of_chunks", "chunks_and_one", "extreme_gates",
                                           "extreme_betas", "keys_of_zeros", "keys_again"));

}  // namespace
}  // namespace dslad::kernels
