// A chain that is replaced beside a model: noticed, judged once, loaded with as little work as possible.
#include "worker/service/chain_watch.h"

#include <gmock/gmock.h>

#include "tests/worker/chained_model.h"
#include "tests/worker/engine_world.h"

namespace dslad::worker {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

class ChainWatchTest : public ::testing::Test {
 protected:
  // The next chain that is loaded.
  LoadedChain next() {
    for (;;) {
      if (auto chain = watch_->take()) return *std::move(chain);
      std::this_thread::sleep_for(milliseconds{1});
    }
  }
  // Whether the watch has nothing to say although it had the time to look many times.
  bool silent() {
    std::this_thread::sleep_for(20 * kInterval);
    return !watch_->take().has_value();
  }
  void start() {
    serving_ = load_chain(model_.path(), *weights_);
    watch_ = std::make_unique<ChainWatch>(model_.path(), weights_, serving_, kInterval);
  }
  void write(int layer, const DslaLayerTensors& tensors, int position) {
    const auto saved = save_dsla_layer(model_.chain(), layer_file_name(layer), model_.config,
                                       model_.manifest.variant, tensors, kernels::DType::kF32);
    ASSERT_TRUE(saved.ok());
    model_.manifest.distilled[static_cast<std::size_t>(position)].checksum = saved->checksum;
  }

  static constexpr milliseconds kInterval{5};
  testing::ChainedModel model_{"stories260K", {2, 0, 4, 1, 3}, 2};
  std::shared_ptr<const ModelWeights> weights_ = *load_weights(model_.path(), kernels::WeightFormat::kF32);
  LoadedChain serving_ = LoadedChain::none(5);
  std::unique_ptr<ChainWatch> watch_;
};

TEST_F(ChainWatchTest, LoadsAChainThatTookTheOldOnesPlace) {
  start();
  EXPECT_TRUE(silent());
  const auto teacher = *WeightFiles::open(model_.path());
  auto tensors = *initial_dsla_layer(teacher, model_.config, 0, model_.manifest.variant);
  tensors.c1.front() += 1;
  write(0, tensors, 1);
  model_.save();
  const LoadedChain chain = next();
  EXPECT_EQ(chain.fault, "");
  EXPECT_NE(chain.edition, serving_.edition);
  ASSERT_EQ(chain.layers.size(), 2u);
  EXPECT_EQ(chain.layers[0], serving_.layers[0]) << "its file stayed: it is not packed again";
  EXPECT_NE(chain.layers[1], serving_.layers[1]);
  EXPECT_TRUE(silent());
}

TEST_F(ChainWatchTest, LoadsTheFirstChainOfAModelThatHadNone) {
  std::filesystem::rename(model_.chain(), model_.path() / "elsewhere");
  start();
  EXPECT_FALSE(serving_.manifest.has_value());
  std::filesystem::rename(model_.path() / "elsewhere", model_.chain());
  EXPECT_EQ(next().layers.size(), 2u);
}

TEST_F(ChainWatchTest, SaysNothingOfTheSameChainWrittenAgain) {
  start();
  model_.save();
  EXPECT_TRUE(silent());
}

TEST_F(ChainWatchTest, SaysOnceThatAChainIsDamagedAndLoadsItWhenItIsWhole) {
  start();
  const std::string whole = testing::read_text(model_.file(1));
  model_.damage(1);
  model_.manifest.order_method = "another";
  model_.save();
  EXPECT_THAT(next().fault, HasSubstr(model_.file(1).string()));
  EXPECT_TRUE(silent());
  std::ofstream(model_.file(1), std::ios::binary) << whole;
  const LoadedChain chain = next();
  EXPECT_EQ(chain.fault, "") << "the manifest has not changed meanwhile";
  EXPECT_EQ(chain.layers, serving_.layers);
}

TEST_F(ChainWatchTest, SaysThatTheChainThatServesLiesThereAgainBehindADamagedOne) {
  start();
  const std::string whole = testing::read_text(model_.file(1));
  const std::string manifest = testing::read_text(model_.chain() / "chain.json");
  model_.damage(1);
  model_.manifest.order_method = "another";
  model_.save();
  EXPECT_NE(next().fault, "");
  std::ofstream(model_.chain() / "chain.json") << manifest;
  EXPECT_THAT(next().fault, HasSubstr(model_.file(1).string())) << "its layer is damaged still";
  std::ofstream(model_.file(1), std::ios::binary) << whole;
  const LoadedChain chain = next();
  EXPECT_EQ(chain.fault, "");
  EXPECT_EQ(chain.edition, serving_.edition);
  EXPECT_TRUE(silent());
}

TEST_F(ChainWatchTest, DoesNotRepeatTheFaultOfTheChainThatItBeganWith) {
  model_.damage(1);
  start();
  EXPECT_NE(serving_.fault, "");
  EXPECT_TRUE(silent());
}

TEST_F(ChainWatchTest, SaysThatAChainIsGone) {
  start();
  std::filesystem::remove(model_.chain() / kChainFile);
  EXPECT_THAT(next().fault, HasSubstr("is gone"));
  EXPECT_TRUE(silent());
}

}  // namespace
}  // namespace dslad::worker
