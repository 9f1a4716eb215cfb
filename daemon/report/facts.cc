#include "daemon/report/facts.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "daemon/store/sqlite.h"

namespace dslad::daemon::report {
namespace {

constexpr int kBusyMs = 10'000;

// The views are read once, into a table of the connection's own: a long look at them would keep the daemon's
// log from being emptied. Times in seconds; ?1: since when, ?2, ?3: beginning and length of the parts.
constexpr const char* kCopy =
    "CREATE TEMP TABLE seen AS "
    "SELECT s.id, s.task, s.state, s.client, s.labels, s.ended_at, s.error_code, s.error_message, "
    "(unixepoch(s.ended_at) - ?2) / ?3 AS part, m.queue_ms, m.prefill_ms, m.decode_ms, m.total_ms, "
    "m.prompt_tokens, m.output_tokens, m.plan "
    "FROM job_status s LEFT JOIN job_metrics m ON m.id = s.id "
    "WHERE ?1 IS NULL OR unixepoch(s.created_at) >= ?1";

// The least of `value` that half of a group, and 95 of a hundred, do not exceed, by `key`.
#define DSLAD_PERCENTILES(key, value, from)                                                               \
  "SELECT k, min(iif(share >= 0.5, v, NULL)), min(iif(share >= 0.95, v, NULL)) FROM (SELECT " key         \
  " AS k, " value " AS v, cume_dist() OVER (PARTITION BY " key " ORDER BY " value ") AS share FROM " from \
  " WHERE " value " IS NOT NULL) GROUP BY k"

#define DSLAD_GROUPS(key, from)                                                 \
  "SELECT " key                                                                 \
  ", count(*) AS jobs, sum(state = 'succeeded'), sum(state = 'failed'), "       \
  "coalesce(sum(prompt_tokens), 0), coalesce(sum(output_tokens), 0) FROM " from \
  " GROUP BY 1 ORDER BY jobs DESC, 1 LIMIT ?"

// A job with two labels counts for both. Labels are words, so blanks part them.
#define DSLAD_LABELLED                                                                                      \
  "(SELECT l.value AS label, seen.* FROM seen, json_each('[' || replace(json_quote(labels), ' ', '\",\"') " \
  "|| ']') l WHERE labels IS NOT NULL)"

std::optional<double> real(const Query& row, int column) {
  return row.is_null(column) ? std::nullopt : std::optional(row.real(column));
}

std::uint64_t count(const Query& row, int column) {
  return static_cast<std::uint64_t>(row.integer(column));
}

std::uint32_t small(const Query& row, int column) {
  return static_cast<std::uint32_t>(row.integer(column));
}

Status read_span(Database& db, Facts& facts) {
  Query query(
      db,
      "SELECT unixepoch(min(created_at)), unixepoch(max(max(created_at), coalesce(max(ended_at), ''))) "
      "FROM job_status WHERE ?1 IS NULL OR unixepoch(created_at) >= ?1",
      facts.since_s);
  facts.first_s = facts.since_s.value_or(facts.now_s);
  facts.last_s = facts.now_s;
  if (query.next() && !query.is_null(0)) {
    if (!facts.since_s) facts.first_s = query.integer(0);
    facts.last_s = facts.since_s ? std::max(facts.now_s, query.integer(1)) : query.integer(1);
  }
  facts.timeline = timeline_of(facts.first_s, facts.last_s);
  facts.parts.resize(facts.timeline.parts);
  return query.status();
}

Status copy_jobs(Database& db, const Facts& facts) {
  return db.run(kCopy, facts.since_s, facts.timeline.begin_s, facts.timeline.part_s);
}

Status read_jobs(Database& db, Facts& facts) {
  Query query(db, "SELECT state, count(*) FROM seen GROUP BY state");
  while (query.next()) facts.jobs[query.text(0)] = count(query, 1);
  return query.status();
}

// The part that a row's first column names; jobs that have not ended have none.
Part* part_of(const Query& row, Facts& facts) {
  if (row.is_null(0)) return nullptr;
  const auto last = static_cast<std::int64_t>(facts.parts.size()) - 1;
  return &facts.parts[static_cast<std::size_t>(std::clamp<std::int64_t>(row.integer(0), 0, last))];
}

Status read_parts(Database& db, Facts& facts) {
  Query query(
      db,
      "SELECT part, state, count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(output_tokens), 0) "
      "FROM seen WHERE part IS NOT NULL GROUP BY 1, 2");
  while (query.next()) {
    Part& part = *part_of(query, facts);
    part.ended[query.text(1)] += count(query, 2);
    part.prompt_tokens += count(query, 3);
    part.output_tokens += count(query, 4);
  }
  return query.status();
}

Status read_plans(Database& db, Facts& facts) {
  Query query(db,
              "SELECT part, plan, count(*) FROM seen WHERE part IS NOT NULL AND plan IS NOT NULL "
              "AND state = 'succeeded' GROUP BY 1, 2");
  while (query.next()) part_of(query, facts)->plans[small(query, 1)] += count(query, 2);
  return query.status();
}

Status read_percentiles(Database& db, const char* sql, Facts& facts,
                        std::optional<Percentiles> Part::*member) {
  Query query(db, sql);
  while (query.next()) {
    if (Part* part = part_of(query, facts)) part->*member = Percentiles{query.real(1), query.real(2)};
  }
  return query.status();
}

Status read_groups(Database& db, const char* sql, std::vector<Group>& groups) {
  Query query(db, sql, kGroups);
  while (query.next()) {
    groups.push_back({query.text(0),
                      count(query, 1),
                      count(query, 2),
                      count(query, 3),
                      {},
                      {},
                      count(query, 4),
                      count(query, 5)});
  }
  return query.status();
}

Status read_group_percentiles(Database& db, const char* sql, std::vector<Group>& groups,
                              std::optional<Percentiles> Group::*member) {
  Query query(db, sql);
  while (query.next()) {
    for (Group& group : groups) {
      if (group.name == query.text(0)) group.*member = Percentiles{query.real(1), query.real(2)};
    }
  }
  return query.status();
}

Status read_failures(Database& db, Facts& facts) {
  Query query(db,
              "SELECT state, coalesce(error_code, ''), substr(coalesce(error_message, ''), 1, 200), count(*) "
              "AS jobs, "
              "max(ended_at) FROM seen WHERE state IN ('failed', 'expired') GROUP BY 1, 2, 3 "
              "ORDER BY jobs DESC, 5 DESC LIMIT ?",
              kGroups);
  while (query.next())
    facts.failures.push_back({query.text(0), query.text(1), query.text(2), count(query, 3), query.text(4)});
  return query.status();
}

// The latest change in each part, and the one before the first, of the workers that changed last. Events are
// never removed, so there may be very many.
Status read_worker_plans(Database& db, Facts& facts) {
  Query query(db,
              "SELECT worker, max((unixepoch(at) - ?1) / ?2, -1) AS part, unixepoch(at), plan, max(id) "
              "FROM conversion_events WHERE worker IN "
              "(SELECT worker FROM conversion_events GROUP BY worker ORDER BY max(id) DESC LIMIT 8) "
              "GROUP BY 1, 2 ORDER BY 1, 2",
              facts.timeline.begin_s, facts.timeline.part_s);
  while (query.next()) {
    const std::string worker = query.text(0);
    if (facts.worker_plans.empty() || facts.worker_plans.back().name != worker)
      facts.worker_plans.push_back({worker, {}});
    const std::int64_t time_s = std::max(query.integer(2), facts.timeline.begin_s);
    facts.worker_plans.back().plans.push_back({time_s, small(query, 3)});
  }
  return query.status();
}

Status read_conversions(Database& db, Facts& facts) {
  Query query(db,
              "SELECT at, model, worker, from_state, to_state, substr(reason, 1, 200), layer, plan, queued "
              "FROM conversion_events WHERE ?1 IS NULL OR unixepoch(at) >= ?1 ORDER BY id DESC LIMIT ?2",
              facts.since_s, kEvents);
  while (query.next()) {
    facts.conversions.push_back({query.text(0), query.text(1), query.text(2), query.text(3), query.text(4),
                                 query.text(5), small(query, 6), small(query, 7), count(query, 8)});
  }
  return query.status();
}

Status read_policy(Database& db, Facts& facts) {
  Query query(db,
              "SELECT at, policy, coalesce(model, ''), substr(why, 1, 200), from_plan, to_plan, waiting_jobs "
              "FROM policy_events "
              "WHERE ?1 IS NULL OR unixepoch(at) >= ?1 ORDER BY id DESC LIMIT ?2",
              facts.since_s, kEvents);
  while (query.next()) {
    facts.policy.push_back({query.text(0), query.text(1), query.text(2), query.text(3), small(query, 4),
                            small(query, 5), count(query, 6)});
  }
  return query.status();
}

Status read_layers(Database& db, Facts& facts) {
  Query query(
      db,
      "SELECT model, model_digest, state, substr(coalesce(reason, ''), 1, 200), layer, conversion_order, "
      "distilled, workers_active, entropy, kl, quality FROM layer_status ORDER BY model, model_digest, layer "
      "LIMIT 1000");
  while (query.next()) {
    Layer& layer = facts.layers.emplace_back();
    layer.model = query.text(0);
    layer.digest = query.text(1);
    layer.state = query.text(2);
    layer.reason = query.text(3);
    layer.layer = small(query, 4);
    if (!query.is_null(5)) layer.plan = small(query, 5) + 1;
    layer.distilled = query.integer(6) != 0;
    layer.workers_active = small(query, 7);
    layer.entropy = real(query, 8);
    layer.kl = real(query, 9);
    layer.quality = real(query, 10);
  }
  return query.status();
}

// One kind of group with its percentiles.
Status read_kind(Database& db, const char* sums, const char* queue, const char* total,
                 std::vector<Group>& groups) {
  Status status = read_groups(db, sums, groups);
  if (status) status = read_group_percentiles(db, queue, groups, &Group::queue_ms);
  if (status) status = read_group_percentiles(db, total, groups, &Group::total_ms);
  return status;
}

#define DSLAD_KIND(key, from) \
  DSLAD_GROUPS(key, from), DSLAD_PERCENTILES(key, "queue_ms", from), DSLAD_PERCENTILES(key, "total_ms", from)

Status read_views(Database& db, Facts& facts) {
  Status status = db.exec("BEGIN");
  if (status) status = read_span(db, facts);
  if (status) status = copy_jobs(db, facts);
  if (status) status = read_worker_plans(db, facts);
  if (status) status = read_conversions(db, facts);
  if (status) status = read_policy(db, facts);
  if (status) status = read_layers(db, facts);
  return status ? db.exec("COMMIT") : status;
}

Status sum_up(Database& db, Facts& facts) {
  Status status = read_jobs(db, facts);
  if (status) status = read_parts(db, facts);
  if (status) status = read_plans(db, facts);
  if (status) {
    status = read_percentiles(db, DSLAD_PERCENTILES("part", "queue_ms", "seen"), facts, &Part::queue_ms);
  }
  if (status) {
    status = read_percentiles(db, DSLAD_PERCENTILES("part", "prefill_ms", "seen"), facts, &Part::prefill_ms);
  }
  if (status) {
    status = read_percentiles(db, DSLAD_PERCENTILES("part", "decode_ms", "seen"), facts, &Part::decode_ms);
  }
  if (status) status = read_kind(db, DSLAD_KIND("task", "seen"), facts.tasks);
  if (status) status = read_kind(db, DSLAD_KIND("client", "seen"), facts.clients);
  if (status) status = read_kind(db, DSLAD_KIND("label", DSLAD_LABELLED), facts.labels);
  if (status) {
    status = read_kind(db, DSLAD_KIND("plan", "(SELECT * FROM seen WHERE plan IS NOT NULL)"), facts.plans);
  }
  // By number: they were chosen by their jobs, as all groups are.
  std::sort(facts.plans.begin(), facts.plans.end(), [](const Group& a, const Group& b) {
    return std::pair(a.name.size(), a.name) < std::pair(b.name.size(), b.name);
  });
  return status ? read_failures(db, facts) : status;
}

}  // namespace

Result<Facts> read_facts(const std::filesystem::path& database, std::int64_t now_s,
                         std::optional<std::int64_t> since_s) {
  Facts facts;
  facts.now_s = now_s;
  facts.since_s = since_s;
  const auto wrong = [&database](const Error& error) {
    return Error{
        ErrorCode::kInvalidArgument,
        fmt::format("cannot read {}: {}; name dslad's database, or a copy that dslactl backup made, with "
                    "--database PATH",
                    database.string(), error.message)};
  };
  Result<Database> db = Database::open_to_read(database, kBusyMs);
  if (!db) return wrong(db.error());
  // The file stays read-only; the connection may have tables of its own.
  if (Status status = db->exec("PRAGMA query_only = OFF"); !status) return wrong(status.error());
  if (Status status = read_views(*db, facts); !status) return wrong(status.error());
  if (Status status = sum_up(*db, facts); !status) return wrong(status.error());
  return facts;
}

}  // namespace dslad::daemon::report
