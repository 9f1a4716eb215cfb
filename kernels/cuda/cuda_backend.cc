#include "kernels/cuda/cuda_backend.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/rows.h"

namespace dslad::kernels::cuda {
namespace {

const RowMajorMatrix& on_device(const WeightMatrix& matrix) {
  return static_cast<const RowMajorMatrix&>(matrix);
}

template <class Piece>
std::int64_t most_rows(std::span<const Piece> pieces) {
  return std::ranges::max(pieces, {}, &Piece::rows).rows;
}

std::int64_t tokens_of(const AttentionPiece& piece) {
  return piece.context + piece.rows;
}

std::int64_t pages_of(std::int64_t tokens) {
  return (tokens + kPageTokens - 1) / kPageTokens;
}

// Of a sequence's pages in a step's arrays.
std::size_t pages_room(std::int64_t most_tokens) {
  return static_cast<std::size_t>(pages_of(most_tokens)) * sizeof(std::int32_t);
}

// Whole partitions, so that a sequence grows by many tokens before its step is another.
std::int64_t rounded_up(std::int64_t tokens) {
  return (tokens + kPartitionTokens - 1) / kPartitionTokens * kPartitionTokens;
}

// Of a step's arrays: ids, and of each layer positions, pieces and pages. Each of a call's arrays begins at
// a multiple of 16 bytes, and a layer has as many calls as its rows have plans: no more than sequences.
std::size_t array_bytes(const StepLimits& limits, std::int64_t pieces) {
  constexpr std::size_t kArray = 16, kArrays = 6;  // of each sequence, if no two of them share a call
  const auto rows = static_cast<std::size_t>(limits.rows),
             sequences = static_cast<std::size_t>(limits.sequences);
  const std::size_t of_sequence =
      pages_room(rounded_up(limits.context)) + sizeof(WindowPiece) + 2 * sizeof(DslaPiece) + kArrays * kArray;
  const std::size_t of_layer = rows * sizeof(std::int32_t) +
                               static_cast<std::size_t>(pieces) * sizeof(AttentionPiece) +
                               sequences * of_sequence;
  const std::size_t of_logits = 2 * sizeof(std::int64_t) + sizeof(SampleArgs) + sizeof(ChosenToken);
  return rows * sizeof(std::int32_t) + static_cast<std::size_t>(limits.layers) * of_layer +
         sequences * of_logits + kArrays * kArray;
}

}  // namespace

std::byte* CudaBackend::Scratch::reserve(Device& device, std::size_t bytes) {
  if (bytes <= bytes_) return memory_.get();
  constexpr std::size_t kLeast = std::size_t{1} << 16;
  if (take(device, std::max({bytes, 2 * bytes_, kLeast})) || take(device, bytes)) return memory_.get();
  return nullptr;
}

bool CudaBackend::Scratch::take(Device& device, std::size_t bytes) {
  if (bytes <= bytes_) return true;
  memory_.reset();  // waits for what still reads it
  memory_ = device.allocate(bytes);
  bytes_ = memory_ == nullptr ? 0 : bytes;
  return memory_ != nullptr;
}

CudaBackend::CudaBackend(CudaDevice& device, std::unique_ptr<Operations> operations)
    : device_(device),
      operations_(std::move(operations)),
      arrays_(device),
      later_(nullptr, [](std::byte*) {}) {}

// The largest of each kind, which are not of one step.
bool CudaBackend::reserve(const StepLimits& limits) {
  submit();
  // A sequence's last piece may be shorter than the others.
  const std::int64_t pieces = limits.sequences + limits.rows / device_.piece_rows();
  const std::int64_t partitions = rounded_up(limits.context) / kPartitionTokens;
  const int d = limits.kv.head_dim;
  const std::int64_t product_rows = std::max(kDecodeBlockRows, std::min(limits.rows, kMostBlockRows));
  const DslaShape states{limits.n_heads, limits.kv.n_kv, limits.most_d_k, d};
  bool enough = arrays_.reserve(array_bytes(limits, pieces));
  const auto take = [&](Scratch& scratch, std::size_t bytes) {
    enough = enough && scratch.take(device_, bytes);
  };
  take(workspace_, std::max({most_attention_workspace_bytes(limits.n_heads, d, limits.sequences, partitions),
                             dsla_workspace_bytes(states, limits.rows, limits.sequences),
                             delta_workspace_bytes(states, limits.rows, limits.sequences)}));
  take(rounded_, gemm_rounded_bytes(product_rows, limits.most_k, limits.weights));
  take(products_, gemm_results_bytes(limits.most_n));
  take(drawn_, static_cast<std::size_t>(limits.sequences) * sizeof(std::int32_t));
  take(nats_, static_cast<std::size_t>(limits.sequences) * sizeof(double));
  if (enough && !has_begun_ && later_ == nullptr && operations_->later_bytes() > 0) {
    later_ = device_.allocate(operations_->later_bytes());
    enough = later_ != nullptr;
  }
  return enough;
}

std::string_view CudaBackend::error() const {
  if (!operations_->error().empty()) return operations_->error();
  if (!device_.error().empty()) return device_.error();
  return out_of_memory_ ? "CUDA: the device has no memory for a step's own needs; lower --cache-mib" : "";
}

void CudaBackend::submit() {
  if (step_.empty()) return;
  later_.reset();
  has_begun_ = true;
  arrays_.send(*operations_);
  operations_->run(step_);
  step_.clear();
}

void CudaBackend::wait() {
  submit();
  operations_->wait();
}

bool CudaBackend::found(const void* memory) {
  if (memory == nullptr) out_of_memory_ = true;
  return !out_of_memory_;
}

template <class T>
const T* CudaBackend::stage(std::span<const T> values) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto [on_device, on_host] = arrays_.add(values.size_bytes());
  if (on_device != nullptr && !values.empty()) std::memcpy(on_host, values.data(), values.size_bytes());
  return reinterpret_cast<const T*>(on_device);
}

