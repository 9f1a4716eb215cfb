#include "schema/codec.h"

#include <gtest/gtest.h>
#include <msgpack.hpp>

#include "schema/event.h"
#include "schema/policy_messages.h"
#include "schema/worker_messages.h"

namespace dslad::schema {
namespace {

using Packer = msgpack::packer<msgpack::sbuffer>;

// A frame with an arbitrary body, as a peer in another language would make it.
template <typename Body>
std::string frame(const std::string& kind, const Body& pack_body, std::uint32_t version = kProtocolVersion) {
  msgpack::sbuffer buffer;
  Packer packer(buffer);
  packer.pack_map(4);
  packer.pack("version").pack(version).pack("kind").pack(kind).pack("id").pack(std::uint64_t{7});
  packer.pack("body");
  pack_body(packer);
  return {buffer.data(), buffer.size()};
}

template <typename Message>
Result<Message> read(std::string bytes) {
  Result<Envelope> envelope = Envelope::parse(std::move(bytes));
  if (!envelope) return envelope.error();
  return decode<Message>(*envelope);
}

template <typename Message>
Message round_trip(const Message& message) {
  Result<Message> read_back = read<Message>(encode(message, 42));
  EXPECT_TRUE(read_back.ok()) << read_back.error().message;
  return read_back.ok() ? *read_back : Message{};
}

JobRequest qa_request() {
  JobRequest job;
  job.spec.task = Task::kQa;
  job.spec.document = "Ein l\xC3\xA4ngerer Text";
  job.spec.questions = {"Who?", "When?"};
  job.spec.options = {33, 0.5, 0.9, 1ULL << 63};
  job.priority = -5;
  job.max_attempts = 2;
  job.idempotency_key = "k1";
  job.custom_id = "row-9";
  job.expires_in_ms = 86'400'000;
  return job;
}

TEST(Codec, SubmitKeepsEveryField) {
  const Submit read_back = round_trip(Submit{{qa_request(), qa_request()}});
  ASSERT_EQ(read_back.jobs.size(), 2U);
  const JobRequest& job = read_back.jobs[1];
  EXPECT_EQ(job.spec.task, Task::kQa);
  EXPECT_EQ(job.spec.document, "Ein l\xC3\xA4ngerer Text");
  EXPECT_EQ(job.spec.questions, (std::vector<std::string>{"Who?", "When?"}));
  EXPECT_EQ(job.spec.options.max_tokens, 33U);
  EXPECT_EQ(job.spec.options.temperature, 0.5);
  EXPECT_EQ(job.spec.options.seed, 1ULL << 63);
  EXPECT_EQ(job.priority, -5);
  EXPECT_EQ(job.idempotency_key, "k1");
  EXPECT_EQ(job.expires_in_ms, 86'400'000U);
}

TEST(Codec, EnvelopeCarriesKindIdAndVersion) {
  const Result<Envelope> envelope = Envelope::parse(encode(Ping{}, 99));
  ASSERT_TRUE(envelope.ok());
  EXPECT_EQ(envelope->kind(), "ping");
  EXPECT_EQ(envelope->id(), 99U);
  EXPECT_EQ(envelope->version(), kProtocolVersion);
}

TEST(Codec, WorkerMessagesKeepEveryField) {
  Hello hello;
  hello.name = "host:1:cpu";
  hello.instance = "abc";
  hello.capacity = 4;
  hello.layer_info = {{0, 3, LayerState::kDistilled, true}};
  hello.leases = {{7, 2}};
  const Hello read_hello = round_trip(hello);
  EXPECT_EQ(read_hello.leases, hello.leases);
  ASSERT_EQ(read_hello.layer_info.size(), 1U);
  EXPECT_EQ(read_hello.layer_info[0].state, LayerState::kDistilled);

  WorkerResult result;
  result.lease = {7, 2};
  result.outputs = {{"Who?", "Ada", FinishReason::kLength, 5}};
  result.metrics.prefill_ms = 12.5;
  const WorkerResult read_result = round_trip(result);
  EXPECT_EQ(read_result.lease, result.lease);
  EXPECT_FALSE(read_result.error.has_value());
  EXPECT_EQ(read_result.outputs.at(0).question, "Who?");
  EXPECT_EQ(read_result.outputs.at(0).finish_reason, FinishReason::kLength);
  EXPECT_EQ(read_result.metrics.prefill_ms, 12.5);

  Event event;
  event.topic = kTopicJobState;
  event.job = 7;
  event.error = Error{ErrorCode::kUnavailable, "gone"};
  const Event read_event = round_trip(event);
  EXPECT_EQ(read_event.job, 7);
  EXPECT_FALSE(read_event.plan.has_value());
  EXPECT_EQ(read_event.error->code, ErrorCode::kUnavailable);
}

TEST(Codec, UnknownKeysAreSkippedAndAbsentOnesTakeDefaults) {
  const Result<Wait> wait = read<Wait>(frame("wait", [](Packer& packer) {
    packer.pack_map(2);
    packer.pack("ids").pack(std::vector<int>{1});
    packer.pack("from_the_future").pack(std::vector<std::string>{"x"});
  }));
  ASSERT_TRUE(wait.ok()) << wait.error().message;
  EXPECT_EQ(wait->ids, std::vector<JobId>{1});
  EXPECT_EQ(wait->timeout_ms, Wait{}.timeout_ms);
}

TEST(Codec, WrongTypeNamesThePathOfTheKey) {
  const Result<Submit> submit = read<Submit>(frame("submit", [](Packer& packer) {
    packer.pack_map(1);
    packer.pack("jobs").pack_array(1).pack_map(1);
    packer.pack("options").pack_map(1).pack("top_p").pack("high");
  }));
  ASSERT_FALSE(submit.ok());
  EXPECT_EQ(submit.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(submit.error().message.find("options: top_p"), std::string::npos) << submit.error().message;
}

TEST(Codec, IntegersOutOfRangeAreRefused) {
  for (const std::int64_t value : {std::int64_t{-1}, std::int64_t{1} << 40}) {
    const Result<Wait> wait = read<Wait>(frame("wait", [&](Packer& packer) {
      packer.pack_map(2);
      packer.pack("ids").pack(std::vector<int>{1}).pack("timeout_ms").pack(value);
    }));
    EXPECT_FALSE(wait.ok()) << value;
  }
}

TEST(Codec, DuplicateKeyIsRefused) {
  const Result<GetJob> get = read<GetJob>(frame("job", [](Packer& packer) {
    packer.pack_map(2);
    packer.pack("id").pack(1).pack("id").pack(2);
  }));
  ASSERT_FALSE(get.ok());
}

// A body that is one map {key: text}.
std::string text_frame(const std::string& kind, const std::string& key, const std::string& text) {
  return frame(kind, [&](Packer& packer) {
    packer.pack_map(1);
    packer.pack(key).pack(text);
  });
}

TEST(Codec, TextThatIsNotUtf8IsRefusedAndItsRequestKnown) {
  for (const std::string& bytes :
       {text_frame("plan_set", "reason", "\xC3\x28"), text_frame("plan_set", "\xFF", "x")}) {
    const Result<Envelope> envelope = Envelope::parse(bytes);
    ASSERT_TRUE(envelope.ok());
    EXPECT_EQ(envelope->id(), 7U);
    const Result<SetPlan> plan = decode<SetPlan>(*envelope);
    ASSERT_FALSE(plan.ok());
    EXPECT_NE(plan.error().message.find("UTF-8"), std::string::npos);
  }
}

TEST(Codec, BytesAreNoText) {
  const Result<SetPlan> plan = read<SetPlan>(frame("plan_set", [](Packer& packer) {
    packer.pack_map(1);
    packer.pack("reason").pack_bin(1);
    packer.pack_bin_body("x", 1);
  }));
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().message.find("reason: must be a string"), std::string::npos);
}

TEST(Codec, AnotherVersionOrKindIsAClearError) {
  const auto empty = [](Packer& packer) { packer.pack_map(0); };
  const Result<Ping> version = read<Ping>(frame("ping", empty, 2));
  ASSERT_FALSE(version.ok());
  EXPECT_NE(version.error().message.find("version 2"), std::string::npos);
  EXPECT_FALSE(read<Ping>(frame("pong", empty)).ok());
}

TEST(Codec, BoundsAreResourceExhausted) {
  const auto code_of = [](std::string bytes) {
    const Result<Envelope> envelope = Envelope::parse(std::move(bytes));
    return envelope.ok() ? ErrorCode::kInternal : envelope.error().code;
  };
  EXPECT_EQ(code_of(std::string(kMaxFrameBytes + 1, '\x91')), ErrorCode::kResourceExhausted);
  EXPECT_EQ(code_of(std::string(100'000, '\x91')), ErrorCode::kResourceExhausted);  // nested too deep
  EXPECT_EQ(code_of("\xDD\xFF\xFF\xFF\xFF"), ErrorCode::kResourceExhausted);        // 2^32 elements
  EXPECT_EQ(code_of(std::string("\xDF\x00\x00\x01\x00", 5)), ErrorCode::kResourceExhausted);  // 256 keys
}

TEST(Codec, BatchesBeyondTheLimitAreRefused) {
  Cancel cancel;
  cancel.ids.assign(kMaxBatch + 1, 1);
  EXPECT_FALSE(read<Cancel>(encode(cancel)).ok());
  EXPECT_FALSE(read<Submit>(encode(Submit{})).ok());
}

TEST(Codec, ErrorReplyBecomesItsError) {
  const Result<Envelope> envelope = Envelope::parse(encode(ErrorReply{ErrorCode::kRefused, "not now"}, 3));
  ASSERT_TRUE(envelope.ok());
  const Result<Submitted> reply = decode_reply<Submitted>(*envelope);
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code, ErrorCode::kRefused);
  EXPECT_EQ(reply.error().message, "not now");
}

TEST(Codec, NumbersOfWorkersBeyondTheirBoundsAreRefused) {
  Hello hello;
  hello.name = hello.instance = "w";
  hello.generation = kMaxGeneration;
  EXPECT_TRUE(hello.validate().ok());
  hello.generation = kMaxGeneration + 1;
  EXPECT_EQ(hello.validate().error().code, ErrorCode::kInvalidArgument);
  PlanResult confirmed;
  confirmed.generation = kMaxGeneration + 1;
  EXPECT_EQ(confirmed.validate().error().code, ErrorCode::kInvalidArgument);
  WorkerResult result;
  result.outputs.emplace_back();
  EXPECT_TRUE(result.validate().ok());
  result.metrics.quality = -0.1;
  EXPECT_EQ(result.validate().error().code, ErrorCode::kInvalidArgument);
  result.metrics.quality = 0.9;
  result.metrics.edition = std::string(kMaxNameBytes + 1, 'e');
  EXPECT_EQ(result.validate().error().code, ErrorCode::kInvalidArgument);
}

TEST(Codec, TermsOfAJobLieBesideItsOtherKeysAndAreBounded) {
  Submit submit;
  JobRequest& job = submit.jobs.emplace_back();
  job.spec.task = Task::kGenerate;
  job.spec.prompt = "once";
  job.terms = {"tiny", 60'000, 0.9, 0, true};
  submit.client = "ada";
  const Result<Submit> same = read<Submit>(encode(submit));
  ASSERT_TRUE(same.ok()) << same.error().message;
  EXPECT_EQ(same->client, "ada");
  EXPECT_EQ(same->jobs[0].terms.model, "tiny");
  EXPECT_EQ(same->jobs[0].terms.deadline_in_ms, 60'000U);
  EXPECT_EQ(same->jobs[0].terms.min_quality, 0.9);
  EXPECT_EQ(same->jobs[0].terms.max_plan, 0U);
  EXPECT_TRUE(same->jobs[0].terms.best_effort);
  job.terms.min_quality = 1.5;
  const Result<Submit> above = read<Submit>(encode(submit));
  ASSERT_FALSE(above.ok());
  EXPECT_NE(above.error().message.find("min_quality is 1.5"), std::string::npos) << above.error().message;
  job.terms.min_quality.reset();
  job.terms.max_plan = kMaxLayers + 1;
  EXPECT_FALSE(read<Submit>(encode(submit)).ok());
  job.terms.max_plan.reset();
  job.terms.deadline_in_ms = kMaxExpiryMs + 1;
  EXPECT_FALSE(read<Submit>(encode(submit)).ok());
}

TEST(Codec, PlansThatAWorkerOffersAscendFromPlanZero) {
  PlanTable table;
  EXPECT_TRUE(read<PlanTable>(encode(table)).ok());
  table.plans = {{0, 1.0, 4'096, 0}, {1, 0.99, 3'584, 65'536}, {3, std::nullopt, 2'560, 196'608}};
  const Result<PlanTable> same = read<PlanTable>(encode(table));
  ASSERT_TRUE(same.ok()) << same.error().message;
  EXPECT_EQ(same->plans, table.plans);
  std::swap(table.plans[1], table.plans[2]);
  EXPECT_FALSE(read<PlanTable>(encode(table)).ok());
  table.plans.erase(table.plans.begin());
  EXPECT_FALSE(read<PlanTable>(encode(table)).ok());
}

TEST(Codec, PolicySettingsAreBounded) {
  SetPolicy request;
  request.policy = PolicyKind::kDeadline;
  request.min_quality = 0.95;
  const Result<SetPolicy> same = read<SetPolicy>(encode(request));
  ASSERT_TRUE(same.ok()) << same.error().message;
  EXPECT_EQ(same->policy, PolicyKind::kDeadline);
  EXPECT_FALSE(same->static_plan.has_value());
  request.min_quality = -0.1;
  EXPECT_FALSE(read<SetPolicy>(encode(request)).ok());
  request.min_quality.reset();
  request.static_plan = kMaxLayers + 1;
  EXPECT_FALSE(read<SetPolicy>(encode(request)).ok());
}

}  // namespace
}  // namespace dslad::schema
