// dslad-worker: runs the daemon's jobs on one device. Parses the command line, loads the model, starts the
// loop.
#include <CLI/CLI.hpp>
#include <csignal>
#include <fmt/format.h>
#include <random>
#include <spdlog/spdlog.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "base/process/allowance.h"
#include "base/process/log.h"
#include "schema/endpoint.h"
#include "worker/config_file.h"
#include "worker/idle/stage.h"
#include "worker/model/device.h"
#include "worker/service/cache_budget.h"
#include "worker/service/worker.h"
#include "worker/tasks/prompt_notes.h"

namespace {

using namespace dslad;
using namespace dslad::worker;

constexpr int kWrongUsage = 2;  // systemd does not try again after it
// Of documents to distil on: what `dslad-model distil` makes of them takes some twenty times as much memory.
constexpr std::uint64_t kMostRecentMib = 128;

struct Options {
  std::string connect = schema::kDefaultWorkersUrl;
  keys::KeyFiles keys;
  std::string model;
  std::string device = "cpu";
  std::string dtype = "bf16";
  int threads = 0;
  std::uint32_t capacity = 16;
  std::int64_t cache_mib = 0;
  std::string prefix_cache = "on";
  int drain_s = 20;
  std::string log_level = "info";
  IdleSettings idle;  // without texts and recent documents: none
  std::uint64_t distil_recent_mib = 0;
  std::string distil_options;
  std::int64_t idle_memory_mib = 0;
  bool check_config = false;
};

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

std::string random_instance() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("--connect", options.connect, "the daemon's URL for workers")->capture_default_str();
  app.add_option("--server-key", options.keys.server,
                 "the daemon's public key, for tcp; default: ~/.config/dslad/server.pub")
      ->envname(keys::kServerKeyVariable);
  app.add_option("--key", options.keys.own, "the worker's own key, for tcp; default: ~/.config/dslad/key")
      ->envname(keys::kOwnKeyVariable);
  app.add_option("--model", options.model, "Hugging Face folder or GGUF file of a Llama")->required();
  app.add_flag("--check-config", options.check_config,
               "read the configuration, say whether it is right, and end")
      ->configurable(false);
  app.add_option("--device", options.device, "where to run: cpu, or an NVIDIA GPU, cuda:N")
      ->check(check_device_name, "cpu, cuda or cuda:N")
      ->capture_default_str();
  app.add_option("--dtype", options.dtype, "what weights are held in; of the caches: f32, else bf16")
      ->check(CLI::IsMember(
          std::vector<std::string>(kernels::kWeightFormatNames.begin(), kernels::kWeightFormatNames.end())))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "CPU threads; 0: one for each processor that it may use")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--capacity", options.capacity, "jobs to hold at once")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option(
         "--cache-mib", options.cache_mib,
         "memory for KV pages and DSLA states; 0: a quarter of what it may use, nine tenths of what is "
         "free on a GPU")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--prefix-cache", options.prefix_cache,
                 "keep what was read of documents, in memory of --cache-mib that no job needs")
      ->check(CLI::IsMember({"on", "off"}))
      ->capture_default_str();
  app.add_option("--drain-s", options.drain_s, "on SIGTERM, let running jobs finish for this many seconds")
      ->check(CLI::Range(0, 86400))
      ->capture_default_str();
  app.add_option("--log-level", options.log_level, "least level that is logged")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
}

// Distilling while there is nothing else to do.
void add_idle_options(CLI::App& app, Options& options) {
  IdleSettings& idle = options.idle;
  idle.cpus = std::max(1, process::processor_allowance() / 2);
  app.add_option("--distil-text", idle.texts,
                 "distil the chain's next layer on these files when the daemon has nothing to do");
  app.add_option(
         "--distil-recent", options.distil_recent_mib,
         "keep so many MiB of the latest jobs' documents beside the model, and distil on them; 0: none, "
         "and those that were kept are removed")
      ->check(CLI::Range(std::uint64_t{0}, kMostRecentMib))
      ->capture_default_str();
  app.add_option("--distil-eval", idle.measured_on,
                 "questions or summaries on which each new plan is measured");
  app.add_option("--distil-options", options.distil_options,
                 "more options of dslad-model distil, as one argument");
  app.add_option("--distil-layers", idle.layers, "to distil in all; 0: every layer")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--distil-min-quality", idle.min_quality,
                 "of a plan, relative to plan 0, below which it is not published")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--idle-cpus", idle.cpus, "processors that distilling may use; default: half of them")
      ->check(CLI::Range(1, 1024));
  app.add_option("--idle-memory-mib", options.idle_memory_mib,
                 "memory that distilling may use; 0: a quarter of what the worker may use")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 30))
      ->capture_default_str();
}

