#include "daemon/store/layers.h"

#include <fmt/format.h>
#include <map>
#include <utility>

#include "base/utf8.h"
#include "schema/limits.h"

namespace dslad::daemon {
namespace {

using schema::LayerChange;
using schema::LayerInfo;
using schema::LayerState;

struct Origin {
  std::string_view worker;
  std::string_view instance;
  std::string_view model_digest;
  std::uint32_t plan = 0;
  std::int64_t now_ms = 0;
};

Status record_change(Database& db, const Origin& origin, const LayerChange& change) {
  return db.run(
      "INSERT INTO layer_changes (time_ms, model_digest, layer, from_state, to_state, reason, plan, worker, "
      "queued, "
      "running) VALUES (?, ?, ?, ?, ?, ?, ?, ?, (SELECT jobs FROM job_counts WHERE state = 'queued'), "
      "(SELECT jobs FROM job_counts WHERE state = 'running'))",
      origin.now_ms, origin.model_digest, change.layer, schema::to_string(change.from),
      schema::to_string(change.to), change.reason, origin.plan, origin.worker);
}

// Whether DSLA runs is a matter of a worker's plan, not of the model.
LayerState of_chain(const LayerInfo& layer) {
  if (layer.state != LayerState::kActive && layer.state != LayerState::kReverted) return layer.state;
  return layer.distilled ? LayerState::kDistilled : LayerState::kTransformer;
}

// Of a row l of `layers`: another worker, one that is connected, says of it what is known, that it plans or
// makes it. One worker alone distils for a model, so whoever knows nothing of that takes nothing back.
#define DSLAD_IN_OTHER_HANDS                                                                           \
  "l.state IN ('planned', 'distilling') AND EXISTS (SELECT 1 FROM workers o JOIN worker_layers x ON "  \
  "x.instance = o.instance WHERE o.model_digest = l.model_digest AND o.connected AND o.instance <> ? " \
  "AND x.layer = l.layer AND x.state = l.state)"

Status save_worker_layer(Database& db, std::string_view instance, const LayerInfo& layer) {
  return db.run(
      "INSERT INTO worker_layers (instance, layer, state) VALUES (?, ?, ?) "
      "ON CONFLICT DO UPDATE SET state = excluded.state",
      instance, layer.layer, schema::to_string(layer.state));
}

Status save_layer(Database& db, const Origin& origin, const LayerInfo& layer) {
  std::optional<std::int64_t> order;
  if (layer.order >= 0) order = layer.order;
  Status status = save_worker_layer(db, origin.instance, layer);
  if (!status) return status;
  return db.run(
      "INSERT INTO layers AS l (model_digest, layer, conversion_order, state, distilled, entropy, kl, "
      "quality) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
      "ON CONFLICT DO UPDATE SET conversion_order = excluded.conversion_order, "
      "state = iif(excluded.state = 'transformer' AND " DSLAD_IN_OTHER_HANDS
      ", l.state, excluded.state), "
      "distilled = excluded.distilled, entropy = excluded.entropy, kl = excluded.kl, "
      "quality = excluded.quality",
      origin.model_digest, layer.layer, order, schema::to_string(of_chain(layer)), layer.distilled ? 1 : 0,
      layer.entropy, layer.kl, layer.quality, origin.instance);
}

constexpr const char* kLayersOfModel =
    "SELECT layer, conversion_order, state, distilled, entropy, kl, quality, iif(state = 'failed', reason, "
    "'') "
    "FROM layer_status "
    "WHERE model_digest = ? ORDER BY layer";

std::optional<double> real_or_null(const Query& row, int column) {
  if (row.is_null(column)) return std::nullopt;
  return row.real(column);
}

// A row of kLayersOfModel.
LayerInfo read_layer(const Query& row) {
  LayerInfo layer;
  layer.layer = static_cast<std::uint32_t>(row.integer(0));
  layer.order = row.is_null(1) ? -1 : static_cast<std::int32_t>(row.integer(1));
  schema::parse_word(row.text(2), layer.state);  // the table's CHECK lets no other words in
  layer.distilled = row.integer(3) != 0;
  layer.entropy = real_or_null(row, 4);
  layer.kl = real_or_null(row, 5);
  layer.quality = real_or_null(row, 6);
  layer.reason = row.text(7);
  return layer;
}

struct Known {
  // As this worker said last, or as the chain was when others spoke of it. What is planned or being made is
  // as whoever spoke last had it: it is the model's, and not a worker's.
  LayerState state = LayerState::kTransformer;
  bool in_other_hands = false;
};

Result<std::map<std::uint32_t, Known>> known_states(Database& db, const Origin& origin) {
  std::map<std::uint32_t, Known> states;
  Query query(db,
              "SELECT l.layer, iif(l.state IN ('planned', 'distilling') "
              "AND w.state IN ('transformer', 'planned', 'distilling'), l.state, coalesce(w.state, "
              "l.state)), " DSLAD_IN_OTHER_HANDS
              " FROM layers l LEFT JOIN worker_layers w ON w.instance = ? AND w.layer = l.layer "
              "WHERE l.model_digest = ?",
              origin.instance, origin.instance, origin.model_digest);
  while (query.next()) {
    Known& known = states[static_cast<std::uint32_t>(query.integer(0))];
    schema::parse_word(query.text(1), known.state);
    known.in_other_hands = query.integer(2) != 0;
  }
  if (!query.status()) return query.status().error();
  return states;
}

bool may_run(LayerState state) {
  return state == LayerState::kDistilled || state == LayerState::kReverted;
}

// The layer's state, of which the worker says `said`.
LayerState as_judged(LayerState said, std::int32_t order, LayerState known,
                     const std::optional<Judged>& judged) {
  if (!may_run(said) || order < 0) return said;
  const bool failed = judged
                          ? judged->withdrawn && *judged->withdrawn == static_cast<std::uint32_t>(order) + 1
                          : known == LayerState::kFailed;
  return failed ? LayerState::kFailed : said;
}

std::string reason_of(const Origin& origin, const LayerInfo& layer, const std::string& fault) {
  if (layer.state != LayerState::kFailed) return fmt::format("announced by worker {}", origin.worker);
  std::string why = fault.empty() ? std::string(utf8_prefix(layer.reason, schema::kMaxNameBytes)) : fault;
  if (why.empty()) why = "what is stored of it is missing or damaged; its log says more";
  return fmt::format("worker {} cannot use it: {}", origin.worker, why);
}

// A layer never heard of was a transformer.
Status save_announced(Database& db, const Origin& origin, const std::vector<LayerInfo>& layers,
                      const std::string& fault, const std::optional<Judged>& judged) {
  const Result<std::map<std::uint32_t, Known>> states = known_states(db, origin);
  if (!states) return states.error();
  Status status = ok_status();
  for (const LayerInfo& layer : layers) {
    const auto found = states->find(layer.layer);
    const Known known = found == states->end() ? Known{} : found->second;
    const bool says_nothing = known.in_other_hands && layer.state == LayerState::kTransformer;
    LayerInfo is = layer;
    is.state = as_judged(layer.state, layer.order, known.state, judged);
    if (status) status = save_layer(db, origin, is);
    if (status && !says_nothing && known.state != is.state) {
      const std::string why = is.state != layer.state ? judged->why : reason_of(origin, layer, fault);
      status = record_change(db, origin, {layer.layer, known.state, is.state, why});
    }
  }
  return status;
}

Status save_worker(Database& db, const schema::Hello& hello, std::int64_t now_ms) {
  return db.run(
      "INSERT INTO workers (instance, name, model_digest, edition, plan, connected, seen_ms) "
      "VALUES (?, ?, ?, nullif(?, ''), ?, 1, ?) ON CONFLICT DO UPDATE SET name = excluded.name, "
      "model_digest = excluded.model_digest, edition = excluded.edition, plan = excluded.plan, connected = "
      "1, "
      "seen_ms = excluded.seen_ms",
      hello.instance, hello.name, hello.model_digest, hello.edition, hello.plan, now_ms);
}

// Those gone for longer are no longer spoken of.
constexpr std::int64_t kKeepGoneWorkersMs = std::int64_t{7} * 24 * 3600 * 1000;

Result<std::optional<WantedPlan>> wanted_plan(Database& db, std::string_view digest) {
  std::optional<WantedPlan> wanted;
  Query query(db,
              "SELECT wanted_plan, wanted_allow_undistilled, wanted_generation FROM models WHERE digest = ?",
              digest);
  while (query.next()) {
    if (query.is_null(0)) continue;
    wanted = {static_cast<std::uint32_t>(query.integer(0)), query.integer(1) != 0,
              static_cast<std::uint64_t>(query.integer(2))};
  }
  if (!query.status()) return query.status().error();
  return wanted;
}

}  // namespace

Result<std::optional<WantedPlan>> announce_model(Database& db, const schema::Hello& hello,
                                                 std::int64_t now_ms, const std::string& fault,
                                                 const std::optional<Judged>& judged) {
  Status status = db.run(
      "INSERT INTO models (digest, name, layers, seen_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
      "SET name = excluded.name, layers = excluded.layers, seen_ms = excluded.seen_ms",
      hello.model_digest, hello.model, hello.layers, now_ms);
  const Origin origin{hello.name, hello.instance, hello.model_digest, hello.plan, now_ms};
  if (status) status = save_worker(db, hello, now_ms);
  if (status) status = save_announced(db, origin, hello.layer_info, fault, judged);
  if (!status) return status.error();
  return wanted_plan(db, hello.model_digest);
}

Status save_plan(Database& db, const PlanChange& change, std::int64_t now_ms) {
  const schema::PlanResult& result = change.result;
  const Origin origin{change.worker, change.instance, change.model_digest, result.plan, now_ms};
  Status status = db.run("UPDATE workers SET plan = ? WHERE instance = ?", result.plan, change.instance);
  if (status && change.wanted) {
    const auto generation = static_cast<std::int64_t>(change.wanted->generation);
    status = db.run(
        "UPDATE models SET wanted_plan = ?, wanted_allow_undistilled = ?, wanted_generation = ? "
        "WHERE digest = ? AND wanted_generation <= ?",
        change.wanted->plan, change.wanted->allow_undistilled ? 1 : 0, generation, change.model_digest,
        generation);
  }
  const Result<std::map<std::uint32_t, Known>> states = known_states(db, origin);
  if (!states) return states.error();
  std::map<std::uint32_t, std::int32_t> orders;
  const auto is = [&](std::uint32_t layer, LayerState said) {
    const auto known = states->find(layer);
    const auto order = orders.find(layer);
    return as_judged(said, order == orders.end() ? -1 : order->second,
                     known == states->end() ? said : known->second.state, change.judged);
  };
  for (LayerInfo layer : result.layer_info) {
    orders[layer.layer] = layer.order;
    layer.state = is(layer.layer, layer.state);
    if (status) status = save_layer(db, origin, layer);
  }
  for (LayerChange layer : result.changes) {
    if (layer.reason.empty()) layer.reason = change.reason;
    layer.from = is(layer.layer, layer.from);
    const LayerState said = std::exchange(layer.to, is(layer.layer, layer.to));
    if (layer.to != said && change.judged) layer.reason = change.judged->why;
    if (status && layer.from != layer.to) status = record_change(db, origin, layer);
  }
  return status;
}

Status worker_gone(Database& db, const std::string& instance, std::int64_t now_ms) {
  Status status =
      db.run("UPDATE workers SET connected = 0, seen_ms = ? WHERE instance = ?", now_ms, instance);
  if (status) {
    status = db.run("DELETE FROM workers WHERE NOT connected AND seen_ms < ?", now_ms - kKeepGoneWorkersMs);
  }
  return status;
}

Status all_workers_gone(Database& db) {
  return db.run("UPDATE workers SET connected = 0");
}

Result<std::uint64_t> last_generation(Database& db) {
  Query query(db, "SELECT max(wanted_generation) FROM models");
  const std::int64_t last = query.next() ? query.integer(0) : 0;  // NULL reads as 0
  if (!query.status()) return query.status().error();
  return static_cast<std::uint64_t>(last);
}

Result<std::vector<schema::ModelLayers>> read_layers(Database& db) {
  std::vector<schema::ModelLayers> models;
  Query query(db,
              "SELECT m.name, m.digest, coalesce((SELECT max(w.plan) FROM workers w "
              "WHERE w.model_digest = m.digest AND w.connected), 0) "
              "FROM models m ORDER BY m.seen_ms DESC, m.digest LIMIT 100");
  while (query.next()) {
    models.push_back({query.text(0), query.text(1), static_cast<std::uint32_t>(query.integer(2)), {}});
  }
  if (!query.status()) return query.status().error();
  for (schema::ModelLayers& model : models) {
    Query rows(db, kLayersOfModel, model.model_digest);
    while (rows.next()) model.layers.push_back(read_layer(rows));
    if (!rows.status()) return rows.status().error();
  }
  return models;
}

}  // namespace dslad::daemon
