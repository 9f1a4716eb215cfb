// Mutated frames of every kind of shape: decode may accept or refuse, but never throws, crashes or hangs, and
// what it accepts it can encode again. The seed is fixed, so a failure repeats.
#include <gtest/gtest.h>
#include <random>

#include "schema/codec.h"
#include "schema/worker_messages.h"

namespace dslad::schema {
namespace {

constexpr int kRounds = 20'000;

std::vector<std::string> seeds() {
  JobRequest job;
  job.spec.task = Task::kQa;
  job.spec.document = "a document";
  job.spec.questions = {"Who?", "When?"};
  job.idempotency_key = "key";
  Hello hello;
  hello.name = "h:1:cpu";
  hello.instance = "i";
  hello.layer_info = {{0, 1, LayerState::kActive, true}, {1, 0, LayerState::kTransformer, false}};
  hello.leases = {{1, 1}, {2, 3}};
  WorkerResult result;
  result.lease = {1, 1};
  result.outputs = {{"Who?", "Ada", FinishReason::kStop, 1}};
  StatsReply stats;
  stats.counters = {{"commits", 1}, {"requests", 200}};
  return {encode(Submit{{job, job}}, 1), encode(hello), encode(result), encode(stats, 9),
          encode(ErrorReply{ErrorCode::kRefused, "no"}, 5)};
}

void mutate(std::string& frame, std::mt19937& random) {
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  for (std::size_t edits = 1 + below(4); edits > 0 && !frame.empty(); --edits) {
    const std::size_t at = below(frame.size());
    switch (below(5)) {
      case 0:
        frame[at] = static_cast<char>(random());
        break;
      case 1:
        frame[at] = static_cast<char>(frame[at] ^ (1U << below(8)));
        break;
      case 2:
        frame.erase(at, 1 + below(8));
        break;
      case 3:
        frame.insert(at, 1 + below(4), static_cast<char>(random()));
        break;
      default:
        frame.insert(at, frame.substr(below(frame.size()), below(32)));
        break;
    }
  }
}

template <typename Message>
int accepted(const Envelope& envelope) {
  const Result<Message> message = decode<Message>(envelope);
  if (!message) return 0;
  const Result<Envelope> again = Envelope::parse(encode(*message, envelope.id()));
  EXPECT_TRUE(again.ok()) << again.error().message;
  return 1;
}

TEST(CodecFuzz, MutatedFramesAreReadOrRefused) {
  std::mt19937 random(20261);
  const std::vector<std::string> originals = seeds();
  int parsed = 0;
  int decoded = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::string frame = originals[static_cast<std::size_t>(round) % originals.size()];
    mutate(frame, random);
    const Result<Envelope> envelope = Envelope::parse(frame);
    if (!envelope) continue;
    ++parsed;
    decoded += accepted<Submit>(*envelope) + accepted<Hello>(*envelope) + accepted<WorkerResult>(*envelope) +
               accepted<StatsReply>(*envelope) + accepted<ErrorReply>(*envelope);
  }
  EXPECT_GT(parsed, kRounds / 100);   // the loop reaches beyond the outer check
  EXPECT_GT(decoded, kRounds / 200);  // and into the bodies
}

}  // namespace
}  // namespace dslad::schema
