// The documents that a worker was given of late. It keeps what it has read for a while
// (worker/engine/prefix_snapshots.h), on the plan on which it has read it, and reads them no second time. How
// long is its own affair; what is expected of it here follows from how often it had still known what it was
// believed to know. Plain bookkeeping. Socket thread only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/policy/facts.h"
#include "schema/reports.h"

namespace dslad::daemon {

class KnownDocuments {
 public:
  void given(std::int64_t document);  // 0: the job has none
  // A job on it has ended; by its metrics.
  void read(std::int64_t document, const schema::JobMetrics& metrics);

  // The latest last.
  [[nodiscard]] const std::vector<std::int64_t>& names() const { return names_; }
  // With what is expected to be there still of those that have been read. Plans above 0 of another edition of
  // the chain are of no use.
  [[nodiscard]] std::vector<policy::ReadDocument> on_plans_of(const std::string& edition) const;

 private:
  struct Reading {
    policy::ReadDocument what;
    std::string edition;
  };
  [[nodiscard]] bool holds(const Reading& reading, std::int64_t document, const schema::JobMetrics& on) const;

  std::vector<std::int64_t> names_;
  std::vector<Reading> readings_;  // of documents in `names_`, one a plan; the latest last
  // Of documents that came again, those that were still known. Nothing is believed before it was seen.
  double kept_ = 0;
  int seen_again_ = 0;
};

}  // namespace dslad::daemon