// The pieces, those that decode first, then the pages of each sequence, with room for as many as the longest
// may have. Pieces side by side that name the same pages share them. Pieces write before any attends, so
// their order is all the same.
const AttentionPiece* CudaBackend::stage_with_pages(std::span<const AttentionPiece> pieces,
                                                    std::int64_t most_tokens) {
  const auto is_another = [&](std::size_t i) { return i > 0 && pieces[i].pages != pieces[i - 1].pages; };
  std::size_t sequences = 1;
  for (std::size_t i = 0; i < pieces.size(); ++i) sequences += is_another(i) ? 1 : 0;
  const std::size_t room = pages_room(most_tokens);
  const auto [on_device, on_host] = arrays_.add(pieces.size_bytes() + sequences * room);
  if (on_device == nullptr) return nullptr;
  std::vector<AttentionPiece> staged(pieces.begin(), pieces.end());
  std::size_t at = pieces.size_bytes();
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (is_another(i)) at += room;
    std::memcpy(on_host + at, pieces[i].pages,
                static_cast<std::size_t>(pages_of(tokens_of(pieces[i]))) * sizeof(std::int32_t));
    staged[i].pages = reinterpret_cast<const std::int32_t*>(on_device + at);
  }
  std::stable_partition(staged.begin(), staged.end(), is_decode);  // clang 14 cannot do it by ranges
  std::memcpy(on_host, staged.data(), pieces.size_bytes());
  return reinterpret_cast<const AttentionPiece*>(on_device);
}

std::byte* CudaBackend::room(Scratch& scratch, std::size_t bytes) {
  if (!scratch.holds(bytes)) submit();
  return scratch.reserve(device_, bytes);
}

void CudaBackend::embed(std::span<const std::int32_t> ids, const WeightMatrix& table, float* out) {
  const RowMajorMatrix& rows = on_device(table);
  const std::int32_t* staged = stage(ids);
  const auto* drawn = reinterpret_cast<const std::int32_t*>(drawn_.data());
  if (found(staged))
    step_.add(EmbedArgs{staged, drawn, std::ssize(ids), rows.data(), rows.dtype(), rows.k(), out});
}

void CudaBackend::rms_norm(const RmsNormArgs& args) {
  step_.add(args);
}

void CudaBackend::gemm(const GemmArgs& args) {
  const RowMajorMatrix& w = on_device(*args.w);
  const std::int64_t rows = gemm_product_rows(args.blocks);
  if (rows == 0) return;
  std::byte* const rounded = room(rounded_, gemm_rounded_bytes(rows, w.k(), w.dtype()));
  if (!found(rounded)) return;
  const bool decodes =
      std::ranges::any_of(args.blocks, [](const RowBlock& block) { return block.kind == RowKind::kDecode; });
  std::byte* const results = decodes ? room(products_, gemm_results_bytes(w.n())) : nullptr;
  if (decodes && !found(results)) return;
  step_.add(GemmOnDevice{args.x, args.ldx, w.data(), w.dtype(), w.n(), w.k(), args.y, args.ldy,
                         args.accumulate, args.blocks, rounded, reinterpret_cast<float*>(results)});
}

void CudaBackend::bias(const BiasArgs& args) {
  step_.add(args);
}

void CudaBackend::rope(const RopeArgs& args) {
  RopeArgs staged = args;
  staged.positions = stage(std::span(args.positions, static_cast<std::size_t>(args.rows)));
  if (found(staged.positions))
    step_.add(RopeOnDevice{staged, args.table->cos(0), args.table->sin(0), args.table->half()});
}

void CudaBackend::attention(const AttentionArgs& args) {
  if (args.pieces.empty()) return;
  AttentionOnDevice step{args, most_rows(args.pieces), 0, nullptr, 0, 0};
  for (const AttentionPiece& piece : args.pieces)
    step.most_tokens = std::max(step.most_tokens, tokens_of(piece));
  step.most_tokens = rounded_up(step.most_tokens);
  step.decoding = std::ranges::count_if(args.pieces, is_decode);
  if (step.decoding > 0) {
    const int d = args.layout.head_dim;
    const std::int64_t partitions = most_partitions(args, step.most_tokens);
    step.at_once = pieces_at_once(args.n_heads, d, step.decoding, partitions);
    step.workspace = reinterpret_cast<float*>(
        room(workspace_, attention_workspace_bytes(args.n_heads, d, step.at_once, partitions)));
    if (!found(step.workspace)) return;
  }
  const AttentionPiece* pieces = stage_with_pages(args.pieces, step.most_tokens);
  if (!found(pieces)) return;
  step.args.pieces = {pieces, args.pieces.size()};
  step_.add(step);
}

