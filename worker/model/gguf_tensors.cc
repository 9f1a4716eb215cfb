#include "worker/model/gguf_tensors.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <optional>
#include <utility>

#include "worker/model/gguf_config.h"

namespace dslad::worker {
namespace {

using NamePair = std::pair<std::string_view, std::string_view>;  // GGUF's, Hugging Face's

constexpr std::array<NamePair, 3> kModelParts = {
    {{"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}}};

constexpr std::array<NamePair, 11> kLayerParts = {{{"attn_norm", "input_layernorm"},
                                                   {"attn_q", "self_attn.q_proj"},
                                                   {"attn_k", "self_attn.k_proj"},
                                                   {"attn_v", "self_attn.v_proj"},
                                                   {"attn_output", "self_attn.o_proj"},
                                                   {"attn_q_norm", "self_attn.q_norm"},
                                                   {"attn_k_norm", "self_attn.k_norm"},
                                                   {"ffn_norm", "post_attention_layernorm"},
                                                   {"ffn_gate", "mlp.gate_proj"},
                                                   {"ffn_up", "mlp.up_proj"},
                                                   {"ffn_down", "mlp.down_proj"}}};

// GGUF's numbers of types. Those without a StoredType are named all the same, to be refused by name.
struct GgufType {
  std::uint32_t number;
  std::string_view name;
  std::optional<StoredType> type;
};
constexpr std::array<GgufType, 33> kGgufTypes = {{{0, "F32", StoredType::kF32},
                                                  {1, "F16", StoredType::kF16},
                                                  {2, "Q4_0", StoredType::kQ4_0},
                                                  {3, "Q4_1", StoredType::kQ4_1},
                                                  {6, "Q5_0", StoredType::kQ5_0},
                                                  {7, "Q5_1", StoredType::kQ5_1},
                                                  {8, "Q8_0", StoredType::kQ8_0},
                                                  {9, "Q8_1", {}},
                                                  {10, "Q2_K", {}},
                                                  {11, "Q3_K", {}},
                                                  {12, "Q4_K", StoredType::kQ4K},
                                                  {13, "Q5_K", StoredType::kQ5K},
                                                  {14, "Q6_K", StoredType::kQ6K},
                                                  {15, "Q8_K", {}},
                                                  {16, "IQ2_XXS", {}},
                                                  {17, "IQ2_XS", {}},
                                                  {18, "IQ3_XXS", {}},
                                                  {19, "IQ1_S", {}},
                                                  {20, "IQ4_NL", {}},
                                                  {21, "IQ3_S", {}},
                                                  {22, "IQ2_S", {}},
                                                  {23, "IQ4_XS", {}},
                                                  {24, "I8", StoredType::kI8},
                                                  {25, "I16", StoredType::kI16},
                                                  {26, "I32", StoredType::kI32},
                                                  {27, "I64", StoredType::kI64},
                                                  {28, "F64", StoredType::kF64},
                                                  {29, "IQ1_M", {}},
                                                  {30, "BF16", StoredType::kBf16},
                                                  {34, "TQ1_0", {}},
                                                  {35, "TQ2_0", {}},
                                                  {39, "MXFP4", {}},
                                                  {40, "NVFP4", {}}}};

std::string_view mapped(std::span<const NamePair> names, std::string_view gguf_name) {
  const auto found = std::ranges::find(names, gguf_name, &NamePair::first);
  return found == names.end() ? std::string_view{} : found->second;
}

// "blk.3.attn_q" -> 3, "attn_q"
std::optional<std::pair<int, std::string_view>> layer_part(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  int layer = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  const auto digits = static_cast<std::size_t>(end - name.data());
  if (error != std::errc{} || layer < 0 || digits == name.size() || name[digits] != '.') return std::nullopt;
  return std::pair(layer, name.substr(digits + 1));
}

// llama.cpp rotates neighbouring channels where the model's architecture is Llama's (Mistral and SmolLM3
// count as such); the files hold the rows of q and k so that this comes to the same.
int interleaved_heads(const GgufFile& model, std::string_view part) {
  const std::string_view architecture = gguf_architecture(model);
  if (architecture != "llama" && architecture != "smollm3") return 0;
  const char* const key = part == "attn_q"   ? "attention.head_count"
                          : part == "attn_k" ? "attention.head_count_kv"
                                             : nullptr;
  if (key == nullptr) return 0;
  return static_cast<int>(
      gguf_integer(model, key).value_or(gguf_integer(model, "attention.head_count").value_or(0)));
}

class TensorReader {
 public:
  TensorReader(const GgufFile& file, const GgufFile& model, std::string_view name)
      : file_(file), model_(model), name_(name) {}

  Result<TensorView> view(const GgufTensor& tensor) const {
    const auto type = std::ranges::find(kGgufTypes, tensor.type, &GgufType::number);
    if (type == kGgufTypes.end() || !type->type) {
      return Error{
          ErrorCode::kInvalidArgument,
          fmt::format(
              "{}: tensor \"{}\" is stored as {}; dslad reads F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, "
              "Q5_1, Q4_K, Q5_K and Q6_K: take a file of one of these, such as Q4_K_M",
              name_, tensor.name,
              type == kGgufTypes.end() ? fmt::format("type {}", tensor.type) : std::string(type->name))};
    }
    const StoredBlock block = block_of(*type->type);
    TensorView view{
        hugging_face_name(tensor.name), *type->type, {tensor.sizes.rbegin(), tensor.sizes.rend()}, {}};
    if (tensor.sizes.front() % block.values != 0) {
      return corrupt(tensor, fmt::format("has rows of {} values, which {} stores by {}", tensor.sizes.front(),
                                         type->name, block.values));
    }
    const auto blocks = static_cast<std::uint64_t>(view.elements() / block.values);
    std::uint64_t bytes = 0;
    if (__builtin_mul_overflow(blocks, block.bytes, &bytes) || bytes > file_.data().size() - tensor.offset) {
      return corrupt(tensor, fmt::format("ends beyond the {} bytes of data", file_.data().size()));
    }
    view.bytes =
        file_.data().subspan(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(bytes));
    return order_rows(tensor, std::move(view));
  }

  // Each byte of the data belongs to one tensor at most.
  [[nodiscard]] Status check_overlap(std::vector<const TensorView*> views) const {
    std::ranges::sort(views, {}, [](const TensorView* view) { return view->bytes.data(); });
    const std::byte* end = file_.data().data();
    for (const TensorView* view : views) {
      if (view->bytes.empty()) continue;
      if (view->bytes.data() < end) {
        return Error{
            ErrorCode::kCorrupt,
            fmt::format("{}: tensor \"{}\" lies upon another; fetch the file again", name_, view->name)};
      }
      end = view->bytes.data() + view->bytes.size();
    }
    return ok_status();
  }

 private:
  [[nodiscard]] Error corrupt(const GgufTensor& tensor, std::string_view what) const {
    return {ErrorCode::kCorrupt,
            fmt::format("{}: tensor \"{}\" {}; fetch or convert the file again", name_, tensor.name, what)};
  }

  Result<TensorView> order_rows(const GgufTensor& tensor, TensorView view) const {
    const std::size_t ending = tensor.name.rfind('.');
    const auto part = layer_part(tensor.name.substr(0, ending));
    view.interleaved_heads = part ? interleaved_heads(model_, part->second) : 0;
    const std::int64_t rows = view.shape.front();
    if (view.interleaved_heads < 0 ||
        (view.interleaved_heads > 0 && rows % (2 * view.interleaved_heads) != 0)) {
      return corrupt(tensor, fmt::format("has {} rows for {} heads", rows, view.interleaved_heads));
    }
    return view;
  }

  const GgufFile& file_;
  const GgufFile& model_;
  std::string_view name_;
};

}  // namespace

std::string hugging_face_name(std::string_view gguf_name) {
  const std::size_t dot = gguf_name.rfind('.');
  if (dot == std::string_view::npos) return std::string(gguf_name);
  const std::string_view stem = gguf_name.substr(0, dot),
                         ending = gguf_name.substr(dot);  // ".weight", ".bias"
  if (const auto part = layer_part(stem)) {
    const std::string_view name = mapped(kLayerParts, part->second);
    if (!name.empty()) return fmt::format("model.layers.{}.{}{}", part->first, name, ending);
  }
  const std::string_view name = mapped(kModelParts, stem);
  return name.empty() ? std::string(gguf_name) : fmt::format("{}{}", name, ending);
}

Result<std::vector<TensorView>> gguf_tensors(const GgufFile& file, const GgufFile& model,
                                             std::string_view name) {
  const TensorReader reader(file, model, name);
  std::vector<TensorView> views;
  views.reserve(file.tensors().size());
  for (const GgufTensor& tensor : file.tensors()) {
    auto view = reader.view(tensor);
    if (!view) return view.error();
    views.push_back(*std::move(view));
  }
  std::vector<const TensorView*> pointers;
  pointers.reserve(views.size());
  for (const TensorView& view : views) pointers.push_back(&view);
  const Status apart = reader.check_overlap(std::move(pointers));
  if (!apart) return apart.error();
  return views;
}

}  // namespace dslad::worker