// What the options of distilling need of each other. Throws as parsing does.
void check_idle_options(const CLI::App& app, const Options& options) {
  const bool recent = options.distil_recent_mib > 0;
  if ((recent || !options.idle.texts.empty()) && options.idle.measured_on.empty()) {
    throw CLI::RequiresError(recent ? "--distil-recent" : "--distil-text", "--distil-eval");
  }
  // Where somebody has put it to 0, the rest may stay as it is.
  if (!options.idle.texts.empty() || app.count("--distil-recent") > 0) return;
  for (const char* option : {"--distil-eval", "--distil-options", "--distil-layers", "--distil-min-quality",
                             "--idle-cpus", "--idle-memory-mib"}) {
    if (app.count(option) > 0) throw CLI::RequiresError(option, "--distil-text or --distil-recent");
  }
}

// Loading can take minutes: the service manager hears every second that it goes on.
LoadProgress loading_progress(process::ServiceManager& manager) {
  return [&manager, last = std::chrono::steady_clock::time_point{}](double share) mutable {
    const auto now = std::chrono::steady_clock::now();
    if (now - last < std::chrono::seconds{1}) return;
    last = now;
    manager.extend_timeout(std::chrono::seconds{30});
    manager.status(fmt::format("loading weights: {:.0f}%", share * 100));
  };
}

schema::Hello introduce(const Options& options, const ModelFolder& model, const PlanControl& plans,
                        const Engine& engine) {
  schema::Hello hello;
  hello.name = fmt::format("{}:{}:{}", host_name(), getpid(), options.device);
  hello.instance = random_instance();
  hello.device = options.device;
  hello.model = model.name;
  hello.model_digest = model.weights->digest;
  hello.dtype = options.dtype;
  hello.layers = static_cast<std::uint32_t>(model.weights->config.layers);
  hello.context = static_cast<std::uint32_t>(model.weights->config.context);
  hello.capacity = options.capacity;
  schema::PlanTable table = plans.table();
  hello.edition = std::move(table.edition);
  hello.plans = std::move(table.plans);
  hello.layer_info = std::move(table.layer_info);
  hello.chain_fault = std::move(table.chain_fault);
  hello.cache_bytes =
      static_cast<std::uint64_t>(engine.caches().total_pages()) * engine.caches().page_bytes();
  hello.room = room_of(engine, *plans.in_force(), options.capacity, 0);
  return hello;
}

void report_chain(const LoadedChain& chain) {
  if (!chain.warning.empty()) spdlog::warn("{}", chain.warning);
  if (!chain.manifest) return;
  spdlog::info("conversion chain ({}): {} of {} layers distilled, {} MiB", chain.manifest->variants_text(),
               chain.layers.size(), chain.order.layers(), chain.bytes() >> 20);
}

MemoryUse memory_use(const ModelFolder& model, const kernels::Device& device, const EngineLimits& limits) {
  MemoryUse use;
  use.steps = Engine::bytes_beside(*model.weights, limits);
  if (const auto free = device.free_bytes()) {  // weights are there already
    use.available = *free;
    use.source = "free on the device";
    use.shared = false;
    return use;
  }
  const process::MemoryAllowance machine = process::memory_allowance();
  use.available = machine.bytes;
  use.source = machine.source;
  use.weights = model.weights->bytes() + model.chain.bytes();
  return use;
}

Result<std::size_t> cache_bytes_of(const Options& options, const MemoryUse& memory) {
  if (options.cache_mib == 0) return default_cache_bytes(memory);
  const std::size_t bytes = static_cast<std::size_t>(options.cache_mib) << 20;
  const std::string warning = cache_warning(memory, bytes);
  if (!warning.empty()) spdlog::warn("{}", warning);
  return bytes;
}

IdleSettings idle_settings(const Options& options) {
  IdleSettings settings = options.idle;
  settings.model = options.model;
  std::error_code unknown;  // then it cannot be started, which says why
  settings.tool = std::filesystem::read_symlink("/proc/self/exe", unknown).replace_filename("dslad-model");
  settings.dtype = options.dtype;
  settings.options = split_words(options.distil_options);
  settings.recent_budget = options.distil_recent_mib << 20;
  settings.memory_bytes = options.idle_memory_mib > 0
                              ? static_cast<std::size_t>(options.idle_memory_mib) << 20
                              : process::memory_allowance().bytes / 4;
  return settings;
}

// Documents are kept as long as somebody wants that, and no longer.
void remove_unwanted_documents(const Options& options) {
  if (options.distil_recent_mib > 0) return;
  const auto removed = erase_documents(options.model);
  if (!removed) {
    spdlog::warn("documents that --distil-recent has kept stay there: {}", removed.error().message);
  } else if (*removed) {
    spdlog::info("removed the documents that --distil-recent had kept beside the model");
  }
}

