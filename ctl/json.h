// Messages as one line of JSON for --json. Keys and words are those of the wire (docs/protocol.md); optional
// members without a value are left out. Pure; safe from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "schema/client_messages.h"

namespace dslad::ctl {

// A line of `submit --json`.
struct SubmittedJob {
  schema::JobId id = 0;
  std::optional<bool> duplicate;               // true: the idempotency key was known, this is the first job
  std::optional<std::int64_t> finish_ms = {};  // when it is expected to end; absent: nothing is known

  static void fields(auto& self, auto& field) {
    field("id", self.id);
    field("duplicate", self.duplicate);
    field("finish_ms", self.finish_ms);
  }
};

// A line of `result --json`.
struct JobOutcome {
  const schema::JobResult& result;

  static void fields(auto& self, auto& field) {
    field("id", self.result.job.id);
    field("custom_id", self.result.job.custom_id);
    field("state", self.result.job.state);
    field("task", self.result.job.task);
    field("error", self.result.job.error);
    field("outputs", self.result.outputs);
    field("metrics", self.result.metrics);
    field("rerun", self.result.rerun);
  }
};

// A native line of a batch's output. It begins with custom_id: batch_line.cc counts on it.
struct BatchOutcome {
  const std::string& batch;  // its id
  const schema::JobResult& result;

  static void fields(auto& self, auto& field) {
    field("custom_id", self.result.job.custom_id);
    field("batch", self.batch);
    JobOutcome outcome{self.result};
    JobOutcome::fields(outcome, field);
  }
};

// A row of a batch file that was not submitted.
struct BadRow {
  std::uint64_t line = 0;
  std::string custom_id;
  Error error;

  static void fields(auto& self, auto& field) {
    field("line", self.line);
    field("custom_id", self.custom_id);
    field("code", self.error.code);
    field("message", self.error.message);
  }
};

// A line of `submit batch --json`.
struct SubmittedBatch {
  std::string id;
  std::uint64_t rows = 0;
  std::uint64_t submitted = 0;   // of these: jobs now in the queue, or known to it
  std::uint64_t duplicates = 0;  // of those: known before
  std::uint64_t bad = 0;
  std::vector<BadRow> errors;  // of the bad rows, the first

  static void fields(auto& self, auto& field) {
    field("id", self.id);
    field("rows", self.rows);
    field("submitted", self.submitted);
    field("duplicates", self.duplicates);
    field("bad", self.bad);
    field("errors", self.errors);
  }
};

// The line of `backup --json`.
struct SavedBackup {
  std::string file;
  std::uint64_t bytes = 0;
  std::string digest;

  static void fields(auto& self, auto& field) {
    field("file", self.file);
    field("bytes", self.bytes);
    field("digest", self.digest);
  }
};

// The line of `report --json`.
struct WrittenReport {
  std::string file;
  std::uint64_t bytes = 0;

  static void fields(auto& self, auto& field) {
    field("file", self.file);
    field("bytes", self.bytes);
  }
};

// What `keygen --json` made.
struct MadeKey {
  std::string file;
  std::string public_file;
  std::string public_key;

  static void fields(auto& self, auto& field) {
    field("file", self.file);
    field("public_file", self.public_file);
    field("public_key", self.public_key);
  }
};

// Instantiated in json.cc for what the verbs print. The line ends with a line break.
template <typename Message>
std::string to_json(const Message& message);

}  // namespace dslad::ctl
