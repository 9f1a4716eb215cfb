// Against float64 vectors from a closed form: tests/golden/make_dsla.py.
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/dsla/dsla.h"
#include "tests/kernels/kernel_test.h"
#include "tests/source_dir.h"

namespace dslad::kernels {
namespace {

class DslaGolden : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto path = source_dir() / "tests/golden/dsla" / (std::string(GetParam()) + ".json");
    std::ifstream file(path);
    ASSERT_TRUE(file) << path;
    golden_ = nlohmann::json::parse(file);
    shape_ = {golden_["n_heads"], golden_["n_kv"], golden_["d_k"], golden_["d_v"]};
    for (const char* name : {"q", "k", "v", "z", "bias", "mix"}) inputs_[name] = floats(name);
  }

  [[nodiscard]] std::vector<float> floats(const char* name) const { return golden_[name]; }

  template <class Run>
  void expect_golden(const Run& run) {
    const std::int64_t tokens = golden_["tokens"];
    const auto [n_heads, n_kv, d_k, d_v, states] = shape_;
    std::vector<float> state = floats("state");
    std::vector<float> o = testing::poisoned(tokens * n_heads * d_v);
    const DslaPiece piece{0, tokens, state.data()};
    run(DslaArgs{shape_,
                 inputs_["q"].data(),
                 n_heads * d_k,
                 inputs_["k"].data(),
                 n_kv * d_k,
                 inputs_["v"].data(),
                 n_kv * d_v,
                 inputs_["z"].data(),
                 states * n_kv * d_k,
                 inputs_["bias"].data(),
                 inputs_["mix"].data(),
                 o.data(),
                 n_heads * d_v,
                 {&piece, 1}});
    EXPECT_TRUE(testing::close(o, floats("o"), 2e-6));
    EXPECT_TRUE(testing::close(state, floats("final_state"), 2e-6));
  }

  nlohmann::json golden_;
  DslaShape shape_{};
  std::map<std::string, std::vector<float>> inputs_;
};

TEST_P(DslaGolden, ReferenceAgrees) {
  expect_golden([](const DslaArgs& args) { dsla_ref(args); });
}

TEST_P(DslaGolden, VectorisedFormAgrees) {
  ThreadPool pool(2);
  expect_golden([&](const DslaArgs& args) { dsla_cpu(pool, args); });
}

INSTANTIATE_TEST_SUITE_P(Cases, DslaGolden,
                         ::testing::Values("one_token", "part_of_a_chunk", "chunk_and_one", "extreme_gates"));

}  // namespace
}  // namespace dslad::kernels
