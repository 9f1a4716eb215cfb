// The folder in which a chain's next layers are made while the chain itself serves.
//
//   MODEL/dsla/idle/          locked by the worker that distils here
//     record.json             StageRecord; a stage without it is no stage
//     texts.jsonl             recent documents as they were when it began, where it is distilled on them
//     chain/                  what `dslad-model distil --out` writes
//     eval-N.jsonl            what `dslad-model eval --out` has measured of plan N so far
//     recent/                 documents of the latest jobs (recent_documents.h); no part of the stage
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

  // Discards what there is, and begins anew: with the recent documents of now where `freeze` says so, whose
  // size the record then tells.
  Status begin(StageRecord record, bool freeze = false);
  Status set_record(const StageRecord& record) const;
  // Puts the stage's layer into the chain that serves: its file, the log, then chain.json, which new jobs are
  // told apart by. kRefused when the chain is no longer the one that the stage continues, or someone distils
  // in its folder.
  Status publish(int plan) const;
  // Discards everything.
  Status clear();

  [[nodiscard]] const std::filesystem::path& served() const { return served_; }  // MODEL/dsla
  [[nodiscard]] std::filesystem::path chain() const { return folder_ / "chain"; }
  [[nodiscard]] std::filesystem::path texts() const { return folder_ / "texts.jsonl"; }
  [[nodiscard]] std::filesystem::path recent() const { return folder_ / "recent"; }
  [[nodiscard]] std::filesystem::path results(int plan) const;
  void forget_results(int plan) const;

 private:
  Status discard() const;

  std::filesystem::path served_, folder_;
  std::string teacher_digest_;
  std::optional<FolderLock> lock_;
};

// Removes what documents were kept beside the model, and what was made of them to distil on: for a worker
// that keeps none. Whether there was anything. kRefused: another process works with them; kUnavailable: they
// cannot be removed. REQUIRES: this process has no stage of the model.
Result<bool> erase_documents(const std::filesystem::path& model);

}  // namespace dslad::worker
