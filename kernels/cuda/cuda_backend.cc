#include "kernels/cuda/cuda_backend.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

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

std::int64_t pages_of(const AttentionPiece& piece) {
  return (tokens_of(piece) + kPageTokens - 1) / kPageTokens;
}

}  // namespace

std::byte* CudaBackend::Scratch::reserve(Device& device, std::size_t bytes) {
  if (bytes <= bytes_) return memory_.get();
  constexpr std::size_t kLeast = std::size_t{1} << 16;
  memory_.reset();  // waits for what still reads it
  for (const std::size_t wanted : {std::max({bytes, 2 * bytes_, kLeast}), bytes}) {
    memory_ = device.allocate(wanted);
    bytes_ = memory_ == nullptr ? 0 : wanted;
    if (memory_ != nullptr) break;
  }
  return memory_.get();
}

CudaBackend::CudaBackend(CudaDevice& device, std::unique_ptr<Operations> operations)
    : device_(device), operations_(std::move(operations)) {}

std::string_view CudaBackend::error() const {
  if (!operations_->error().empty()) return operations_->error();
  return out_of_memory_ ? "CUDA: the device has no memory for a step's own needs; lower --cache-mib" : "";
}

bool CudaBackend::found(const void* memory) {
  if (memory == nullptr) out_of_memory_ = true;
  return !out_of_memory_;
}

template <class T>
const T* CudaBackend::stage(std::span<const T> values) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::byte* to = staged_.reserve(device_, values.size_bytes());
  if (to != nullptr) operations_->write(to, values.data(), values.size_bytes());
  return reinterpret_cast<const T*>(to);
}

// The pieces, then the pages of all.
const AttentionPiece* CudaBackend::stage_with_pages(std::span<const AttentionPiece> pieces) {
  std::int64_t pages = 0;
  for (const AttentionPiece& piece : pieces) pages += pages_of(piece);
  const std::size_t before = pieces.size_bytes();
  staging_.resize(before + static_cast<std::size_t>(pages) * sizeof(std::int32_t));
  std::byte* const to = staged_.reserve(device_, staging_.size());
  if (to == nullptr) return nullptr;
  std::size_t end = before;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::size_t bytes = static_cast<std::size_t>(pages_of(pieces[i])) * sizeof(std::int32_t);
    std::memcpy(staging_.data() + end, pieces[i].pages, bytes);
    AttentionPiece piece = pieces[i];
    piece.pages = reinterpret_cast<const std::int32_t*>(to + end);
    std::memcpy(staging_.data() + i * sizeof piece, &piece, sizeof piece);
    end += bytes;
  }
  operations_->write(to, staging_.data(), staging_.size());
  return reinterpret_cast<const AttentionPiece*>(to);
}

float* CudaBackend::workspace(std::size_t bytes) {
  return reinterpret_cast<float*>(workspace_.reserve(device_, bytes));
}

void* CudaBackend::results(std::size_t bytes) {
  return results_.reserve(device_, bytes);
}

void CudaBackend::embed(std::span<const std::int32_t> ids, const WeightMatrix& table, float* out) {
  const RowMajorMatrix& rows = on_device(table);
  const std::int32_t* staged = stage(ids);
  if (found(staged)) operations_->embed({staged, std::ssize(ids), rows.data(), rows.dtype(), rows.k(), out});
}

void CudaBackend::rms_norm(const RmsNormArgs& args) {
  operations_->rms_norm(args);
}

void CudaBackend::gemm(const GemmArgs& args) {
  const RowMajorMatrix& w = on_device(*args.w);
  operations_->gemm(
      {args.x, args.ldx, w.data(), w.dtype(), w.n(), w.k(), args.y, args.ldy, args.accumulate, args.blocks});
}

void CudaBackend::bias(const BiasArgs& args) {
  operations_->bias(args);
}

void CudaBackend::rope(const RopeArgs& args) {
  RopeArgs staged = args;
  staged.positions = stage(std::span(args.positions, static_cast<std::size_t>(args.rows)));
  if (found(staged.positions))
    operations_->rope({staged, args.table->cos(0), args.table->sin(0), args.table->half()});
}

