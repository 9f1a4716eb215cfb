#include "daemon/ctl/workers.h"

#include <fmt/format.h>

#include "daemon/ctl/format.h"
#include "daemon/ctl/table.h"

namespace dslad::daemon::ctl {

std::string worker_table(const std::vector<schema::WorkerInfo>& workers) {
  Table table({"WORKER", "DEVICE", "MODEL", "DTYPE", ">PLAN", ">RUNNING", ">CAPACITY", ">SEEN AGO"});
  for (const schema::WorkerInfo& worker : workers) {
    table.add({one_line(worker.name), one_line(worker.device), one_line(worker.model), one_line(worker.dtype),
               std::to_string(worker.plan), std::to_string(worker.running), std::to_string(worker.capacity),
               format_duration(static_cast<double>(worker.last_seen_ms))});
  }
  return table.text();
}

std::string engine_table(const std::vector<schema::WorkerInfo>& workers) {
  Table table({"WORKER", ">STEPS", ">PROMPT", ">OUTPUT", ">PREFILL/S", ">DECODE/S", ">ACTIVE", ">WAITING",
               ">KV USED", ">KV TOTAL", ">STATES USED", ">STATES TOTAL"});
  for (const schema::WorkerInfo& worker : workers) {
    const schema::EngineStats& engine = worker.engine;
    table.add({one_line(worker.name), format_count(engine.steps), format_count(engine.prompt_tokens),
               format_count(engine.output_tokens), fmt::format("{:.1f}", engine.prefill_tokens_per_s),
               fmt::format("{:.1f}", engine.decode_tokens_per_s), format_count(engine.sequences_running),
               format_count(engine.sequences_waiting), format_bytes(engine.kv_bytes_used),
               format_bytes(engine.kv_bytes_total), format_bytes(engine.state_bytes_used),
               format_bytes(engine.state_bytes_total)});
  }
  return table.text();
}

}  // namespace dslad::daemon::ctl