void CudaBackend::window_attention(const WindowAttentionArgs& args) {
  if (args.pieces.empty()) return;
  WindowOnDevice step{args, most_rows(args.pieces)};
  const WindowPiece* pieces = stage(args.pieces);
  if (!found(pieces)) return;
  step.args.pieces = {pieces, args.pieces.size()};
  step_.add(step);
}

void CudaBackend::dsla(const DslaArgs& args) {
  by_forms<DslaOnDevice>(args, dsla_workspace_bytes);
}

void CudaBackend::delta_rule(const DeltaRuleArgs& args) {
  by_forms<DeltaRuleOnDevice>(args, delta_workspace_bytes);
}

// Single rows go by the recurrence, and so does a long piece's last part where it is a single row: they are
// pieces of a second call. What the first one works in is then for pieces of several rows alone, too.
template <class OnDevice, class Args>
void CudaBackend::by_forms(const Args& args, WorkspaceBytes workspace_bytes) {
  std::vector<DslaPiece> several, single;
  for (const DslaPiece& piece : args.pieces) {
    const std::int64_t alone = piece.rows % kPieceRows == 1 ? 1 : 0, before = piece.rows - alone;
    if (before > 0) several.push_back({piece.first_row, before, piece.state});
    if (alone > 0) single.push_back({piece.first_row + before, alone, piece.state});
  }
  std::ranges::sort(several, {}, &DslaPiece::first_row);
  by_form<OnDevice>(args, several, workspace_bytes);
  by_form<OnDevice>(args, single, workspace_bytes);
}

template <class OnDevice, class Args>
void CudaBackend::by_form(const Args& args, std::span<const DslaPiece> of_args,
                          WorkspaceBytes workspace_bytes) {
  if (of_args.empty()) return;
  OnDevice step{args, most_rows(of_args), nullptr, of_args.front().rows == 1};
  if (step.most_rows > 1) {
    const std::int64_t rows = of_args.back().first_row + of_args.back().rows;
    step.workspace =
        reinterpret_cast<float*>(room(workspace_, workspace_bytes(args.shape, rows, std::ssize(of_args))));
    if (!found(step.workspace)) return;
  }
  const DslaPiece* pieces = stage(of_args);
  if (!found(pieces)) return;
  step.args.pieces = {pieces, of_args.size()};
  step_.add(step);
}

void CudaBackend::feature_map(const FeatureMapArgs& args) {
  step_.add(args);
}

void CudaBackend::head_share(const HeadShareArgs& args) {
  step_.add(args);
}

void CudaBackend::swiglu(const SwiGluArgs& args) {
  step_.add(args);
}

void CudaBackend::gather(const GatherArgs& args) {
  if (args.rows.empty()) return;
  const std::int64_t* rows = stage(args.rows);
  if (found(rows)) step_.add(GatherOnDevice{{args.from, args.width, {rows, args.rows.size()}, args.to}});
}

void CudaBackend::narrow_heads(const NarrowHeadsArgs& args) {
  step_.add(args);
}

void CudaBackend::draw(std::span<const SampleArgs> rows) {
  const std::size_t bytes = rows.size() * sizeof(std::int32_t);
  auto* drawn = reinterpret_cast<std::int32_t*>(room(drawn_, bytes));
  if (!found(drawn)) return;
  const SampleArgs* staged = stage(rows);
  if (!found(staged)) return;
  step_.add(SampleOnDevice{staged, std::ssize(rows), drawn});
  submit();
  operations_->begin_read(drawn, bytes);
}

void CudaBackend::drawn(std::span<std::int32_t> tokens) {
  std::ranges::fill(tokens, kNoToken);  // unless the device says otherwise
  if (error().empty()) operations_->end_read(tokens.data());
}

void CudaBackend::log_probabilities(std::span<const ChosenToken> rows, std::span<double> nats) {
  std::ranges::fill(nats, 0.0);
  if (rows.empty()) return;
  auto* found_nats = reinterpret_cast<double*>(room(nats_, nats.size_bytes()));
  if (!found(found_nats)) return;
  const ChosenToken* staged = stage(rows);
  if (!found(staged)) return;
  step_.add(LogProbabilityOnDevice{staged, std::ssize(rows), found_nats});
  read(nats.data(), found_nats, nats.size_bytes());
}

void CudaBackend::copy(void* to, const void* from, std::size_t bytes) {
  submit();
  operations_->copy(to, from, bytes);
}

void CudaBackend::fill(void* at, std::byte value, std::size_t bytes) {
  submit();
  operations_->fill(at, value, bytes);
}

void CudaBackend::read(void* to, const void* from, std::size_t bytes) {
  submit();
  operations_->read(to, from, bytes);
}

}  // namespace dslad::kernels::cuda
