// Texts and tasks to training sequences, and sequences to batches. Tokens here are bytes.
#include "worker/distill/corpus.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <numeric>
#include <set>

#include "tests/worker/fake_tokenizer.h"
#include "worker/distill/batch_source.h"

namespace dslad::worker {
namespace {

using kernels::kNoLabel;

constexpr TokenId kBos = 1, kEos = 2;

class CorpusTest : public ::testing::Test {
 protected:
  CorpusTest() : tokenizer_(std::vector<std::string>(256)) {
    tokenizer_.special_tokens.bos = kBos;
    tokenizer_.special_tokens.adds_bos = true;
    config_.vocab_size = 256;
    config_.context = 1000;
    config_.eos_token_ids = {kEos};
    prompt_ = *PromptTemplate::parse("[prompt]\nqa = \"{document}?{question}=\"\n", "test");
  }

  Corpus corpus(std::int64_t sequence) { return Corpus(tokenizer_, prompt_, config_, {sequence, 32, 0.25f}); }
  TaskExample example(std::string_view document,
                      const std::vector<std::pair<std::string, std::string_view>>& items) {
    TaskExample out{document, {}};
    for (const auto& [question, answer] : items)
      out.items.push_back({prompt_.qa(document, question), answer});
    return out;
  }

  testing::FakeTokenizer tokenizer_;
  LlamaConfig config_;
  PromptTemplate prompt_ = *PromptTemplate::parse("", "test");
};

TEST_F(CorpusTest, CutsTextIntoSequencesThatBeginWithBosAndCoverIt) {
  Corpus c = corpus(5);
  ASSERT_TRUE(c.add_text("abcdefghij").ok());
  ASSERT_EQ(c.sequences().size(), 3u);
  EXPECT_EQ(c.sequences()[0].ids, (std::vector<TokenId>{kBos, 'a', 'b', 'c', 'd'}));
  EXPECT_EQ(c.sequences()[0].labels, (std::vector<TokenId>{'a', 'b', 'c', 'd', kNoLabel}));
  EXPECT_EQ(c.sequences()[0].kl_weight, (std::vector<float>{1, 1, 1, 1, 0}));
  EXPECT_EQ(c.sequences()[2].ids, (std::vector<TokenId>{kBos, 'i', 'j'}));
  EXPECT_EQ(c.sequences()[2].positions, (std::vector<std::int32_t>{0, 1, 2}));
}

TEST_F(CorpusTest, TakesATextThatIsShorterThanASequence) {
  Corpus c = corpus(100);
  ASSERT_TRUE(c.add_text("ab").ok());
  ASSERT_TRUE(c.add_text("").ok());
  ASSERT_EQ(c.sequences().size(), 1u);
  EXPECT_EQ(c.tokens(), 3);
}

TEST_F(CorpusTest, QuestionsContinueTheirDocumentAndOnlyAnswersArePredicted) {
  Corpus c = corpus(100);
  ASSERT_TRUE(c.add_task(example("doc", {{"q", "x"}, {"rs", "yz"}})).ok());
  ASSERT_EQ(c.sequences().size(), 1u);
  const TrainingBatch& s = c.sequences()[0];
  ASSERT_EQ(s.segments.size(), 3u);
  EXPECT_EQ(s.segments[0].parent, -1);
  EXPECT_EQ(s.segments[2].parent, 0);
  EXPECT_EQ(s.segments[2].first_row, s.segments[0].rows + s.segments[1].rows);
  // "bos doc" and "?q=" + " x" + eos: the document goes on at position 4 in both questions.
  EXPECT_EQ(s.positions[static_cast<std::size_t>(s.segments[1].first_row)], 4);
  EXPECT_EQ(s.positions[static_cast<std::size_t>(s.segments[2].first_row)], 4);
  const std::vector<TokenId> first_labels(s.labels.begin() + 4, s.labels.begin() + 10);
  EXPECT_EQ(first_labels, (std::vector<TokenId>{kNoLabel, kNoLabel, ' ', 'x', kEos, kNoLabel}));
  const std::vector<float> weights(s.kl_weight.begin(), s.kl_weight.begin() + 10);
  EXPECT_EQ(weights, (std::vector<float>{0.25f, 0.25f, 0.25f, 0, 0, 0, 1, 1, 1, 0}));
}

TEST_F(CorpusTest, LeavesOutWhatIsLongerThanASequence) {
  Corpus c = corpus(12);
  ASSERT_TRUE(c.add_task(example("a document that is too long", {{"q", "x"}})).ok());
  ASSERT_TRUE(c.add_task(example("doc", {{"a very long question", "x"}, {"q", "x"}})).ok());
  ASSERT_EQ(c.sequences().size(), 1u);
  EXPECT_EQ(c.sequences()[0].segments.size(), 2u);
  EXPECT_EQ(c.too_long(), 2);
}

TEST_F(CorpusTest, RefusesATokenOutsideTheModelsVocabulary) {
  config_.vocab_size = 'c';
  Corpus c = corpus(12);
  const Status added = c.add_text("abc");
  ASSERT_FALSE(added.ok());
  EXPECT_NE(added.error().message.find("99"), std::string::npos) << added.error().message;
}

std::vector<TrainingBatch> numbered_sequences(int count) {
  std::vector<TrainingBatch> out;
  for (int i = 0; i < count; ++i) {
    TrainingBatch& s = out.emplace_back();
    s.ids.assign(static_cast<std::size_t>(1 + i % 7), i);
    s.positions = s.labels = s.ids;
    s.kl_weight.assign(s.ids.size(), 1.0f);
    s.segments = {{0, s.rows(), -1}};
  }
  return out;
}

TEST(BatchSourceTest, SeesEverySequenceOnceAnEpochInANewOrder) {
  const auto sequences = numbered_sequences(40);
  BatchSource source(sequences, 16, 5);
  std::vector<std::vector<std::int32_t>> epochs;
  while (source.cursor().epoch < 2 || epochs.size() < 2) {
    const TrainingBatch batch = source.next();
    const auto epoch = static_cast<std::size_t>(source.cursor().epoch);
    epochs.resize(std::max(epochs.size(), epoch + 1));
    EXPECT_LE(batch.rows(), 16);
    for (const auto& s : batch.segments)
      epochs[epoch].push_back(batch.ids[static_cast<std::size_t>(s.first_row)]);
    if (epoch == 2) break;
  }
  for (int epoch = 0; epoch < 2; ++epoch) {
    auto seen = epochs[static_cast<std::size_t>(epoch)];
    std::ranges::sort(seen);
    std::vector<std::int32_t> all(40);
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(seen, all);
  }
  EXPECT_NE(epochs[0], epochs[1]);
}

TEST(BatchSourceTest, GoesOnFromACursorWithTheSameBatches) {
  const auto sequences = numbered_sequences(30);
  BatchSource whole(sequences, 12, 9), resumed(sequences, 12, 9);
  for (int i = 0; i < 13; ++i) whole.next();
  resumed.seek(whole.cursor());
  for (int i = 0; i < 30; ++i) EXPECT_EQ(whole.next().ids, resumed.next().ids) << i;
}

TEST(BatchSourceTest, ASequenceLongerThanABatchGoesAlone) {
  const auto sequences = numbered_sequences(7);
  BatchSource source(sequences, 3, 1);
  for (int i = 0; i < 12; ++i) {
    const TrainingBatch batch = source.next();
    EXPECT_TRUE(batch.rows() <= 3 || batch.segments.size() == 1);
  }
}

}  // namespace
}  // namespace dslad::worker
