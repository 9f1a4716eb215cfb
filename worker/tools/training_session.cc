#include "worker/tools/training_session.h"

#include <algorithm>
#include <csignal>
#include <fmt/format.h>
#include <span>

#include "base/process/allowance.h"
#include "worker/files/json_file.h"
#include "worker/tools/options.h"
#include "worker/tools/status_line.h"
#include "worker/tools/variant_option.h"

namespace dslad::worker {
namespace {

constexpr std::size_t kEntropySequences = 64;
constexpr double kLowestRate = 0.01;  // of the highest
constexpr std::size_t kMaxOrderFileBytes = 1 << 20;

std::atomic<bool> stop_flag{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // set in a signal handler

void request_stop(int) {
  stop_flag = true;
}

// A list of layers as JSON, or a chain's manifest, whose order is taken.
Result<std::vector<int>> order_from_file(const std::filesystem::path& path, int layers) {
  if (path.filename() == "chain.json") {
    const auto manifest = load_chain_manifest(path.parent_path());
    if (!manifest) return manifest.error();
    return manifest->order;
  }
  const auto json = load_json(path, kMaxOrderFileBytes);
  if (!json) return json.error();
  std::vector<int> order;
  if (json->is_array()) {
    for (const auto& value : *json) order.push_back(value.is_number_integer() ? value.get<int>() : -1);
  }
  const auto checked = ConversionOrder::create(order);
  if (!checked || checked->layers() != layers) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{}: an order is a list that names each of the layers 0 to {} once{}",
                             path.string(), layers - 1, checked ? "" : ": " + checked.error().message)};
  }
  return order;
}

// `option`: what names the folder.
Status check_teacher(const ChainManifest& manifest, const std::string& digest,
                     const std::filesystem::path& dir, std::string_view option) {
  if (manifest.teacher_digest == digest) return ok_status();
  return Error{ErrorCode::kRefused,
               fmt::format("{}: this chain belongs to other weights (digest {}, the model's is {}); name "
                           "another {}",
                           dir.string(), manifest.teacher_digest, digest, option)};
}

// Tokens of a sequence: what `option` asked for, else `unasked`, which texts are cut shorter than where the
// model reads less.
Result<std::int64_t> sequence_length(std::string_view option, std::optional<std::int64_t> asked,
                                     std::int64_t unasked, const LlamaConfig& config) {
  if (!asked) return unasked;
  if (*asked <= config.context) return *asked;
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("{} {} is longer than the model's context, which is {} tokens; give at most that",
                           option, *asked, config.context)};
}

}  // namespace

const std::atomic<bool>& TrainingSession::stop_requested() {
  return stop_flag;
}

Result<std::unique_ptr<TrainingSession>> TrainingSession::open(TrainingArguments arguments) {
  std::unique_ptr<TrainingSession> session(new TrainingSession(std::move(arguments)));
  const Status loaded = session->load();
  if (!loaded) return loaded.error();
  std::signal(SIGINT, request_stop);
  std::signal(SIGTERM, request_stop);
  return session;
}

