#include <CLI/CLI.hpp>
#include <array>

#include "schema/duration.h"
#include "worker/tools/training_verbs.h"

namespace dslad::worker {

namespace {

// What a run with a budget decides by itself.
constexpr std::array kDecidedByBudget = {"--order",     "--layerwise-steps", "--chained-steps",
                                         "--stage",     "--joint-layerwise", "--from",
                                         "--warm-start"};

void add_budget_option(CLI::App& verb, TrainingArguments& a) {
  const auto milliseconds = [](std::string& text) -> std::string {
    const auto parsed = schema::parse_duration(text);
    if (!parsed) return parsed.error().message;
    text = std::to_string(*parsed);
    return {};
  };
  auto* budget =
      verb.add_option("--budget", a.budget_ms,
                      "time for all of the run, as in 20m, 3h or 1h30m: the order and the steps are "
                      "chosen by what this machine reaches in it");
  budget->transform(CLI::Validator(milliseconds, ""))->type_name("DURATION");
  for (const char* decided : kDecidedByBudget) budget->excludes(verb.get_option(decided));
}

}  // namespace

void add_training_options(CLI::App& verb, TrainingArguments& a) {
  verb.add_option("MODEL", a.model, "Hugging Face folder or GGUF file of a Llama")->required();
  verb.add_option("--text", a.data.files, "plain text, or qa and summarize files (JSONL)")->required();
  verb.add_option("--out", a.out, "the chain's folder; default: MODEL/dsla");
  verb.add_option("--order", a.order,
                  "entropy-ascending (the paper's), entropy-descending, kl, greedy, index, reverse, random, "
                  "or a file; default: the "
                  "folder's, else kl");
  verb.add_option("--variant", a.variant,
                  "what a converted layer computes: paper or dslad, perhaps with parts changed: "
                  "dslad,window=128; default: the variant of the chain that is gone on with, else dslad");
  verb.add_option("--sequence", a.sequence,
                  "tokens of a sequence, at most; default: 1024, or the model's context where that is less")
      ->check(CLI::Range(16, 1 << 20));
  verb.add_option("--questions", a.data.corpus.questions, "of a document, at most")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb.add_option("--document-weight", a.data.corpus.document_weight,
                  "of a document's tokens in the divergence; an answer's have 1")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  verb.add_option("--held-out-tokens", a.data.held_out_tokens, "kept from training, to measure on")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb.add_option("--target", a.target,
                  "of the layer-wise stage: attention (its output) or hidden (after the block)")
      ->check(CLI::IsMember({"attention", "hidden"}))
      ->capture_default_str();
  verb.add_option("--layerwise-steps", a.options.layerwise.steps, "of each layer")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb.add_option("--layerwise-rate", a.options.layerwise.rate,
                  "highest learning rate of the layer-wise stage")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb.add_option("--projection-rate", a.projection_rate,
                  "learning rate of q, k, v and o, which start from the teacher's, relative to the others'; "
                  "default: 0.3 where the variant has a window, else 1")
      ->check(CLI::Range(0.0, 1.0));
  verb.add_option("--batch-tokens", a.options.batch_tokens, "of one pass, about")
      ->check(CLI::Range(16, 1 << 24))
      ->capture_default_str();
  verb.add_option("--compute", a.compute, "type of the products' operands; sums and weights are float32")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->capture_default_str();
  verb.add_option("--threads", a.threads, "CPU threads; 0: one for each processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  verb.add_option("--seed", a.options.seed, "of all that is random")->capture_default_str();
  verb.add_flag("--json", a.json, "print JSON");
}

void add_sensitivity_options(CLI::App& verb, TrainingArguments& a) {
  verb.add_option("--students", a.students,
                  "keep the layers that were measured as a chain in this folder, for --warm-start of distil");
}

void add_distil_options(CLI::App& verb, TrainingArguments& a) {
  verb.add_option("--layer-variant", a.layer_variants,
                  "LAYER=VARIANT: what one layer is to compute instead, with the window, output norm and "
                  "mixtures of --variant, such as 1=dslad,delta=1,rotary=0; may be given again");
  auto* from =
      verb.add_option("--from", a.from, "folder of a chain whose order and first layers begin this one");
  verb.add_option("--keep", a.keep, "layers of --from that stay as they are; default: all")
      ->check(CLI::NonNegativeNumber)
      ->needs(from);
  verb.add_option("--warm-start", a.warm_start,
                  "folder of a chain: layers start from what it has of them, in the same variant");
  verb.add_option("--tasks", a.tasks, "more files, of the same kinds as those of --text");
  verb.add_option("--layers", a.layers, "to distil in all; 0: every layer")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb.add_option("--chained-steps", a.options.chained.steps, "of each layer")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb.add_option("--chained-rate", a.options.chained.rate, "highest learning rate of the chained stage")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb.add_option(
      "--stage", a.stages,
      "LOSS,steps=N[,rate=R][,above=KL][,text=FILE][,sequence=TOKENS]: a further stage of each layer "
      "(of those whose held-out KL is above KL); may be given again");
  verb.add_flag(
      "--joint-layerwise", a.options.joint_layerwise,
      "train the layer-wise stage of all layers at once, on the teacher's own hidden states: one pass "
      "of the teacher serves them all");
  auto* joint = verb.add_flag_callback(
      "--joint-chained", [&a] { a.joint_chained = 1; },
      "train the chained stage of all layers at once, after the last of them, each step one of "
      "--joint-plans in turn; --chained-steps is then of all");
  verb.add_flag_callback(
          "--no-joint-chained", [&a] { a.joint_chained = -1; },
          "with --budget: train the chained stage of each layer by itself")
      ->excludes(joint);
  verb.add_option("--joint-plans", a.options.joint_plans,
                  "plans that learn so, as in 8,15,22,30; default: quarters of the layers")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  verb.add_flag("!--keep-worse", a.options.undo_worse,
                "keep what a stage did even where held-out KL rose in it; by default it is undone");
  verb.add_option("--ce", a.options.losses.ce, "weight of the cross entropy")->capture_default_str();
  verb.add_option("--align", a.options.losses.align, "weight of the hidden state's error")
      ->capture_default_str();
  verb.add_option("--kl", a.options.losses.kl, "weight of KL(teacher || student)")->capture_default_str();
  verb.add_option("--accumulate", a.options.accumulation, "passes whose gradients make one step")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  verb.add_option("--store", a.stored, "type of the matrices in the layers' files")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->capture_default_str();
  verb.add_option("--checkpoint-seconds", a.checkpoint_seconds, "between two checkpoints")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb.add_flag("--resume", a.resume, "go on with the chain in the folder");
  add_budget_option(verb, a);
}

void add_report_options(CLI::App& verb, ReportArguments& a) {
  verb.add_option("CHAIN", a.chain, "a chain's folder, or a model's")->required();
  verb.add_option("--out", a.out, "the page; default: report.html beside the chain");
}

}  // namespace dslad::worker
