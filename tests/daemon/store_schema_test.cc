// What people query with sqlite3: the views' columns are a contract. And what keeps two daemons apart.
#include <fstream>
#include <gmock/gmock.h>
#include <iterator>

#include "daemon/store/job_reads.h"
#include "daemon/store/layers.h"
#include "daemon/store/policy_log.h"
#include "daemon/store/state_dir.h"
#include "schema/migrations.h"
#include "tests/daemon/fixture.h"
#include "tests/source_dir.h"

namespace dslad::daemon {
namespace {

using test::must;

std::vector<std::string> columns(Database& db, const std::string& view) {
  std::vector<std::string> names;
  Query query(db, "SELECT name FROM pragma_table_info(?) ORDER BY cid", view);
  while (query.next()) names.push_back(query.text(0));
  must(query.status());
  return names;
}

class StoreSchema : public ::testing::Test {
 protected:
  // As an older version left it.
  Database old_database(const std::string& dump_name) {
    Database db = must(Database::open(folder_.path() / "old.db", 1000));
    std::ifstream dump(source_dir() / "tests/golden/databases" / dump_name);
    const std::string sql{std::istreambuf_iterator<char>(dump), {}};
    EXPECT_FALSE(sql.empty()) << dump_name;
    must(db.exec(sql.c_str()));
    return db;
  }