Status TrainingSession::load() {
  const auto compute = parse_dtype(arguments.compute);
  if (!compute) return compute.error();
  const auto target = parse_target(arguments.target);
  if (!target) return target.error();
  dir = arguments.out.empty() ? chain_folder(arguments.model) : std::filesystem::path(arguments.out);
  Status read = open_source();
  if (read) read = open_warm_start();
  if (read) read = read_variants();
  if (read) read = keep_variants();
  if (!read) return read;
  arguments.options.compute = *compute;
  arguments.options.target = *target;
  // With a window training starts close to the teacher: full steps would first lead away (docs/quality.md).
  arguments.options.projection_rate = arguments.projection_rate.value_or(variant.window > 0 ? 0.3 : 1.0);
  DistilOptions& options = arguments.options;
  if (options.joint_layerwise && options.layerwise.steps == 0) {
    return Error{ErrorCode::kInvalidArgument,
                 "--joint-layerwise is of the layer-wise stage, which --layerwise-steps 0 leaves out"};
  }
  Status joint = check_joint_chained();
  if (!joint) return joint;
  for (StageOptions* stage : {&options.layerwise, &options.chained}) {
    stage->lowest_rate = stage->rate * kLowestRate;
    stage->set_steps(stage->steps);
  }
  Status staged = read_stages();
  if (!staged) return staged;
  arguments.data.files.insert(arguments.data.files.end(), arguments.tasks.begin(), arguments.tasks.end());

  const int threads = arguments.threads > 0 ? arguments.threads : process::processor_allowance();
  backend = kernels::make_cpu_training_backend(threads);
  auto files = WeightFiles::open(arguments.model);
  if (!files) return files.error();
  weights = std::make_unique<WeightFiles>(*std::move(files));
  const auto teacher = load_teacher(arguments.model, *backend, *compute);
  if (!teacher) return teacher.error();
  DslaVariant held = variant;
  for (const auto& [layer, own] : layer_variants) {
    if (layer >= (*teacher)->config.layers) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("--layer-variant: layer {} is out of range; the model has {}", layer,
                               (*teacher)->config.layers)};
    }
    held = widest(held, own);
  }
  network = std::make_unique<Network>(*backend, *teacher, *compute, held);
  network->stop_when(stop_requested());
  const auto sequence =
      sequence_length("--sequence", arguments.sequence, arguments.data.corpus.sequence, (*teacher)->config);
  if (!sequence) return sequence.error();
  arguments.data.corpus.sequence = *sequence;
  auto loaded = load_training_data(arguments.model, (*teacher)->config, arguments.data);
  if (!loaded) return loaded.error();
  data = *std::move(loaded);
  fmt::print(stderr, "{} sequences, {} tokens to train on; {} sequences, {} tokens held out{}\n",
             data.training.size(), data.training_tokens, data.held_out.size(), data.held_out_tokens,
             data.too_long > 0 ? fmt::format("; {} documents or questions left out, longer than {} tokens",
                                             data.too_long, arguments.data.corpus.sequence)
                               : "");
  Status others = load_further((*teacher)->config);
  return others ? read_manifest() : others;
}

Status TrainingSession::check_joint_chained() {
  DistilOptions& options = arguments.options;
  options.joint_chained = arguments.joint_chained > 0;
  if (!options.joint_chained) {
    if (options.joint_plans.empty()) return ok_status();
    return Error{ErrorCode::kInvalidArgument,
                 "--joint-plans are of the chained stage of all layers at once; add --joint-chained"};
  }
  if (options.chained.steps == 0) {
    return Error{ErrorCode::kInvalidArgument,
                 "--joint-chained is of the chained stage; leave --chained-steps 0 out"};
  }
  std::ranges::sort(options.joint_plans);
  options.joint_plans.erase(std::unique(options.joint_plans.begin(), options.joint_plans.end()),
                            options.joint_plans.end());
  return ok_status();
}

// Whether the folder that `option` names is another than the chain's own.
Status TrainingSession::check_apart(std::string_view option, const std::string& folder) const {
  std::error_code missing;
  if (!std::filesystem::equivalent(folder, dir, missing)) return ok_status();
  return Error{
      ErrorCode::kInvalidArgument,
      fmt::format("{} {} is where the new chain would be written; name another --out", option, folder)};
}

Status TrainingSession::open_source() {
  if (arguments.from.empty()) return ok_status();
  if (!arguments.order.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 "--order: the chain that --from names has one; leave --order out"};
  }
  Status apart = check_apart("--from", arguments.from);
  if (!apart) return apart;
  auto opened = ChainSource::open(arguments.from, arguments.keep);
  if (!opened) return opened.error();
  source.emplace(*std::move(opened));
  return ok_status();
}

Status TrainingSession::open_warm_start() {
  if (arguments.warm_start.empty()) return ok_status();
  Status apart = check_apart("--warm-start", arguments.warm_start);
  if (!apart) return apart;
  auto learned = load_chain_manifest(arguments.warm_start);
  if (!learned) return learned.error();
  warm_start.emplace(LearnedChain{arguments.warm_start, *std::move(learned)});
  return ok_status();
}

// What is gone on with stays as it is, whatever today's default is: of --from, else of the chain in the
// folder, else of --warm-start.
Result<DslaVariant> TrainingSession::unasked_variant() const {
  if (source) return source->manifest().variant;
  const auto found = load_chain_manifest(dir);  // what is wrong with it read_manifest() will say
  if (found) return found->variant;
  return warm_start ? Result(warm_start->manifest.variant) : named_variant("dslad");
}

