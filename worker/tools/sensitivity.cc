#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "worker/distill/student_chain.h"
#include "worker/files/folder_lock.h"
#include "worker/tools/options.h"
#include "worker/tools/training_session.h"

namespace dslad::worker {
namespace {

void print_evidence(const ChainManifest& manifest, bool json) {
  if (json) {
    nlohmann::ordered_json out = {{"order", {{"method", manifest.order_method}, {"layers", manifest.order}}}};
    for (const LayerEvidence& e : manifest.evidence) {
      nlohmann::ordered_json layer = {{"layer", e.layer}};
      if (e.entropy) {
        layer["entropy"] = {{"last", e.entropy->last},
                            {"last_spread", e.entropy->last_spread},
                            {"all", e.entropy->all},
                            {"heads", e.entropy->heads}};
      }
      if (e.kl) layer["kl"] = *e.kl;
      out["layers"].push_back(layer);
    }
    fmt::print("{}\n", out.dump());
    return;
  }
  fmt::print("{:>5}  {:>8}  {:>15}  {:>13}  {:>10}\n", "layer", "position", "entropy, last", "entropy, all",
             "kl alone");
  for (const LayerEvidence& e : manifest.evidence) {
    const auto place = std::ranges::find(manifest.order, e.layer) - manifest.order.begin();
    const std::string last =
        e.entropy ? fmt::format("{:.3f} +- {:.3f}", e.entropy->last, e.entropy->last_spread) : "-";
    fmt::print("{:>5}  {:>8}  {:>15}  {:>13}  {:>10}\n", e.layer, place, last,
               e.entropy ? fmt::format("{:.3f}", e.entropy->all) : "-",
               e.kl ? fmt::format("{:.5f}", *e.kl) : "-");
  }
  fmt::print("order by {}: {}\n", manifest.order_method, fmt::join(manifest.order, " "));
}

Status check_unsettled(const ChainManifest& manifest, const std::filesystem::path& dir) {
  if (manifest.distilled.empty()) return ok_status();
  return Error{
      ErrorCode::kRefused,
      fmt::format("{} holds distilled layers, whose order is settled; name another --out", dir.string())};
}

// Unless distilling has begun there meanwhile.
Status save_evidence(const TrainingSession& session) {
  return update_chain_manifest(
      session.dir, [&](const Result<ChainManifest>& stored) -> Result<ChainManifest> {
        const Status unsettled = stored ? check_unsettled(*stored, session.dir) : ok_status();
        return unsettled ? Result<ChainManifest>(session.manifest) : unsettled.error();
      });
}

// An error where the students would replace another chain.
Status check_students_folder(const TrainingSession& session) {
  const std::filesystem::path folder = session.arguments.students;
  std::error_code missing;
  if (!std::filesystem::exists(folder / kChainFile, missing) &&
      !std::filesystem::equivalent(folder, session.dir, missing))
    return ok_status();
  return Error{ErrorCode::kRefused,
               fmt::format("{} is a chain's folder already; name another --students", folder.string())};
}

// A folder for the students, locked. Looked at again once it is ours: another run may just have ended there.
Result<FolderLock> take_students_folder(const TrainingSession& session) {
  if (Status fit = check_students_folder(session); !fit) return fit.error();
  auto lock = FolderLock::take(session.arguments.students);
  if (!lock) return lock;
  if (Status fit = check_students_folder(session); !fit) return fit.error();
  return lock;
}

Status save_students(TrainingSession& session) {
  nlohmann::json recipe = session.arguments.options.to_json();
  for (const char* not_run : {"chained", "losses", "undo_worse"}) recipe.erase(not_run);
  recipe["data"] = session.data.description;
  return save_student_chain(session.arguments.students, session.manifest, recipe,
                            session.network->teacher().config, session.take_students());
}

}  // namespace

int sensitivity(TrainingArguments arguments) {
  auto opened = TrainingSession::open(std::move(arguments));
  if (!opened) return fail(opened.error());
  TrainingSession& session = **opened;
  Status status = check_unsettled(session.manifest, session.dir);
  if (!status) return fail(status.error());
  session.manifest.variant = session.variant;
  const bool with_divergence = session.arguments.options.layerwise.steps > 0;
  const std::string order = session.arguments.order.empty() ? "kl" : session.arguments.order;
  if (!with_divergence && (order == "kl" || order == "greedy")) {
    return fail(
        {ErrorCode::kInvalidArgument,
         fmt::format("the order '{}' needs each layer's divergence: give --layerwise-steps above 0, or "
                     "an order by entropy",
                     order)});
  }
  if (!with_divergence && !session.arguments.students.empty()) {
    return fail({ErrorCode::kInvalidArgument,
                 "--students: with --layerwise-steps 0 there are none; give steps, or leave --students out"});
  }
  status = session.check_order(order);
  std::optional<FolderLock> students;
  if (status && !session.arguments.students.empty()) {
    auto taken = take_students_folder(session);
    if (!taken) return fail(taken.error());
    students.emplace(*std::move(taken));
  }
  if (status) status = session.measure(with_divergence);
  if (status) status = session.decide_order(order);
  if (status) status = save_evidence(session);
  if (status && students) status = save_students(session);
  if (!status) return fail(status.error());
  print_evidence(session.manifest, session.arguments.json);
  fmt::print(stderr, "written to {}\n", (session.dir / "chain.json").string());
  return 0;
}

}  // namespace dslad::worker
