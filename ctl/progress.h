// How far jobs are, for people: bars that are redrawn in place on a terminal, lines about changes elsewhere.
// It all goes to standard error, so that standard output holds results only. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "schema/client_messages.h"

namespace dslad::ctl {

// "prefill [#####.....]  512 of 1,024 tokens": how far a job is, in its state's words.
std::string progress_text(const schema::JobInfo& job);

// "[#####.....]"
std::string progress_bar(std::uint64_t done, std::uint64_t total);

// A line a running job, most recent last, at most `rows`, and one that counts all of them.
std::vector<std::string> progress_lines(const std::vector<schema::JobInfo>& jobs, std::size_t rows);

// Lines at the bottom of the terminal that the next show() replaces.
class LiveBlock {
 public:
  LiveBlock() = default;
  LiveBlock(const LiveBlock&) = delete;
  LiveBlock& operator=(const LiveBlock&) = delete;
  ~LiveBlock() { erase(); }

  void show(const std::vector<std::string>& lines);
  void erase();

 private:
  std::size_t shown_ = 0;  // lines on the screen
};

// Bars where standard error is a terminal; else one line each time that a job changes its state or phase.
class ProgressView {
 public:
  ProgressView();
  void update(const std::vector<schema::JobInfo>& jobs);
  void clear() { block_.erase(); }  // call before anything else is printed

  [[nodiscard]] bool live() const { return live_; }

 private:
  void print_changes(const std::vector<schema::JobInfo>& jobs);

  bool live_;
  LiveBlock block_;
  std::map<schema::JobId, std::pair<schema::JobState, schema::Phase>> printed_;
};

}  // namespace dslad::ctl