Status TrainingSession::read_variants() {
  auto named = arguments.variant.empty() ? unasked_variant() : parse_variant_option(arguments.variant);
  if (!named) return named.error();
  variant = *std::move(named);
  for (const std::string& text : arguments.layer_variants) {
    auto parsed = parse_layer_variant_option(text, variant);
    if (!parsed) return parsed.error();
    if (!fit_one_chain(variant, parsed->second)) {
      return Error{
          ErrorCode::kInvalidArgument,
          fmt::format("--layer-variant {}: it must begin with the name that the chain's {} begins with, "
                      "and have its window and sinks: window={},sinks={}",
                      text, variant.name, variant.window, variant.sinks)};
    }
    layer_variants.insert_or_assign(parsed->first, std::move(parsed->second));
  }
  return ok_status();
}

// The kept layers' variants stay what they are, whatever this run's is.
Status TrainingSession::keep_variants() {
  if (!source) return ok_status();
  for (const DistilledLayer& layer : source->kept()) {
    const DslaVariant& own = source->manifest().variant_of(layer);
    if (layer_variants.contains(layer.layer) && !(layer_variants.at(layer.layer) == own)) {
      return Error{ErrorCode::kInvalidArgument, fmt::format("--layer-variant: layer {} is kept from {} as {}",
                                                            layer.layer, arguments.from, own.name)};
    }
    if (!fit_one_chain(variant, own)) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("--variant {}: {} has layers of {}, which are kept: it must begin with their "
                               "name and have their window and sinks; leave --variant out for that",
                               arguments.variant, arguments.from, variant_option(own))};
    }
    if (!(own == variant)) layer_variants.insert_or_assign(layer.layer, own);
  }
  return ok_status();
}

Status TrainingSession::read_stages() {
  DistilOptions& options = arguments.options;
  for (const std::string& text : arguments.stages) {
    auto parsed = parse_stage_option(text);
    if (!parsed) return parsed.error();
    StageOptions& stage = parsed->stage.options;
    if (stage.rate == 0) stage.rate = options.stage(parsed->stage.loss).rate;
    stage.lowest_rate = stage.rate * kLowestRate;
    options.further.push_back(parsed->stage);
    stages_.push_back(*std::move(parsed));
  }
  return ok_status();
}

Status TrainingSession::load_further(const LlamaConfig& config) {
  for (const StageArgument& stage : stages_) {
    TrainingData& its = further.emplace_back();
    if (stage.files.empty()) continue;
    TrainingDataOptions options = arguments.data;
    options.files = stage.files;
    const auto sequence =
        sequence_length("--stage: sequence", stage.sequence, arguments.data.corpus.sequence, config);
    if (!sequence) return sequence.error();
    options.corpus.sequence = *sequence;
    auto loaded = load_training_data(arguments.model, config, options);
    if (!loaded) return loaded.error();
    its = *std::move(loaded);
    fmt::print(stderr, "{} of its own texts: {} sequences, {} tokens; {} sequences, {} tokens held out\n",
               arguments.options.stages()[1 + further.size()].name, its.training.size(), its.training_tokens,
               its.held_out.size(), its.held_out_tokens);
    data.held_out.insert(data.held_out.end(), std::make_move_iterator(its.held_out.begin()),
                         std::make_move_iterator(its.held_out.end()));
    its.held_out.clear();
  }
  return ok_status();
}

Status TrainingSession::read_manifest() {
  const Teacher& teacher = network->teacher();
  if (warm_start) {
    Status same = check_teacher(warm_start->manifest, teacher.digest, warm_start->dir, "--warm-start");
    if (!same) return same;
  }
  auto lock = FolderLock::take(dir);
  if (!lock) {
    const bool taken = lock.error().code == ErrorCode::kRefused;
    return Error{lock.error().code,
                 lock.error().message + (taken ? "; wait for it, or name another --out" : "")};
  }
  lock_.emplace(*std::move(lock));
  auto found = load_chain_manifest(dir);
  if (!found && found.error().code != ErrorCode::kNotFound) return found.error();
  if (found) {
    Status same = check_teacher(*found, teacher.digest, dir, "--out");
    if (!same) return same;
    manifest = *std::move(found);
    return ok_status();
  }
  manifest_is_new = true;
  return begin_manifest();
}

