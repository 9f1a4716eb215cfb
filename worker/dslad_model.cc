// dslad-model: the offline tool over a model directory. Parses the command line and calls the verb.
#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <fmt/format.h>
#include <system_error>
#include <vector>

#include "kernels/gemm/weight_format.h"
#include "worker/model/device.h"
#include "worker/tools/training_verbs.h"
#include "worker/tools/verbs.h"

namespace {

using namespace dslad::worker;

CLI::App* add_verb(CLI::App& app, const char* name, const char* what, ToolOptions& options) {
  CLI::App* verb = app.add_subcommand(name, what);
  verb->add_option("MODEL", options.model, "Hugging Face folder or GGUF file of a Llama")->required();
  verb->add_option("--dtype", options.dtype, "what weights are held in; of the caches: f32, else bf16")
      ->check(CLI::IsMember(std::vector<std::string>(dslad::kernels::kWeightFormatNames.begin(),
                                                     dslad::kernels::kWeightFormatNames.end())))
      ->capture_default_str();
  verb->add_flag("--json", options.json, "print JSON");
  return verb;
}

void add_engine_options(CLI::App* verb, ToolOptions& options) {
  verb->add_option("--device", options.device, "where to run: cpu, or an NVIDIA GPU, cuda:N")
      ->check(check_device_name, "cpu, cuda or cuda:N")
      ->capture_default_str();
  verb->add_option("--threads", options.threads, "CPU threads; 0: one for each processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  verb->add_option("--plan", options.plan, "layers converted to DSLA, in the order of the model's chain")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--cache-mib", options.cache_mib, "memory for KV pages and DSLA states")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30))
      ->capture_default_str();
}

void add_eval_options(CLI::App* verb, EvalOptions& evaluation) {
  verb->add_option("FILES", evaluation.files, "text (*.txt), or JSONL of questions, summaries or choices")
      ->required();
  verb->add_option("--plans", evaluation.plans, "all, or some as in 0,4,6; plan 0 is always measured")
      ->excludes("--plan");
  verb->add_option("--limit", evaluation.limit, "items of each file, the first ones; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--max-tokens", evaluation.max_tokens, "of each generated answer")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  verb->add_option("--window", evaluation.window,
                   "tokens read at once for perplexity; 0: the model's context")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--stride", evaluation.stride, "tokens from window to window; 0: half a window")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--out", evaluation.out, "append each result to this file, as JSONL");
  verb->add_flag("--resume", evaluation.resume, "go on with what the results file holds")->needs("--out");
  verb->add_option("--seed", evaluation.seed, "of the bootstrap intervals")->capture_default_str();
  verb->add_flag("--write-chain", evaluation.write_chain,
                 "put what was measured into the chain's chain.json");
  verb->add_option("--chain", evaluation.chain, "the chain's folder; default: MODEL/dsla");
}

int run(int argc, char** argv) {
  CLI::App app("Looks into, runs and measures a Llama model directory.", "dslad-model");
  app.set_version_flag("--version", "dslad-model " DSLAD_VERSION);
  app.require_subcommand(1);
  ToolOptions options;

  bool prompt_tokens = false;
  add_verb(app, "inspect", "print the model's shape, size, memory per token and prompts", options)
      ->add_flag("--tokens", prompt_tokens, "print each task's prompt token by token");

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
  bench_verb
      ->add_option("--questions", benchmark.questions,
                   "ask so many, one by one, on a document of each of these lengths too")
      ->check(CLI::Range(0, 1000))
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

  EvalOptions evaluation;
  CLI::App* eval_verb =
      add_verb(app, "eval", "measure quality on files of text, questions or summaries", options);
  add_engine_options(eval_verb, options);
  add_eval_options(eval_verb, evaluation);

  TrainingArguments training;
  CLI::App* sensitivity_verb =
      app.add_subcommand("sensitivity", "measure each layer and decide the conversion order");
  add_training_options(*sensitivity_verb, training);
  add_sensitivity_options(*sensitivity_verb, training);
  CLI::App* distil_verb =
      app.add_subcommand("distil", "distil layers to dual-state linear attention, one by one");
  add_training_options(*distil_verb, training);
  add_distil_options(*distil_verb, training);
  ReportArguments page;
  CLI::App* report_verb = app.add_subcommand("report", "write a chain's story as one HTML page");
  add_report_options(*report_verb, page);
  ChainArguments chain;
  CLI::App* chain_verb = app.add_subcommand("chain", "a model's chain as one file, to serve it elsewhere");
  chain_verb->require_subcommand(1);
  CLI::App* export_verb = chain_verb->add_subcommand("export", "write the chain of MODEL to FILE, a tar");
  CLI::App* import_verb =
      chain_verb->add_subcommand("import", "check the chain in FILE and put it beside MODEL");
  for (CLI::App* verb : {export_verb, import_verb}) {
    verb->add_option("MODEL", chain.model, "Hugging Face folder or GGUF file of a Llama")->required();
    verb->add_option("FILE", chain.file, "the chain's file")->required();
    verb->add_flag("--json", chain.json, "print JSON");
  }
  import_verb->add_flag("--replace", chain.replace, "put it in the place of a chain that is there");
  app.footer("Example: dslad-model generate ./my-llama --prompt 'Once upon a time' --max-tokens 64");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (app.got_subcommand("inspect")) return inspect(options, prompt_tokens);
  if (app.got_subcommand(generate_verb)) return generate(options, generation);
  if (app.got_subcommand(eval_verb)) return eval(options, evaluation);
  if (app.got_subcommand(sensitivity_verb)) return sensitivity(training);
  if (app.got_subcommand(distil_verb)) return distil(training);
  if (app.got_subcommand(report_verb)) return report(page);
  if (app.got_subcommand(chain_verb))
    return chain_verb->got_subcommand(export_verb) ? chain_export(chain) : chain_import(chain);
  return bench(options, benchmark);
}

}  // namespace

int main(int argc, char** argv) {
  int status = 1;
  try {
    status = run(argc, argv);
  } catch (const std::exception& error) {  // what cannot be printed, above all
    fmt::print(stderr, "dslad-model: {}\n", error.what());
  }
  if (std::fflush(stdout) == 0 || errno == EPIPE)
    return status;  // a reader that went away is no error of ours
  fmt::print(stderr, "dslad-model: cannot write to standard output: {}\n",
             std::generic_category().message(errno));
  return status == 0 ? 1 : status;
}
