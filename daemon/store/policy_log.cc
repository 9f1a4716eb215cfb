#include "daemon/store/policy_log.h"

namespace dslad::daemon {
namespace {

Result<std::vector<schema::PolicyChange>> read_changes(Query& query) {
  std::vector<schema::PolicyChange> changes;
  while (query.next()) {
    schema::PolicyChange& change = changes.emplace_back();
    change.time_ms = query.integer(0);
    schema::parse_word(query.text(1), change.policy);
    change.from = static_cast<std::uint32_t>(query.integer(2));
    change.to = static_cast<std::uint32_t>(query.integer(3));
    change.why = query.text(4);
    change.waiting_jobs = static_cast<std::uint64_t>(query.integer(5));
    change.waiting_tokens = static_cast<std::uint64_t>(query.integer(6));
    change.drain_ms = static_cast<std::uint64_t>(query.integer(7));
    change.model = query.text(8);
    change.model_digest = query.text(9);
  }
  if (!query.status()) return query.status().error();
  return changes;
}

}  // namespace

Status record_policy_change(Database& db, const schema::PolicyChange& change) {
  return db.run(
      "INSERT INTO policy_changes (time_ms, policy, from_plan, to_plan, why, waiting_jobs, waiting_tokens, "
      "drain_ms, model_digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
      change.time_ms, schema::to_string(change.policy), change.from, change.to, change.why,
      static_cast<std::int64_t>(change.waiting_jobs), static_cast<std::int64_t>(change.waiting_tokens),
      static_cast<std::int64_t>(change.drain_ms), change.model_digest);
}

Result<std::vector<schema::PolicyChange>> policy_changes(Database& db, std::uint32_t limit) {
  Query query(
      db,
      "SELECT c.time_ms, c.policy, c.from_plan, c.to_plan, c.why, c.waiting_jobs, c.waiting_tokens, "
      "c.drain_ms, coalesce(m.name, ''), c.model_digest "
      "FROM policy_changes c LEFT JOIN models m ON m.digest = c.model_digest ORDER BY c.id DESC LIMIT ?",
      limit);
  return read_changes(query);
}

Result<std::vector<schema::PolicyChange>> latest_policy_changes(Database& db) {
  Query query(
      db,
      "SELECT c.time_ms, c.policy, c.from_plan, c.to_plan, c.why, c.waiting_jobs, c.waiting_tokens, "
      "c.drain_ms, m.name, m.digest FROM models m JOIN policy_changes c "
      "ON c.id = (SELECT id FROM policy_changes WHERE model_digest = m.digest AND from_plan <> to_plan "
      "ORDER BY id DESC LIMIT 1)");
  return read_changes(query);
}

}  // namespace dslad::daemon