Result<std::unique_ptr<Worker>> start(const Options& options, process::ServiceManager& manager) {
  remove_unwanted_documents(options);
  const bool distils = !options.idle.texts.empty() || options.distil_recent_mib > 0;
  const IdleSettings settings = idle_settings(options);
  const Status sound = distils ? check_settings(settings) : ok_status();  // before gigabytes are read
  if (!sound) return sound.error();
  Result<std::optional<keys::ClientKeys>> keys = keys::keys_for(options.connect, options.keys);
  if (!keys) return keys.error();
  const kernels::WeightFormat format = *kernels::parse_weight_format(options.dtype);
  auto device = open_device(options.device, format);
  if (!device) return device.error();
  auto model = ModelFolder::load(options.model, format, loading_progress(manager), {}, *device);
  if (!model) return model.error();
  const int threads = options.threads > 0 ? options.threads : process::processor_allowance();
  auto backend = make_backend(**device, threads);
  if (!backend) return backend.error();
  EngineLimits limits;
  limits.prefix_snapshots = options.prefix_cache == "on";
  limits.widest = PlanSet(*model->weights, model->chain).largest_plan()->widths();
  const Status reserved =
      Engine::reserve(**backend, *model->weights, limits);  // before what is free is asked
  if (!reserved) return reserved.error();
  const MemoryUse memory = memory_use(*model, **device, limits);
  const Result<std::size_t> cache_bytes = cache_bytes_of(options, memory);
  if (!cache_bytes) return cache_bytes.error();
  limits.cache_bytes = *cache_bytes;
  auto engine = Engine::create(*std::move(backend), model->weights, limits);
  if (!engine) return engine.error();
  spdlog::info(
      "model {} ({} layers, {} MiB as {}) on {}, {} threads, {} MiB of caches and {} MiB for steps of {} MiB "
      "({})",
      model->name, model->weights->config.layers, model->weights->bytes() >> 20, options.dtype,
      (*device)->name(), threads, *cache_bytes >> 20, memory.steps >> 20, memory.available >> 20,
      memory.source);
  spdlog::info("{}", prompt_line(model->prompt, model->ends));
  for (const std::string& warning : model->prompt.warnings()) spdlog::warn("{}", warning);
  report_chain(model->chain);
  // The plans and the watch alone hold the chain: one that is replaced goes with the last job that uses it.
  LoadedChain chain =
      std::exchange(model->chain, LoadedChain::none(static_cast<int>(model->weights->layers.size())));
  // From here on a signal ends the worker in order; while it loads there is nothing to keep, it just dies.
  auto signals = process::StopSignals::open({SIGUSR2, SIGHUP});
  if (!signals) return signals.error();
  auto watch = std::make_unique<ChainWatch>(options.model, model->weights, chain);
  PlanControl plans(model->weights, std::move(chain));
  std::unique_ptr<IdleDistiller> idle;
  if (distils) {
    auto opened = IdleDistiller::open(settings, model->weights->digest, model->weights->config.layers);
    if (!opened) return opened.error();
    idle = *std::move(opened);
    for (const LayerNews& news : idle->news()) plans.mark(news);
  }
  auto link =
      DaemonLink::open(options.connect, introduce(options, *model, plans, **engine), std::move(keys).value());
  if (!link) return link.error();
  return std::make_unique<Worker>(*std::move(model), std::move(plans), std::move(watch), *std::move(engine),
                                  *std::move(link), std::move(idle), *std::move(signals), manager,
                                  WorkerLimits{options.capacity, std::chrono::seconds{options.drain_s}});
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Runs dslad's jobs on one device.", "dslad-worker");
  app.set_version_flag("--version", "dslad-worker " DSLAD_VERSION);
  Options options;
  add_options(app, options);
  add_idle_options(app, options);
  const auto file = std::make_shared<ConfigFile>(app);
  app.config_formatter(file);
  app.footer("Example: dslad-worker --connect ipc:///run/dslad/workers.sock --model ./my-llama --dtype bf16");
  try {
    app.parse(argc, argv);
    check_idle_options(app, options);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // help and version
    fmt::print(stderr, "dslad-worker: {}\n", file->explain(error));
    return kWrongUsage;
  }
  if (options.check_config) {
    fmt::print("ok\n");
    return 0;
  }
  process::start_logging("dslad-worker", options.log_level);
  process::ServiceManager manager;
  const auto worker = start(options, manager);
  if (!worker) {
    spdlog::error("{}", worker.error().message);
    return 1;
  }
  if (const Status ran = (*worker)->run(); !ran) {
    spdlog::error("{}", ran.error().message);
    return 1;
  }
  return 0;
}