Status TrainingSession::begin_manifest() {
  const Teacher& teacher = network->teacher();
  if (source) {
    Status same = check_teacher(source->manifest(), teacher.digest, source->dir(), "--from");
    if (!same) return same;
    auto begun = source->begin(dir, variant);
    if (!begun) return begun.error();
    manifest = *std::move(begun);
  }
  manifest.teacher_digest = teacher.digest;
  manifest.layers = teacher.config.layers;
  manifest.program = "dslad-model";
  manifest.version = DSLAD_VERSION;
  if (!source) manifest.variant = variant;
  return ok_status();
}

LayerEvidence& TrainingSession::evidence(int layer) {
  for (LayerEvidence& found : manifest.evidence) {
    if (found.layer == layer) return found;
  }
  return manifest.evidence.emplace_back(LayerEvidence{layer, {}, {}});
}

SensitivitySetup TrainingSession::sensitivity_setup() const {
  return {&arguments.options, variant, data.training, data.held_out, {}, &stop_flag};
}

Status TrainingSession::measure(bool with_divergence) {
  std::vector<TrainingBatch> prompts = data.held_out;
  for (const TrainingBatch& sequence : data.training) {
    if (prompts.size() >= kEntropySequences) break;
    prompts.push_back(sequence);
  }
  fmt::print(stderr, "attention entropy over {} prompts\n", prompts.size());
  const auto entropy = measure_entropy(*network, prompts, &stop_requested());
  if (!entropy) return entropy.error();
  for (std::size_t layer = 0; layer < entropy->size(); ++layer) {
    evidence(static_cast<int>(layer)).entropy = (*entropy)[layer];
  }
  if (!with_divergence) return ok_status();

  StatusLine progress;
  SensitivitySetup setup = sensitivity_setup();
  setup.on_step = [&](const JointStep& step) {
    progress.show(fmt::format("each of {} layers alone: step {} of {}, mean loss {:.5g}", manifest.layers,
                              step.step, step.steps, step.losses.total));
  };
  auto alone = convert_alone(*backend, *network, *weights, setup);
  progress.clear();
  if (!alone) return alone.error();
  alone_ = *std::move(alone);
  take_divergences(alone_.kl);
  return ok_status();
}

void TrainingSession::take_divergences(const std::vector<double>& kl) {
  for (std::size_t layer = 0; layer < kl.size(); ++layer) evidence(static_cast<int>(layer)).kl = kl[layer];
}

Status TrainingSession::decide_order_by(const std::vector<double>& kl) {
  take_divergences(kl);
  return decide_order("kl");
}

Result<std::optional<std::vector<int>>> TrainingSession::order_in_file(const std::string& name) const {
  if (std::error_code hidden; !std::filesystem::exists(name, hidden))
    return std::optional<std::vector<int>>();
  auto order = order_from_file(name, manifest.layers);
  if (!order) return order.error();
  return std::optional(*std::move(order));
}

Status TrainingSession::check_order(const std::string& method) const {
  const auto in_file = order_in_file(method);
  if (!in_file) return in_file.error();
  return in_file->has_value() ? ok_status() : check_order_method(method);
}

Status TrainingSession::decide_order(const std::string& method) {
  auto in_file = order_in_file(method);
  if (!in_file) return in_file.error();
  auto decided = [&]() -> Result<std::vector<int>> {
    if (in_file->has_value()) return **in_file;
    if (method != "greedy")
      return order_by(method, manifest.evidence, manifest.layers, arguments.options.seed);
    if (alone_.students.empty()) {
      return Error{ErrorCode::kInvalidArgument, "the order 'greedy' needs every layer converted alone"};
    }
    StatusLine progress;
    auto order = greedy_order(*network, alone_, sensitivity_setup(), [&](std::size_t tried, std::size_t of) {
      progress.show(fmt::format("greedy order: {} of {} conversions measured", tried, of));
    });
    progress.clear();
    return order;
  }();
  if (!decided) return decided.error();
  manifest.order = *std::move(decided);
  manifest.order_method = in_file->has_value() ? "file" : method;
  return ok_status();
}

}  // namespace dslad::worker
