#include "ctl/workers.h"

#include <fmt/format.h>

#include "ctl/format.h"
#include "ctl/table.h"

namespace dslad::ctl {
namespace {

constexpr std::size_t kShownDigest = 12;  // characters

std::string percent(double share) {
  return fmt::format("{:.1f}%", 100 * share);
}

}  // namespace

std::string worker_table(const std::vector<schema::WorkerInfo>& workers) {
  Table table({"WORKER", "DEVICE", "MODEL", "DTYPE", ">PLAN", "EDITION", ">RUNNING", ">BEGUN", ">SEEN AGO"});
  for (const schema::WorkerInfo& worker : workers) {
    table.add({one_line(worker.name), one_line(worker.device), one_line(worker.model), one_line(worker.dtype),
               std::to_string(worker.plan), one_line(worker.edition.substr(0, kShownDigest)),
               fmt::format("{}/{}", worker.running, worker.capacity), std::to_string(worker.begun),
               format_duration(static_cast<double>(worker.last_seen_ms))});
  }
  table.drop_empty();
  return table.text();
}

std::string chain_faults(const std::vector<schema::WorkerInfo>& workers) {
  std::string text;
  for (const schema::WorkerInfo& worker : workers) {
    if (worker.chain_fault.empty()) continue;
    text += fmt::format("note: {}: {}\n", one_line(worker.name), one_line(worker.chain_fault));
  }
  return text;
}

std::string engine_table(const std::vector<schema::WorkerInfo>& workers) {
  Table table({"WORKER", ">STEPS", ">PROMPT", ">REUSED", ">OUTPUT", ">PREFILL/S", ">DECODE/S", ">ACTIVE",
               ">WAITING", ">KV USED", ">KV TOTAL", ">STATES USED", ">STATES TOTAL"});
  for (const schema::WorkerInfo& worker : workers) {
    const schema::EngineStats& engine = worker.engine;
    table.add({one_line(worker.name), format_count(engine.steps), format_count(engine.prompt_tokens),
               format_count(engine.reused_tokens), format_count(engine.output_tokens),
               fmt::format("{:.1f}", engine.prefill_tokens_per_s),
               fmt::format("{:.1f}", engine.decode_tokens_per_s), format_count(engine.sequences_running),
               format_count(engine.sequences_waiting), format_bytes(engine.kv_bytes_used),
               format_bytes(engine.kv_bytes_total), format_bytes(engine.state_bytes_used),
               format_bytes(engine.state_bytes_total)});
  }
  return table.text();
}

std::string cost_table(const std::vector<schema::CostModelInfo>& models) {
  Table table({"SPEED OF", ">JOBS", ">ERROR P50", ">ERROR P90", ">BYTES/TOKEN"});
  for (const schema::CostModelInfo& model : models) {
    table.add({one_line(model.workers), format_count(model.jobs), percent(model.error_p50),
               percent(model.error_p90), fmt::format("{:.2f}", model.bytes_per_token)});
  }
  return table.text();
}

}  // namespace dslad::ctl