  test::TempDir folder_;
  Database db_ = test::open_database(folder_.path() / "dslad.db");
};

TEST_F(StoreSchema, ViewsKeepTheirColumns) {
  EXPECT_THAT(columns(db_, "job_status"),
              testing::IsSupersetOf({"id", "custom_id", "task", "state", "priority", "attempt",
                                     "max_attempts", "worker", "created_at", "started_at", "ended_at",
                                     "error_code", "error_message", "idempotency_key", "owner"}));
  EXPECT_THAT(
      columns(db_, "job_metrics"),
      testing::IsSupersetOf({"id", "queue_ms", "prefill_ms", "decode_ms", "prompt_tokens", "output_tokens",
                             "plan", "worker", "attempt", "model", "model_digest", "edition", "quality"}));
  EXPECT_THAT(columns(db_, "job_attempts"), testing::IsSupersetOf({"id", "attempt", "worker", "instance",
                                                                   "outcome", "model", "model_digest"}));
  EXPECT_THAT(columns(db_, "layer_status"),
              testing::IsSupersetOf({"model", "layer", "conversion_order", "state", "distilled", "plan",
                                     "entropy", "kl", "quality", "workers_active"}));
  EXPECT_THAT(columns(db_, "worker_status"),
              testing::IsSupersetOf({"instance", "name", "model", "edition", "plan", "connected"}));
  EXPECT_THAT(columns(db_, "job_reruns"),
              testing::IsSupersetOf({"id", "purpose", "state", "first_plan", "agreement", "created_at",
                                     "ended_at", "worker", "plan"}));
  EXPECT_THAT(columns(db_, "policy_events"),
              testing::IsSupersetOf({"at", "policy", "from_plan", "to_plan", "why", "waiting_jobs",
                                     "waiting_tokens", "drain_ms", "model", "model_digest"}));
  EXPECT_THAT(
      columns(db_, "conversion_events"),
      testing::IsSupersetOf({"at", "model", "layer", "from_state", "to_state", "reason", "plan", "worker"}));
}

TEST_F(StoreSchema, DatabaseIsWalFullAndUpToDate) {
  EXPECT_EQ(test::query_text(db_, "PRAGMA journal_mode"), "wal");
  EXPECT_EQ(test::query_text(db_, "PRAGMA synchronous"), "2");
  EXPECT_EQ(test::query_text(db_, "PRAGMA user_version"),
            std::to_string(schema::migrations().back().version));
  EXPECT_TRUE(migrate(db_).ok());  // nothing left to do
}

TEST_F(StoreSchema, DatabaseOfVersion1KeepsItsRows) {
  Database db = old_database("version_1.sql");
  must(migrate(db));
  EXPECT_EQ(
      test::query_text(db, "SELECT group_concat(id || state) FROM (SELECT * FROM job_status ORDER BY id)"),
      "1succeeded,2queued");
  EXPECT_EQ(test::query_text(db, "SELECT question || text FROM job_results"), "Who has the red box?Ada");
  EXPECT_EQ(test::query_text(db, "SELECT state || plan || reason FROM layer_status WHERE layer = 0"),
            "transformer0by hand");  // no worker is connected, so that no layer is active
  EXPECT_EQ(test::query_text(db, "SELECT count(*) FROM layer_status WHERE quality IS NULL"), "2");
  EXPECT_EQ(test::query_text(db, "SELECT count(*) FROM conversion_events"), "1");
}

TEST_F(StoreSchema, DatabaseOfVersion2KeepsItsRows) {
  Database db = old_database("version_2.sql");
  must(migrate(db));
  EXPECT_EQ(
      test::query_text(db, "SELECT group_concat(id || state) FROM (SELECT * FROM job_status ORDER BY id)"),
      "1succeeded,2queued");
  EXPECT_EQ(
      test::query_text(db, "SELECT entropy || ' ' || kl || ' ' || quality FROM layer_status WHERE layer = 0"),
      "4.25 0.005 0.98");
  EXPECT_EQ(test::query_text(db, "SELECT plan || (model IS NULL) || (quality IS NULL) FROM job_metrics"),
            "111");
  EXPECT_EQ(must(last_generation(db)), 0U);
}

TEST_F(StoreSchema, DatabaseOfVersion3KeepsItsRowsAndLearnsTheSizesOfWhatWaits) {
  Database db = old_database("version_3.sql");
  must(migrate(db));
  EXPECT_EQ(
      test::query_text(db, "SELECT group_concat(id || state) FROM (SELECT * FROM job_status ORDER BY id)"),
      "1succeeded,2queued,3queued");
  EXPECT_EQ(test::query_text(db, "SELECT model || edition || quality FROM job_metrics"), "tinyed10.98");
  EXPECT_EQ(must(last_generation(db)), 7U);
  const std::vector<QueuedJob> waiting = must(next_jobs(db, {}, 10, 1'750'000'005'000));
  ASSERT_EQ(waiting.size(), 2U);
  EXPECT_EQ(waiting[0].id, 2);
  EXPECT_EQ(waiting[1].bytes, 9U);  // "Bëa." and "Who?"
  EXPECT_EQ(waiting[1].questions, 1U);
  EXPECT_EQ(waiting[1].max_tokens, 16U);
}

TEST_F(StoreSchema, DatabaseOfVersion4KeepsItsRowsAndItsCounts) {
  Database db = old_database("version_4.sql");
  must(migrate(db));
  EXPECT_EQ(
      test::query_text(
          db, "SELECT group_concat(id || state || upgrade) FROM (SELECT * FROM job_status ORDER BY id)"),
      "1succeeded0,2queued0,3queued0");
  EXPECT_EQ(test::query_text(db, "SELECT client || min_quality FROM job_status WHERE id = 3"), "press0.97");
  EXPECT_EQ(test::query_text(db, "SELECT count(*) FROM job_reruns"), "0");
  EXPECT_EQ(test::query_text(db, "SELECT count(*) FROM policy_events"), "1");
  must(db.run("UPDATE jobs SET state = 'running' WHERE id = 2"));
  EXPECT_EQ(test::query_text(db, "SELECT group_concat(state || jobs) FROM job_counts WHERE jobs > 0"),
            "queued1,running1,succeeded1");
}

TEST_F(StoreSchema, DatabaseOfVersion5KeepsItsRowsAndCountsTheirBytes) {
  Database db = old_database("version_5.sql");
  must(migrate(db));
  EXPECT_EQ(test::query_text(db,
                             "SELECT group_concat(id || state || suspect || (labels IS NULL)) FROM "
                             "(SELECT * FROM job_status ORDER BY id)"),
            "1succeeded01,2queued01,3queued01");
  EXPECT_EQ(test::query_text(db, "SELECT jobs || ' ' || bytes FROM job_counts WHERE state = 'queued'"),
            "2 20");
  EXPECT_EQ(must(next_jobs(db, {}, 10, 1'750'000'005'000)).size(), 2U);
  EXPECT_EQ(must(latest_turns(db)).size(), 1U);
  must(db.run("UPDATE jobs SET state = 'running' WHERE id = 2"));
  EXPECT_EQ(test::query_text(db, "SELECT bytes FROM job_counts WHERE state = 'queued'"), "9");
  must(db.exec("PRAGMA auto_vacuum = NONE; VACUUM;"));  // as files of then are
  const Status large = make_shrinkable(db, 1'000);
  EXPECT_EQ(large.error().code, ErrorCode::kRefused);
  EXPECT_EQ(test::query_text(db, "PRAGMA auto_vacuum"), "0") << "nobody waits for a large one";
  must(make_shrinkable(db));
  EXPECT_EQ(test::query_text(db, "PRAGMA auto_vacuum"), "2");
  EXPECT_EQ(test::query_text(db, "SELECT count(*) FROM job_status"), "3");
}

TEST_F(StoreSchema, JobsOfVersion6AreNobodysUntilTheyAreSubmittedAgain) {
  Database db = old_database("version_6.sql");
  must(migrate(db));
  EXPECT_EQ(
      test::query_text(db,
                       "SELECT group_concat(id || state || coalesce(idempotency_key, '-') || owner) FROM "
                       "(SELECT * FROM job_status ORDER BY id)"),
      "1succeededkey-1,2queued-,3queuedkey-3");
  EXPECT_EQ(test::query_text(db, "SELECT labels FROM job_status WHERE id = 1"), "nightly");
  EXPECT_FALSE(read_info(db, 1, {"uid:5"}));
  schema::JobRequest job = test::qa({"Who has the red box?"});
  job.spec.document = "Ada has the red box.";
  job.spec.options.max_tokens = 64;
  job.idempotency_key = "key-1";
  const auto submit = [&](const std::string& owner) {
    return must(enqueue(db, schema::Submit{{job}}, {}, {1'750'000'005'000, owner})).reply;
  };
  const schema::Submitted first = submit("uid:5");
  EXPECT_EQ(first.ids.at(0), 1);
  EXPECT_TRUE(first.duplicates.at(0));
  EXPECT_EQ(must(read_info(db, 1, {"uid:5"})).owner, "uid:5");
  const schema::Submitted second = submit("uid:6");
  EXPECT_FALSE(second.duplicates.at(0)) << "it is somebody's now";
  EXPECT_EQ(submit("uid:6").ids, second.ids);
  job.idempotency_key = "key-3";  // another content: nobody is told of the old one
  EXPECT_FALSE(submit("uid:6").duplicates.at(0));
  EXPECT_EQ(must(read_info(db, 3)).owner, "");
}

TEST_F(StoreSchema, JobsOfVersion7FailWhereTheirDocumentsAreTooLong) {
  Database db = old_database("version_7.sql");
  must(migrate(db));
  EXPECT_EQ(test::query_text(db, "SELECT group_concat(overflow) FROM job_status"), "error,error,error");
  EXPECT_EQ(must(read_spec(db, 2)).overflow, schema::Overflow::kError);
  const schema::JobResult result = must(read_result(db, 1));
  EXPECT_EQ(result.outputs.at(0).part, 0u);
  EXPECT_EQ(result.metrics.parts, 0u);
  EXPECT_EQ(test::query_text(db, "SELECT parts IS NULL FROM job_metrics WHERE id = 1"), "1")
      << "nobody knows";
}

TEST_F(StoreSchema, NoDurationOfVersion8IsNegative) {
  Database db = old_database("version_8.sql");  // its clock was set back
  must(migrate(db));
  EXPECT_EQ(test::query_text(db, "SELECT queue_ms || ' ' || total_ms FROM job_metrics WHERE id = 1"), "0 0");
  EXPECT_EQ(test::query_text(db, "SELECT count(*) FROM pragma_table_info('models') WHERE name = 'plan'"),
            "0");
}

TEST_F(StoreSchema, LayersOfVersion9StayAsTheyAreAndCanBePlanned) {
  Database db = old_database("version_9.sql");
  must(migrate(db));
  constexpr const char* kStates =
      "SELECT group_concat(state) FROM (SELECT state FROM layer_status ORDER BY layer)";
  EXPECT_EQ(test::query_text(db, kStates), "distilled,distilling");
  EXPECT_EQ(
      test::query_text(db, "SELECT entropy || ' ' || kl || ' ' || quality FROM layer_status WHERE layer = 0"),
      "4.25 0.005 0.98");
  EXPECT_EQ(test::query_text(db, "SELECT group_concat(state) FROM worker_layers"), "distilled,distilling");
  must(db.exec(
      "UPDATE layers SET state = 'planned' WHERE layer = 1; UPDATE worker_layers SET state = 'planned'"));
  EXPECT_EQ(test::query_text(db, kStates), "distilled,planned");
  must(db.exec("DELETE FROM workers"));
  EXPECT_EQ(test::query_text(db, "SELECT count(*) FROM worker_layers"), "0") << "they go with their worker";
}

TEST_F(StoreSchema, ChangesOfThePolicyOfVersion10AreThoseOfTheOnlyModel) {
  Database db = old_database("version_10.sql");
  must(migrate(db));
  EXPECT_EQ(test::query_text(db, "SELECT group_concat(model || from_plan || to_plan) FROM policy_events"),
            "tiny02,tiny20,tiny01");
  const std::vector<schema::PolicyChange> latest = must(latest_policy_changes(db));
  ASSERT_EQ(latest.size(), 1U);
  EXPECT_EQ(latest[0].model_digest, "0123456789abcdef0123456789abcdef");
  EXPECT_EQ(latest[0].to, 1U);
  EXPECT_EQ(latest[0].time_ms, 1'750'000'030'000);
}

TEST_F(StoreSchema, ChangesOfThePolicyOfVersion10AreNobodysWhereThereWereSeveralModels) {
  Database db = old_database("version_10.sql");
  must(db.exec(
      "INSERT INTO models SELECT 'other', name, layers, wanted_plan, wanted_allow_undistilled, seen_ms, "
      "wanted_generation FROM models"));
  must(migrate(db));
  EXPECT_EQ(
      test::query_text(db, "SELECT count(*) FROM policy_events WHERE model IS NULL AND model_digest IS NULL"),
      "3");
  EXPECT_TRUE(must(latest_policy_changes(db)).empty());
  EXPECT_EQ(must(policy_changes(db, 1)).at(0).model, "");
  schema::PolicyChange change;
  change.model_digest = "other";
  change.to = 3;
  must(record_policy_change(db, change));
  EXPECT_EQ(must(policy_changes(db, 1)).at(0).model, "tiny");
  EXPECT_EQ(must(latest_policy_changes(db)).at(0).to, 3U);
}

TEST_F(StoreSchema, DatabaseOfANewerVersionIsRefused) {
  must(db_.exec("PRAGMA user_version = 999"));
  const Status status = migrate(db_);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kRefused);
}

TEST_F(StoreSchema, FileThatIsNoDatabaseIsCorrupt) {
  const std::filesystem::path file = folder_.path() / "garbage.db";
  FILE* garbage = std::fopen(file.c_str(), "w");
  std::fputs(std::string(10'000, 'x').c_str(), garbage);
  std::fclose(garbage);
  EXPECT_EQ(Database::open(file, 10).error().code, ErrorCode::kCorrupt);
}

TEST_F(StoreSchema, SecondHolderOfAStateFolderIsRefused) {
  const std::filesystem::path path = folder_.path() / "state";
  {
    const StateDir first = must(StateDir::open(path));
    const Result<StateDir> second = StateDir::open(path);
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.error().code, ErrorCode::kRefused);
    EXPECT_NE(second.error().message.find(std::to_string(::getpid())), std::string::npos);
  }
  EXPECT_TRUE(StateDir::open(path).ok());
}

TEST_F(StoreSchema, CheckpointEmptiesTheLogUnlessAReaderIsInTheWay) {
  const std::filesystem::path wal = folder_.path() / "dslad.db-wal";
  Database reader = test::open_database(folder_.path() / "dslad.db");
  must(reader.exec("BEGIN; SELECT count(*) FROM jobs"));
  must(test::enqueue_jobs(db_, {test::summarize()}, {}, 1));
  EXPECT_EQ(db_.checkpoint().error().code, ErrorCode::kUnavailable);
  must(test::enqueue_jobs(db_, {test::summarize()}, {}, 1));  // the writer goes on
  must(reader.exec("COMMIT"));
  EXPECT_TRUE(db_.checkpoint().ok());
  EXPECT_EQ(std::filesystem::file_size(wal), 0U);
}

class StoreLayers : public StoreSchema {
 protected:
  StoreLayers() {
    hello_.name = "host:1:cpu";
    hello_.instance = "i1";
    hello_.model = "tiny";
    hello_.model_digest = "d1";
    hello_.layers = 2;
    hello_.layer_info = {{0, 1, schema::LayerState::kDistilled, true},
                         {1, 0, schema::LayerState::kTransformer, false}};
  }

  PlanChange to_active() {
    PlanChange change{"host:1:cpu", "i1", "d1", {}, WantedPlan{1, true}, "by hand"};
    change.result.plan = 1;
    change.result.changes = {{0, schema::LayerState::kDistilled, schema::LayerState::kActive, ""}};
    change.result.layer_info = {{0, 1, schema::LayerState::kActive, true}};
    return change;
  }

  schema::Hello hello_;
};

TEST_F(StoreLayers, AnnouncedLayersAreListed) {
  EXPECT_FALSE(must(announce_model(db_, hello_, 1)).has_value());
  const std::vector<schema::ModelLayers> models = must(read_layers(db_));
  ASSERT_EQ(models.size(), 1U);
  ASSERT_EQ(models[0].layers.size(), 2U);
  EXPECT_EQ(models[0].layers[0].state, schema::LayerState::kDistilled);
  EXPECT_EQ(models[0].layers[1].order, 0);
}

TEST_F(StoreLayers, WhatTheChainSaysOfALayerIsKeptAndListed) {
  hello_.layer_info[0].entropy = 4.25;
  hello_.layer_info[0].kl = 0.005;
  hello_.layer_info[0].quality = 0.98;
  must(announce_model(db_, hello_, 1));
  EXPECT_EQ(test::query_text(db_,
                             "SELECT entropy || ' ' || kl || ' ' || quality FROM layer_status "
                             "WHERE layer = 0"),
            "4.25 0.005 0.98");
  EXPECT_EQ(test::query_text(db_, "SELECT count(*) FROM layer_status WHERE layer = 1 AND kl IS NULL"), "1");
  const std::vector<schema::ModelLayers> models = must(read_layers(db_));
  EXPECT_EQ(models.at(0).layers.at(0).quality, 0.98);
  EXPECT_EQ(models.at(0).layers.at(1).quality, std::nullopt);
  hello_.layer_info[0].quality.reset();  // measured anew, or a chain without it
  must(announce_model(db_, hello_, 2));
  EXPECT_EQ(must(read_layers(db_)).at(0).layers.at(0).quality, std::nullopt);
}

TEST_F(StoreLayers, LayerThatFailedIsAnEventThatSaysWhy) {
  constexpr const char* kLatest =
      "SELECT from_state || '>' || to_state || ':' || reason FROM conversion_events ORDER BY id DESC LIMIT 1";
  must(announce_model(db_, hello_, 1));
  hello_.layer_info[0].state = schema::LayerState::kFailed;
  must(announce_model(db_, hello_, 2, "plan 2 gave no numbers"));
  EXPECT_EQ(test::query_text(db_, kLatest),
            "distilled>failed:worker host:1:cpu cannot use it: plan 2 gave no numbers");
  EXPECT_EQ(test::query_text(db_, "SELECT state || reason FROM layer_status WHERE layer = 0"),
            "failedworker host:1:cpu cannot use it: plan 2 gave no numbers");
  hello_.layer_info[1].state = schema::LayerState::kFailed;
  must(announce_model(db_, hello_, 3));
  EXPECT_NE(test::query_text(db_, kLatest).find("missing or damaged"), std::string::npos);
  hello_.layer_info[1].state = schema::LayerState::kDistilled;
  must(announce_model(db_, hello_, 3));
  hello_.layer_info[1].state = schema::LayerState::kFailed;
  hello_.layer_info[1].reason = "its plan keeps 42% of plan 0's quality";
  must(announce_model(db_, hello_, 3));
  EXPECT_EQ(test::query_text(db_, kLatest),
            "distilled>failed:worker host:1:cpu cannot use it: its plan keeps 42% of plan 0's quality");
  hello_.layer_info[0].state = schema::LayerState::kDistilled;
  must(announce_model(db_, hello_, 4, "plan 2 gave no numbers"));
  EXPECT_EQ(test::query_text(db_, kLatest), "failed>distilled:announced by worker host:1:cpu");
}

TEST_F(StoreLayers, LayerIsPlannedUntilAWorkerThatDoesNotPlanItTakesThePlace) {
  constexpr const char* kState = "SELECT state FROM layer_status WHERE layer = 1";
  constexpr const char* kLatest =
      "SELECT from_state || '>' || to_state FROM conversion_events WHERE layer = 1 ORDER BY id DESC LIMIT 1";
  hello_.layer_info[1].state = schema::LayerState::kPlanned;
  must(announce_model(db_, hello_, 1));
  EXPECT_EQ(test::query_text(db_, kState), "planned");
  EXPECT_EQ(test::query_text(db_, kLatest), "transformer>planned");
  EXPECT_EQ(must(read_layers(db_)).at(0).layers.at(1).state, schema::LayerState::kPlanned);
  hello_.layer_info[1].state = schema::LayerState::kDistilling;
  must(announce_model(db_, hello_, 2));
  EXPECT_EQ(test::query_text(db_, kLatest), "planned>distilling");
  hello_.layer_info[1].state = schema::LayerState::kPlanned;
  must(announce_model(db_, hello_, 3));
  must(worker_gone(db_, hello_.instance, 4));
  EXPECT_EQ(test::query_text(db_, kState), "planned") << "nobody has said anything else";
  hello_.instance = "i2";
  hello_.layer_info[1].state = schema::LayerState::kTransformer;
  must(announce_model(db_, hello_, 5));
  EXPECT_EQ(test::query_text(db_, kState), "transformer");
  EXPECT_EQ(test::query_text(db_, kLatest), "planned>transformer");
}

TEST_F(StoreLayers, WhatOneWorkerPlansOrMakesIsSoThoughAnotherOneKnowsNothingOfIt) {
  constexpr const char* kState = "SELECT state FROM layer_status WHERE layer = 1";
  schema::Hello other = hello_;
  other.instance = "i2";
  for (const auto state : {schema::LayerState::kPlanned, schema::LayerState::kDistilling}) {
    hello_.layer_info[1].state = state;
    must(announce_model(db_, hello_, 1));
    const std::string events = test::query_text(db_, "SELECT count(*) FROM conversion_events");
    must(announce_model(db_, other, 2));
    EXPECT_EQ(test::query_text(db_, kState), schema::to_string(state));
    schema::Hello anew = hello_;
    anew.instance += "'";  // it was killed, which nobody has noticed yet
    must(announce_model(db_, anew, 2));
    EXPECT_EQ(test::query_text(db_, "SELECT count(*) FROM conversion_events"), events)
        << "nothing has changed";
  }
  hello_.layer_info[1].state = schema::LayerState::kPlanned;
  must(announce_model(db_, hello_, 3));
  other.layer_info[1].state = schema::LayerState::kDistilled;
  must(announce_model(db_, other, 4));
  EXPECT_EQ(test::query_text(db_, kState), "distilled") << "it has read the chain first";
}

TEST_F(StoreLayers, WhatAWorkerThatIsGonePlannedIsTakenBackByWhoeverSpeaksNext) {
  schema::Hello other = hello_;
  other.instance = "i2";
  hello_.layer_info[1].state = schema::LayerState::kPlanned;
  must(announce_model(db_, hello_, 1));
  must(announce_model(db_, other, 2));
  must(worker_gone(db_, hello_.instance, 3));
  must(announce_model(db_, other, 4));
  EXPECT_EQ(test::query_text(db_, "SELECT state FROM layer_status WHERE layer = 1"), "transformer");
  EXPECT_EQ(
      test::query_text(
          db_, "SELECT group_concat(from_state || '>' || to_state) FROM conversion_events WHERE layer = 1"),
      "transformer>planned,planned>transformer");
}

TEST_F(StoreLayers, PlanChangeIsAnEventWithItsReason) {
  must(announce_model(db_, hello_, 1));
  must(save_plan(db_, to_active(), 2));
  EXPECT_EQ(test::query_text(db_, "SELECT state || plan FROM layer_status WHERE layer = 0"), "active1");
  EXPECT_EQ(test::query_text(db_,
                             "SELECT from_state || '>' || to_state || ':' || reason FROM conversion_events "
                             "ORDER BY id DESC LIMIT 1"),
            "distilled>active:by hand");
}

TEST_F(StoreLayers, WorkersOfOneModelHavePlansOfTheirOwn) {
  must(announce_model(db_, hello_, 1));
  schema::Hello second = hello_;
  second.instance = "i2";
  must(announce_model(db_, second, 1));
  EXPECT_EQ(test::query_text(db_, "SELECT count(*) FROM conversion_events"), "1");  // i1's news of the chain
  must(save_plan(db_, to_active(), 2));
  must(announce_model(db_, second, 3));  // it came back, on plan 0: nobody's layer changed
  EXPECT_EQ(test::query_text(db_, "SELECT count(*) FROM conversion_events"), "2");
  constexpr const char* kLayer = "SELECT state || plan || workers_active FROM layer_status WHERE layer = 0";
  EXPECT_EQ(test::query_text(db_, kLayer), "active11");
  EXPECT_EQ(must(read_layers(db_)).at(0).plan, 1U);
  EXPECT_EQ(test::query_text(db_, "SELECT group_concat(instance || plan) FROM worker_status"), "i11,i20");
  must(worker_gone(db_, "i1", 4));
  EXPECT_EQ(test::query_text(db_, kLayer), "distilled00");
  hello_.plan = 1;
  hello_.layer_info[0].state = schema::LayerState::kActive;
  must(announce_model(db_, hello_, 5));  // it was only cut off
  EXPECT_EQ(test::query_text(db_, kLayer), "active11");
  EXPECT_EQ(test::query_text(db_, "SELECT count(*) FROM conversion_events"), "2");
}

TEST_F(StoreLayers, ModelsHavePlansOfTheirOwn) {
  must(announce_model(db_, hello_, 1));
  schema::Hello other = hello_;
  other.instance = "i2";
  other.model_digest = "d2";
  must(announce_model(db_, other, 1));
  must(save_plan(db_, to_active(), 2));
  EXPECT_EQ(
      test::query_text(db_, "SELECT state || plan FROM layer_status WHERE layer = 0 AND model_digest = 'd2'"),
      "distilled0");
}

TEST_F(StoreLayers, WantedPlanIsGivenToWorkersThatJoinLater) {
  must(announce_model(db_, hello_, 1));
  must(save_plan(db_, to_active(), 2));
  const std::optional<WantedPlan> wanted = must(announce_model(db_, hello_, 3));
  ASSERT_TRUE(wanted.has_value());
  EXPECT_EQ(wanted->plan, 1U);
  EXPECT_TRUE(wanted->allow_undistilled);
}

TEST_F(StoreLayers, WantedPlanOfAnOlderGenerationIsNotStored) {
  must(announce_model(db_, hello_, 1));
  PlanChange newer = to_active();
  newer.wanted = WantedPlan{1, true, 7};
  must(save_plan(db_, newer, 2));
  PlanChange late = to_active();
  late.wanted = WantedPlan{0, false, 6};
  must(save_plan(db_, late, 3));
  const std::optional<WantedPlan> wanted = must(announce_model(db_, hello_, 4));
  ASSERT_TRUE(wanted.has_value());
  EXPECT_EQ(wanted->plan, 1U);
  EXPECT_EQ(wanted->generation, 7U);
  EXPECT_EQ(must(last_generation(db_)), 7U);
}

}  // namespace
}  // namespace dslad::daemon
