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

std::int64_t pages_of(std::int64_t tokens) {
  return (tokens + kPageTokens - 1) / kPageTokens;
}

// Whole partitions, so that a sequence grows by many tokens before its step is another.
std::int64_t rounded_up(std::int64_t tokens) {
  return (tokens + kPartitionTokens - 1) / kPartitionTokens * kPartitionTokens;
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
    : device_(device), operations_(std::move(operations)), arrays_(device) {}

std::string_view CudaBackend::error() const {
  if (!operations_->error().empty()) return operations_->error();
  if (!device_.error().empty()) return device_.error();
  return out_of_memory_ ? "CUDA: the device has no memory for a step's own needs; lower --cache-mib" : "";
}

void CudaBackend::submit() {
  if (step_.empty()) return;
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

// The pieces, then the pages of each, with room for as many as the longest may have.
const AttentionPiece* CudaBackend::stage_with_pages(std::span<const AttentionPiece> pieces,
                                                    std::int64_t most_tokens) {
  const std::size_t room = static_cast<std::size_t>(pages_of(most_tokens)) * sizeof(std::int32_t);
  const auto [on_device, on_host] = arrays_.add(pieces.size_bytes() + pieces.size() * room);
  if (on_device == nullptr) return nullptr;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::size_t at = pieces.size_bytes() + i * room;
    std::memcpy(on_host + at, pieces[i].pages,
                static_cast<std::size_t>(pages_of(tokens_of(pieces[i]))) * sizeof(std::int32_t));
    AttentionPiece piece = pieces[i];
    piece.pages = reinterpret_cast<const std::int32_t*>(on_device + at);
    std::memcpy(on_host + i * sizeof piece, &piece, sizeof piece);
  }
  return reinterpret_cast<const AttentionPiece*>(on_device);
}

// Operations that wait work in the memory that there is.
float* CudaBackend::workspace(std::size_t bytes) {
  if (!workspace_.holds(bytes)) submit();
  return reinterpret_cast<float*>(workspace_.reserve(device_, bytes));
}

void* CudaBackend::results(std::size_t bytes) {
  if (!results_.holds(bytes)) submit();
  return results_.reserve(device_, bytes);
}

void CudaBackend::embed(std::span<const std::int32_t> ids, const WeightMatrix& table, float* out) {
  const RowMajorMatrix& rows = on_device(table);
  const std::int32_t* staged = stage(ids);
  if (found(staged)) step_.add(EmbedArgs{staged, std::ssize(ids), rows.data(), rows.dtype(), rows.k(), out});
}

void CudaBackend::rms_norm(const RmsNormArgs& args) {
  step_.add(args);
}

void CudaBackend::gemm(const GemmArgs& args) {
  const RowMajorMatrix& w = on_device(*args.w);
  step_.add(GemmOnDevice{args.x, args.ldx, w.data(), w.dtype(), w.n(), w.k(), args.y, args.ldy,
                         args.accumulate, args.blocks});
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
  AttentionOnDevice step{args, most_rows(args.pieces), 0, nullptr};
  for (const AttentionPiece& piece : args.pieces)
    step.most_tokens = std::max(step.most_tokens, tokens_of(piece));
  step.most_tokens = rounded_up(step.most_tokens);
  step.workspace = workspace(attention_workspace_bytes(args, step.most_tokens));
  if (!found(step.workspace)) return;
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

// Single rows go by the recurrence, and so does a long piece's last part where it is a single row: they are
// pieces of a second call. What the first one works in is then for pieces of several rows alone, too.
void CudaBackend::dsla(const DslaArgs& args) {
  std::vector<DslaPiece> several, single;
  for (const DslaPiece& piece : args.pieces) {
    const std::int64_t alone = piece.rows % kPieceRows == 1 ? 1 : 0, before = piece.rows - alone;
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
  if (const std::size_t bytes = dsla_workspace_bytes(step.args, step.most_rows); bytes > 0) {
    step.workspace = workspace(bytes);
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

void CudaBackend::sample(std::span<const SampleArgs> rows, std::span<std::int32_t> tokens) {
  std::ranges::fill(tokens, kNoToken);  // unless the device says otherwise
  if (rows.empty()) return;
  auto* drawn = static_cast<std::int32_t*>(results(tokens.size_bytes()));
  if (!found(drawn)) return;
  const SampleArgs* staged = stage(rows);
  if (!found(staged)) return;
  step_.add(SampleOnDevice{staged, std::ssize(rows), drawn});
  read(tokens.data(), drawn, tokens.size_bytes());
}

void CudaBackend::log_probabilities(std::span<const ChosenToken> rows, std::span<double> nats) {
  std::ranges::fill(nats, 0.0);
  if (rows.empty()) return;
  auto* found_nats = static_cast<double*>(results(nats.size_bytes()));
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
