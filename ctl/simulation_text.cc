// What was simulated, as people read it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ctl/format.h"
#include "ctl/simulation.h"
#include "ctl/table.h"

namespace dslad::ctl {
namespace {

std::string missed_text(const ContenderOutcome& one) {
  if (one.with_deadline == 0) return "";
  return fmt::format("{} of {}", format_count(one.missed), format_count(one.with_deadline));
}

// To a hundredth of a percent: policies differ by less than the whole ones.
std::string quality_text(const ContenderOutcome& one) {
  return one.quality ? fmt::format("{:.2f}%", 100 * *one.quality) : "-";
}

std::string table_of(const std::vector<ContenderOutcome>& outcomes) {
  Table table({"POLICY", ">JOBS", ">MAKESPAN", ">P50", ">P95", ">P99", ">LATE", ">QUALITY", ">CHANGES/H"});
  for (const ContenderOutcome& one : outcomes) {
    table.add({one.policy, format_count(one.jobs), format_duration(one.makespan_ms),
               format_duration(one.p50_ms), format_duration(one.p95_ms), format_duration(one.p99_ms),
               missed_text(one), quality_text(one), fmt::format("{:.1f}", one.changes_an_hour)});
  }
  table.drop_empty();
  return table.text();
}

}  // namespace

std::string simulation_text(const SimulationReport& report) {
  double simulated_ms = 0;
  double took_ms = 0;
  for (const ContenderOutcome& one : report.policies) {
    simulated_ms += one.makespan_ms;
    took_ms += one.took_ms;
  }
  std::string text =
      table_of(report.policies) +
      fmt::format("simulated {} of {} in {}\n", format_duration(simulated_ms),
                  report.workers.size() == 1 ? "a worker" : fmt::format("{} workers", report.workers.size()),
                  format_duration(took_ms));
  if (report.not_served > 0) {
    text += fmt::format("left out: {} of {} jobs, whose model no worker serves\n",
                        format_count(report.not_served), format_count(report.jobs));
  }
  if (report.too_large > 0) {
    text += fmt::format("left out: {} of {} jobs, which no worker's context takes\n",
                        format_count(report.too_large), format_count(report.jobs));
  }
  for (const std::string& worker : report.left_out)
    text += fmt::format("left out: worker {}, of whose speed nothing is known yet\n", one_line(worker));
  return text;
}

}  // namespace dslad::ctl
