#include "worker/idle/stage.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <system_error>

#include "worker/files/atomic_file.h"
#include "worker/files/json_fields.h"
#include "worker/files/json_file.h"
#include "worker/files/mapped_file.h"
#include "worker/files/read_file.h"
#include "worker/idle/recent_documents.h"
#include "worker/model/dsla_layer.h"

namespace dslad::worker {
namespace {

constexpr const char* kRecordFile = "record.json";
constexpr const char* kLogFile = "log.jsonl";
constexpr std::size_t kMaxRecordBytes = 1 << 16;
constexpr std::int64_t kMaxRecentBytes = std::int64_t{1} << 40;
constexpr std::size_t kMaxLogBytes = 64 << 20;
constexpr int kMostLayers = 1024;

Status remove_whole(const std::filesystem::path& path) {
  std::error_code failed;
  std::filesystem::remove_all(path, failed);
  if (!failed) return ok_status();
  return Error{ErrorCode::kUnavailable,
               fmt::format("{}: cannot remove it: {}", path.string(), failed.message())};
}

// What a kill leaves of a file that is written whole or not at all.
std::filesystem::path unfinished(std::filesystem::path file) {
  return file += ".tmp";
}

Result<std::optional<StageRecord>> load_record(const std::filesystem::path& path) {
  const auto json = load_json(path, kMaxRecordBytes);
  if (!json) {
    if (json.error().code == ErrorCode::kNotFound) return std::optional<StageRecord>();
    return json.error();
  }
  JsonFields fields(*json, path.string());
  fields.integer("format", 1, 1);
  StageRecord record;
  if (fields.find("keep") != nullptr) record.keep = static_cast<int>(fields.integer("keep", 0, kMostLayers));
  record.recipe = fields.text("recipe");
  record.measured = fields.text("measured", "");
  record.recent_bytes = static_cast<std::uint64_t>(fields.integer("recent_bytes", 0, kMaxRecentBytes, 0));
  if (!fields.status()) return fields.status().error();
  return std::optional(std::move(record));
}

// The chain of a folder; nothing where there is none.
Result<std::optional<ChainManifest>> load_manifest(const std::filesystem::path& dir) {
  auto manifest = load_chain_manifest(dir);
  if (manifest) return std::optional(*std::move(manifest));
  if (manifest.error().code == ErrorCode::kNotFound) return std::optional<ChainManifest>();
  return manifest.error();
}

Status copy_file(const std::filesystem::path& from, const DistilledLayer& layer,
                 const std::filesystem::path& to) {
  const auto file = open_dsla_layer(from, layer);
  if (!file) return file.error();
  return write_file(to / layer.file,
                    {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()});
}

// The stage's chain up to `plan`, with what is known of plans that were served before it.
ChainManifest up_to(ChainManifest staged, int plan, const std::optional<ChainManifest>& served) {
  staged.distilled.resize(static_cast<std::size_t>(plan));
  std::erase_if(staged.plans, [&](const PlanQuality& quality) {
    return quality.plan > plan || (served && served->quality_of(quality.plan) != nullptr);
  });
  if (served) staged.plans.insert(staged.plans.end(), served->plans.begin(), served->plans.end());
  std::ranges::sort(staged.plans, {}, &PlanQuality::plan);
  return staged;
}

}  // namespace

Stage::Stage(const std::filesystem::path& model, std::string teacher_digest)
    : served_(chain_folder(model)), folder_(served_ / "idle"), teacher_digest_(std::move(teacher_digest)) {}

Status Stage::take() {
  std::error_code missing;  // someone may have removed the folder, and with it what was locked
  if (lock_ && std::filesystem::exists(folder_, missing)) return ok_status();
  lock_.reset();
  auto lock = FolderLock::take(folder_);
  if (!lock) return lock.error();
  lock_.emplace(*std::move(lock));
  return ok_status();
}

Status Stage::look(IdleFacts& facts) const {
  auto published = load_manifest(served_);
  if (!published) return published.error();
  if (*published && (*published)->teacher_digest != teacher_digest_) {
    return Error{ErrorCode::kRefused,
                 fmt::format("{}: the chain is of other weights; remove it, or put its own weights here",
                             (served_ / kChainFile).string())};
  }
  facts.published = *std::move(published);
  auto record = load_record(folder_ / kRecordFile);
  if (!record) return record.error().with_context("remove the file to distil the layer anew");
  facts.record = *std::move(record);
  auto staged = load_manifest(chain());
  if (!staged)
    return staged.error().with_context(
        fmt::format("remove {} to distil the layer anew", (folder_ / kRecordFile).string()));
  facts.staged = *std::move(staged);
  if (facts.staged && facts.staged->teacher_digest != teacher_digest_) facts.staged.reset();
  std::error_code missing;
  facts.frozen = std::filesystem::exists(texts(), missing);
  return ok_status();
}

Status Stage::discard() const {
  // The record first: what is left without it is removed before the next one is written.
  Status removed = remove_whole(folder_ / kRecordFile);
  if (removed) removed = remove_whole(chain());
  if (removed) removed = remove_whole(unfinished(texts()));
  std::error_code failed;
  for (std::filesystem::directory_iterator entry(folder_, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    if (removed && entry->path().extension() == ".jsonl") removed = remove_whole(entry->path());
  }
  if (removed && failed && failed != std::errc::no_such_file_or_directory) {
    return Error{ErrorCode::kUnavailable,
                 fmt::format("{}: cannot be read: {}", folder_.string(), failed.message())};
  }
  return removed;
}

Status Stage::begin(StageRecord record, bool freeze) {
  Status discarded = discard();
  if (!discarded) return discarded;
  if (freeze) {
    const auto frozen = freeze_recent(recent(), texts());
    if (!frozen) return frozen.error();
    record.recent_bytes = *frozen;
  }
  return set_record(record);
}

Status Stage::set_record(const StageRecord& record) const {
  nlohmann::ordered_json json = {{"format", 1}, {"recipe", record.recipe}, {"measured", record.measured}};
  if (record.keep) json["keep"] = *record.keep;
  if (record.recent_bytes > 0) json["recent_bytes"] = record.recent_bytes;
  std::error_code failed;  // shows in writing
  std::filesystem::create_directories(folder_, failed);
  return write_file(folder_ / kRecordFile, json.dump(1) + "\n");
}

Status Stage::publish(int plan) const {
  const auto alone = FolderLock::take(served_);  // as `distil` does
  if (!alone) return alone.error();
  const auto staged = load_chain_manifest(chain());
  if (!staged) return staged.error();
  Status status = copy_file(chain(), staged->distilled.at(static_cast<std::size_t>(plan - 1)), served_);
  if (!status) return status;
  if (const auto log =
          read_file(chain() / kLogFile,
                    kMaxLogBytes)) {  // for people; not every chain has one, and a huge one stays behind
    status = write_file(served_ / kLogFile, *log);
    if (!status) return status;
  }
  return update_chain_manifest(served_, [&](const Result<ChainManifest>& stored) -> Result<ChainManifest> {
    std::optional<ChainManifest> served;
    if (stored) served = *stored;
    if (!stored && stored.error().code != ErrorCode::kNotFound) return stored.error();
    if (served ? !continues(*staged, *served) || static_cast<int>(served->distilled.size()) >= plan
               : plan != 1) {
      return Error{ErrorCode::kRefused,
                   fmt::format("{} was replaced meanwhile", (served_ / kChainFile).string())};
    }
    return up_to(*staged, plan, served);
  });
}

Status Stage::clear() {
  return discard();
}

std::filesystem::path Stage::results(int plan) const {
  return folder_ / fmt::format("eval-{}.jsonl", plan);
}

void Stage::forget_results(int plan) const {
  std::error_code ignored;  // then `eval` says what is wrong with them
  std::filesystem::remove(results(plan), ignored);
}

Result<bool> erase_documents(const std::filesystem::path& model) {
  const Stage stage(model, "");
  const std::filesystem::path recent = stage.recent(), texts = stage.texts();
  std::error_code missing;
  bool found = false;
  // Who keeps documents has locked the one folder, who distils on them the other.
  for (const auto& [folder, path] :
       {std::pair(recent, recent), {texts.parent_path(), texts}, {texts.parent_path(), unfinished(texts)}}) {
    if (!std::filesystem::exists(path, missing)) continue;
    const auto alone = FolderLock::take(folder);
    if (!alone) return alone.error();
    const Status removed = remove_whole(path);
    if (!removed) return removed.error();
    found = true;
  }
  return found;
}

}  // namespace dslad::worker
