#include "worker/idle/idle_settings.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>

#include "worker/eval/eval_data.h"
#include "worker/files/file_stamp.h"
#include "worker/model/digest.h"

namespace dslad::worker {
namespace {

// What the worker gives `distil` itself.
constexpr std::array<std::string_view, 9> kOwnOptions = {
    "--text", "--out", "--from", "--keep", "--layers", "--resume", "--threads", "--json", "--help"};

Status check_options(const std::vector<std::string>& options) {
  for (const std::string& word : options) {
    const std::string_view name = std::string_view(word).substr(0, word.find('='));
    if (std::ranges::find(kOwnOptions, name) == kOwnOptions.end()) continue;
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("--distil-options: {} is the worker's to give; leave it out", name)};
  }
  return ok_status();
}

Status check_text(const std::string& path) {
  std::error_code missing;
  if (std::filesystem::is_regular_file(path, missing) && std::ifstream(path).good()) return ok_status();
  return Error{ErrorCode::kNotFound,
               fmt::format("--distil-text: {} is no file that can be read; name plain text, or files of "
                           "questions or summaries",
                           path)};
}

Status check_measured_on(const IdleSettings& settings) {
  bool generates = false;
  for (const std::string& path : settings.measured_on) {
    const auto data = load_eval_data(path);
    if (!data) return data.error().with_context("--distil-eval");
    generates = generates || data->kind == DataKind::kQa || data->kind == DataKind::kSummarize;
  }
  if (generates) return ok_status();
  return Error{
      ErrorCode::kInvalidArgument,
      "--distil-eval: a plan's quality is measured on answers; name a file of questions or summaries "
      "that is not among those it is distilled on"};
}

Result<std::string> fingerprint(const std::vector<std::string>& words, const std::vector<std::string>& files,
                                std::string_view option) {
  Digest digest;
  for (const std::string& word : words) digest.add(word + "\n");
  for (const std::string& file : files) {
    const auto stamp = FileStamp::of(file);
    if (!stamp) {
      return Error{ErrorCode::kNotFound, fmt::format("{}: {} is gone; put it back", option, file)};
    }
    digest.add(fmt::format("{} {} {}\n", file, stamp->bytes, stamp->modified_ns));
  }
  return digest.hex();
}

}  // namespace

std::vector<std::string> split_words(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

Status check_settings(const IdleSettings& settings) {
  Status status = check_options(settings.options);
  for (const std::string& text : settings.texts) {
    if (status) status = check_text(text);
  }
  return status ? check_measured_on(settings) : status;
}

Result<std::string> recipe_of(const IdleSettings& settings) {
  std::vector<std::string> words = settings.options;
  words.emplace_back(DSLAD_VERSION);  // whose defaults the options leave as they are
  return fingerprint(words, settings.texts, "--distil-text");
}

Result<std::string> measurement_of(const IdleSettings& settings) {
  return fingerprint({settings.dtype}, settings.measured_on, "--distil-eval");
}

}  // namespace dslad::worker
