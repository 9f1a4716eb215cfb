#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "worker/engine/plan.h"
#include "worker/model/digest.h"
#include "worker/model/loaded_chain.h"
#include "worker/model/weight_files.h"
#include "worker/tasks/prompt_notes.h"
#include "worker/tools/chain_summary.h"
#include "worker/tools/prompt_tokens.h"
#include "worker/tools/verbs.h"

namespace dslad::worker {
namespace {

struct Facts {
  std::int64_t parameters = 0;
  std::size_t file_bytes = 0;
  std::size_t kv_bytes_per_token = 0;    // all layers attention
  std::vector<std::size_t> state_bytes;  // by converted layer, for one sequence of any length
  std::int64_t window = 0, sinks = 0;    // tokens of exact attention that these bytes hold too
};

Facts facts_of(const LlamaConfig& c, const WeightFiles& files, kernels::WeightFormat format,
               const LoadedChain& chain) {
  Facts facts;
  for (const TensorView& tensor : files.tensors()) {
    facts.parameters += tensor.elements();
    facts.file_bytes += tensor.bytes.size();
  }
  facts.kv_bytes_per_token = kv_layout(c, kernels::compute_type(format)).page_bytes() / kernels::kPageTokens *
                             static_cast<std::size_t>(c.layers);
  for (const auto& converted : chain.by_layer()) {
    // Where the chain has none it would be an undistilled form.
    const SlotShape slot = slot_shape(c, converted == nullptr ? DslaVariant{} : converted->variant);
    facts.state_bytes.push_back(slot.bytes());
    facts.window = std::max(facts.window, slot.window.window);
    facts.sinks = std::max(facts.sinks, slot.window.sinks);
  }
  return facts;
}

// The digest is of every byte of the weights: only where there is a chain to hold against it.
LoadedChain chain_of(const ToolOptions& options, const LlamaConfig& config, const WeightFiles& files,
                     kernels::WeightFormat format) {
  std::error_code ignored;
  const bool there = std::filesystem::exists(chain_folder(options.model) / kChainFile, ignored);
  const std::string digest = there ? weights_digest(files) : std::string();
  return load_chain(options.model, ChainModel{config, digest, format, *kernels::cpu_device()});
}

// The prompts in force, and where they are wanted token by token.
struct Prompts {
  PromptTemplate prompt;
  std::vector<AnswerEndToken> ends;
  std::optional<std::vector<PromptListing>> listings;
};

Result<Prompts> prompts_of(const ToolOptions& options, const LlamaConfig& config, const Tokenizer& tokenizer,
                           bool tokens) {
  auto prompt = PromptTemplate::load(options.model, tokenizer);
  if (!prompt) return prompt.error();
  Prompts prompts{*std::move(prompt), {}, {}};
  prompts.ends = answer_ends(config.eos_token_ids, tokenizer, prompts.prompt);
  if (!tokens) return prompts;
  auto listings = list_prompts(prompts.prompt, tokenizer);
  if (!listings) return listings.error();
  prompts.listings = *std::move(listings);
  return prompts;
}

void print_json(const LlamaConfig& c, const Tokenizer& tokenizer, const Facts& facts, const Prompts& prompts,
                const LoadedChain& chain) {
  nlohmann::ordered_json out = {
      {"architecture", c.architecture},
      {"optional_parts", c.optional_parts()},
      {"parameters", facts.parameters},
      {"file_bytes", facts.file_bytes},
      {"layers", c.layers},
      {"hidden_size", c.hidden_size},
      {"intermediate_size", c.intermediate_size},
      {"heads", c.heads},
      {"kv_heads", c.kv_heads},
      {"head_dim", c.head_dim},
      {"vocab_size", c.vocab_size},
      {"tokenizer_vocab_size", tokenizer.vocab_size()},
      {"context", c.context},
      {"rope_theta", c.rope.theta},
      {"rope_type", c.rope.divisors.empty() ? to_text(c.rope.type) : "factors of the file"},
      {"rope_factor", c.rope.factor},
      {"tie_word_embeddings", c.tie_word_embeddings},
      {"kv_bytes_per_token", facts.kv_bytes_per_token},
      {"dsla_state_bytes", facts.state_bytes},
      {"dsla_window", facts.window},
      {"dsla_sinks", facts.sinks},
  };
  out["prompt"] = prompt_json(prompts.prompt, prompts.ends);
  if (prompts.listings) out["prompt"]["tokens"] = listing_json(*prompts.listings);
  out["chain"] = chain_json(chain);
  fmt::print("{}\n", out.dump());
}

void print_text(const LlamaConfig& c, const Tokenizer& tokenizer, const Facts& facts,
                kernels::WeightFormat caches) {
  const std::vector<std::string_view> parts = c.optional_parts();
  fmt::print("architecture   {}{}{}\n", c.architecture, parts.empty() ? "" : " with ",
             fmt::join(parts, ", "));
  fmt::print("parameters     {:.2f} M in {:.1f} MB of files\n", static_cast<double>(facts.parameters) / 1e6,
             static_cast<double>(facts.file_bytes) / 1e6);
  fmt::print("layers         {}\n", c.layers);
  fmt::print("hidden         {} (feed-forward {})\n", c.hidden_size, c.intermediate_size);
  fmt::print("heads          {} of {} (KV heads {})\n", c.heads, c.head_dim, c.kv_heads);
  fmt::print("vocabulary     {} (tokenizer {}), embeddings {}\n", c.vocab_size, tokenizer.vocab_size(),
             c.tie_word_embeddings ? "tied" : "untied");
  fmt::print("context        {} tokens, {}\n", c.context, c.rope.text());
  fmt::print("KV cache       {} bytes per token in {}\n", facts.kv_bytes_per_token, to_string(caches));
  const std::string sinks = facts.sinks > 0 ? fmt::format(" and the {} first", facts.sinks) : "";
  const std::string window =
      facts.window > 0 ? fmt::format(", a window of {} tokens{} included", facts.window, sinks) : "";
  const auto [least, most] = std::ranges::minmax(facts.state_bytes);
  fmt::print("DSLA state     {} bytes per sequence and converted layer{}\n",
             least == most ? fmt::format("{}", most) : fmt::format("{} to {}", least, most), window);
}

}  // namespace

int inspect(const ToolOptions& options, bool tokens) {
  const auto format = parse_format(options.dtype);
  if (!format) return fail(format.error());
  auto config = LlamaConfig::load(options.model);
  if (!config) return fail(config.error());
  const auto tokenizer = load_tokenizer(options.model);
  if (!tokenizer) return fail(tokenizer.error());
  const auto prompts = prompts_of(options, *config, **tokenizer, tokens);
  if (!prompts) return fail(prompts.error());
  const auto files = WeightFiles::open(options.model);
  if (!files) return fail(files.error());
  config->tie_word_embeddings = files->ties(config->tie_word_embeddings);
  const Status complete = check_weights(*config, *files);
  if (!complete) return fail(complete.error());
  const LoadedChain chain = chain_of(options, *config, *files, *format);
  const Facts facts = facts_of(*config, *files, *format, chain);
  if (options.json) {
    print_json(*config, **tokenizer, facts, *prompts, chain);
  } else {
    print_text(*config, **tokenizer, facts, kernels::format_of(kernels::compute_type(*format)));
    fmt::print("{}", prompt_text(prompts->prompt, prompts->ends));
    if (prompts->listings) fmt::print("{}", listing_text(*prompts->listings));
    fmt::print("{}", chain_text(chain));
  }
  return 0;
}

}  // namespace dslad::worker
