// dslad-model: the offline tool over a model directory. Parses the command line and calls the verb.
#include <CLI/CLI.hpp>

#include "worker/tools/verbs.h"

namespace {

using namespace dslad::worker;

CLI::App* add_verb(CLI::App& app, const char* name, const char* what, ToolOptions& options) {
  CLI::App* verb = app.add_subcommand(name, what);
  verb->add_option("MODEL", options.model, "Hugging Face directory of a Llama")->required();
  verb->add_option("--dtype", options.dtype, "weights and KV cache are held in this type")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->capture_default_str();
  verb->add_flag("--json", options.json, "print JSON");
  return verb;
}

void add_engine_options(CLI::App* verb, ToolOptions& options) {
  verb->add_option("--threads", options.threads, "CPU threads; 0: one for each processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  verb->add_option("--plan", options.plan, "layers converted to DSLA (as initialised, not distilled)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--cache-mib", options.cache_mib, "memory for KV pages and DSLA states")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30))
      ->capture_default_str();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Looks into, runs and measures a Llama model directory.", "dslad-model");
  app.set_version_flag("--version", "dslad-model " DSLAD_VERSION);
  app.require_subcommand(1);
  ToolOptions options;

  add_verb(app, "inspect", "print the model's shape, size and memory per token", options);

  GenerateOptions generation;
  CLI::App* generate_verb = add_verb(app, "generate", "continue a prompt", options);
  add_engine_options(generate_verb, options);
  generate_verb->add_option("--prompt", generation.prompt, "the text to continue; - reads stdin")->required();
  generate_verb->add_option("--max-tokens", generation.max_tokens, "at most this many new tokens")
      ->capture_default_str();
  generate_verb->add_option("--temperature", generation.temperature, "0 is greedy")->capture_default_str();
  generate_verb
      ->add_option("--top-p", generation.top_p,
                   "sample among the likeliest tokens that reach this probability")
      ->capture_default_str();
  generate_verb->add_option("--seed", generation.seed, "of the sampling")->capture_default_str();

  BenchOptions benchmark;
  CLI::App* bench_verb = add_verb(app, "bench", "measure prefill and decode speed", options);
  add_engine_options(bench_verb, options);
  bench_verb->add_option("--prompt-tokens", benchmark.prompt_tokens, "prompt lengths to measure")
      ->delimiter(',')
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  bench_verb->add_option("--batch", benchmark.batches, "numbers of sequences that decode side by side")
      ->delimiter(',')
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  bench_verb->add_option("--context", benchmark.context, "tokens behind each decoding sequence")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  bench_verb->add_option("--steps", benchmark.steps, "decode steps to time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.footer("Example: dslad-model generate ./my-llama --prompt 'Once upon a time' --max-tokens 64");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (app.got_subcommand("inspect")) return inspect(options);
  if (app.got_subcommand(generate_verb)) return generate(options, generation);
  return bench(options, benchmark);
}
