// The folder in which a chain's next layers are made while the chain itself serves.
//
//   MODEL/dsla/idle/          locked by the worker that distils here
//     record.json             StageRecord; a stage without it is no stage
//     chain/                  what `dslad-model distil --out` writes
//     eval-N.jsonl            what `dslad-model eval --out` has measured of plan N so far
// Every change is a transaction: a kill at any moment leaves the state before it or after it. Thread safety:
// one thread.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"
#include "worker/files/folder_lock.h"
#include "worker/idle/next_step.h"

namespace dslad::worker {

class Stage {
 public:
  // `teacher_digest`: of the model's weights.
  Stage(const std::filesystem::path& model, std::string teacher_digest);

  // Takes the folder for this process, unless it has it already. kRefused: another worker has it.
  // kUnavailable: it cannot be made.
  Status take();

  // Fills in what lies on disk. Errors: the chain that serves cannot be read, or is of other weights.
  Status look(IdleFacts& facts) const;

  // Discards what there is, and begins anew.
  Status begin(const StageRecord& record);
  Status set_record(const StageRecord& record) const;
  // Puts the stage's layer into the chain that serves: its file, the log, then chain.json, which new jobs are
  // told apart by. kRefused when the chain is no longer the one that the stage continues, or someone distils
  // in its folder.
  Status publish(int plan) const;
  // Discards everything.
  Status clear();

  [[nodiscard]] const std::filesystem::path& served() const { return served_; }  // MODEL/dsla
  [[nodiscard]] std::filesystem::path chain() const { return folder_ / "chain"; }
  [[nodiscard]] std::filesystem::path results(int plan) const;
  void forget_results(int plan) const;

 private:
  Status discard() const;

  std::filesystem::path served_, folder_;
  std::string teacher_digest_;
  std::optional<FolderLock> lock_;
};

}  // namespace dslad::worker