void CudaBackend::attention(const AttentionArgs& args) {
  if (args.pieces.empty()) return;
  AttentionOnDevice step{args, most_rows(args.pieces), 0, nullptr};
  for (const AttentionPiece& piece : args.pieces)
    step.most_tokens = std::max(step.most_tokens, tokens_of(piece));
  const AttentionPiece* pieces = stage_with_pages(args.pieces);
  step.workspace = workspace(attention_workspace_bytes(args, step.most_tokens));
  if (!found(pieces) || !found(step.workspace)) return;
  step.args.pieces = {pieces, args.pieces.size()};
  operations_->attention(step);
}

void CudaBackend::window_attention(const WindowAttentionArgs& args) {
  if (args.pieces.empty()) return;
  WindowOnDevice step{args, most_rows(args.pieces)};
  const WindowPiece* pieces = stage(args.pieces);
  if (!found(pieces)) return;
  step.args.pieces = {pieces, args.pieces.size()};
  operations_->window_attention(step);
}

// Single rows go by the recurrence, and so does a long piece's last part where it is a single row: they are
// pieces of a second call. What the first one works in is then for pieces of several rows alone, too.
void CudaBackend::dsla(const DslaArgs& args) {
  std::vector<DslaPiece> several, single;
  for (const DslaPiece& piece : args.pieces) {
    const std::int64_t alone = piece.rows % kMaxPrefillRows == 1 ? 1 : 0, before = piece.rows - alone;
    if (before > 0) several.push_back({piece.first_row, before, piece.state});
    if (alone > 0) single.push_back({piece.first_row + before, alone, piece.state});
  }
  dsla_pieces(args, several);
  dsla_pieces(args, single);
}

void CudaBackend::dsla_pieces(const DslaArgs& args, std::span<const DslaPiece> of_args) {
  if (of_args.empty()) return;
  DslaOnDevice step{args, most_rows(of_args), nullptr};
  step.args.pieces = of_args;
  const DslaPiece* pieces = stage(of_args);
  if (!found(pieces)) return;
  if (const std::size_t bytes = dsla_workspace_bytes(step.args, step.most_rows); bytes > 0) {
    step.workspace = workspace(bytes);
    if (!found(step.workspace)) return;
  }
  step.args.pieces = {pieces, of_args.size()};
  operations_->dsla(step);
}

void CudaBackend::feature_map(const FeatureMapArgs& args) {
  operations_->feature_map(args);
}

void CudaBackend::head_share(const HeadShareArgs& args) {
  operations_->head_share(args);
}

void CudaBackend::swiglu(const SwiGluArgs& args) {
  operations_->swiglu(args);
}

void CudaBackend::gather(const GatherArgs& args) {
  if (args.rows.empty()) return;
  const std::int64_t* rows = stage(args.rows);
  if (found(rows)) operations_->gather({{args.from, args.width, {rows, args.rows.size()}, args.to}});
}

void CudaBackend::narrow_heads(const NarrowHeadsArgs& args) {
  operations_->narrow_heads(args);
}

void CudaBackend::sample(std::span<const SampleArgs> rows, std::span<std::int32_t> tokens) {
  std::ranges::fill(tokens, kNoToken);  // unless the device says otherwise
  if (rows.empty()) return;
  const SampleArgs* staged = stage(rows);
  auto* drawn = static_cast<std::int32_t*>(results(tokens.size_bytes()));
  if (!found(staged) || !found(drawn)) return;
  operations_->sample({staged, std::ssize(rows), drawn});
  operations_->read(tokens.data(), drawn, tokens.size_bytes());
}

void CudaBackend::log_probabilities(std::span<const ChosenToken> rows, std::span<double> nats) {
  std::ranges::fill(nats, 0.0);
  if (rows.empty()) return;
  const ChosenToken* staged = stage(rows);
  auto* found_nats = static_cast<double*>(results(nats.size_bytes()));
  if (!found(staged) || !found(found_nats)) return;
  operations_->log_probabilities({staged, std::ssize(rows), found_nats});
  operations_->read(nats.data(), found_nats, nats.size_bytes());
}

void CudaBackend::copy(void* to, const void* from, std::size_t bytes) {
  operations_->copy(to, from, bytes);
}

void CudaBackend::fill(void* at, std::byte value, std::size_t bytes) {
  operations_->fill(at, value, bytes);
}

void CudaBackend::read(void* to, const void* from, std::size_t bytes) {
  operations_->read(to, from, bytes);
}

}  // namespace dslad::kernels::cuda
