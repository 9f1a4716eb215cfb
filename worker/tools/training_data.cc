#include "worker/tools/training_data.h"

#include <algorithm>
#include <fmt/format.h>

#include "worker/eval/eval_data.h"
#include "worker/text/prompt.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {
namespace {

// Adds a document with the questions that have an answer.
Status add_document(Corpus& corpus, const PromptTemplate& prompt, const EvalDocument& document) {
  TaskExample example{document.document, {}};
  for (const EvalItem& item : document.items) {
    if (item.references.empty()) continue;
    const PromptText text =
        item.question ? prompt.qa(document.document, *item.question) : prompt.summarize(document.document);
    example.items.push_back({text, item.references.front()});
  }
  return corpus.add_task(example);
}

Status add_file(Corpus& corpus, const PromptTemplate& prompt, const EvalData& data) {
  if (data.kind == DataKind::kChoice) {
    return Error{ErrorCode::kInvalidArgument,
                 data.file + ": a file of choices cannot be trained on; name text, qa or summarize files"};
  }
  for (const std::string& text : data.texts) {
    Status added = corpus.add_text(text);
    if (!added) return added;
  }
  for (const EvalDocument& document : data.documents) {
    const Status added = add_document(corpus, prompt, document);
    if (!added) return added.error().with_context(fmt::format("{}: document '{}'", data.file, document.id));
  }
  return ok_status();
}

// Every n-th sequence is held out, n such that about the wanted number of tokens comes together.
void divide(const std::vector<TrainingBatch>& sequences, std::int64_t tokens, std::int64_t wanted,
            TrainingData& data) {
  constexpr std::size_t kLargestShare = 5;
  const auto every =
      std::clamp<std::size_t>(static_cast<std::size_t>(tokens / std::max<std::int64_t>(1, wanted)),
                              std::min(kLargestShare, sequences.size()), sequences.size());
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const bool held = i % every == every / 2;
    (held ? data.held_out : data.training).push_back(sequences[i]);
    (held ? data.held_out_tokens : data.training_tokens) += sequences[i].rows();
  }
}

}  // namespace

Result<TrainingData> load_training_data(const std::filesystem::path& model, const LlamaConfig& config,
                                        const TrainingDataOptions& options) {
  const auto tokenizer = load_tokenizer(model);
  if (!tokenizer) return tokenizer.error();
  const auto prompt = PromptTemplate::load(model, **tokenizer);
  if (!prompt) return prompt.error();
  Corpus corpus(**tokenizer, *prompt, config, options.corpus);
  TrainingData data;
  auto files = nlohmann::ordered_json::array();
  for (const std::string& path : options.files) {
    const auto file = load_eval_data(path);
    if (!file) return file.error();
    const Status added = add_file(corpus, *prompt, *file);
    if (!added) return added.error().with_context(path);
    files.push_back({{"file", std::filesystem::path(path).filename().string()}, {"digest", file->digest}});
  }
  if (corpus.sequences().size() < 2) {
    return Error{
        ErrorCode::kInvalidArgument,
        fmt::format(
            "{} holds {} sequence(s) of at most {} tokens ({} left out as too long); at least two are "
            "needed, one of them to be held out: name more text, or change --sequence",
            options.files.empty() ? "no file" : fmt::format("{}", fmt::join(options.files, ", ")),
            corpus.sequences().size(), options.corpus.sequence, corpus.too_long())};
  }
  divide(corpus.sequences(), corpus.tokens(), options.held_out_tokens, data);
  data.too_long = corpus.too_long();
  data.description = {{"files", files},
                      {"sequence", options.corpus.sequence},
                      {"questions", options.corpus.questions},
                      {"document_weight", options.corpus.document_weight},
                      {"training_tokens", data.training_tokens},
                      {"held_out_tokens", data.held_out_tokens}};
  return data;
}

}  // namespace dslad::worker
