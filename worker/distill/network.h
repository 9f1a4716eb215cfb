// A teacher and its partly converted student, side by side over one batch: losses, and gradients for one
// layer, or for several.
//
//   layer-wise stage   mean squared error between the student layer's output and the teacher's, the layer's
//                      input coming through the layers converted so far, or being the teacher's own
//   chained stage      ce * CE(labels) + align * MSE(hidden_l, teacher hidden_l) + kl * KL(teacher ||
//   student),
//                      through the whole network
// (arXiv 2506.09316, section 3.3, without its term for gates that differ; the last one is ours). Only a
// trained layer's attention has gradients; whatever lies below the lowest one runs without a tape. Logits
// exist for a piece of the rows at a time. Thread safety: one caller at a time; results do not depend on the
// number of threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/training_backend.h"
#include "worker/distill/batch.h"
#include "worker/distill/dsla_block.h"
#include "worker/distill/mlp_block.h"
#include "worker/distill/softmax_block.h"
#include "worker/distill/student_layer.h"
#include "worker/distill/teacher.h"

namespace dslad::worker {

// By layer: its converted form; null: softmax attention.
using StudentLayers = std::vector<const StudentLayer*>;
// By layer: what is to learn; null: nothing.
using TrainedLayers = std::vector<StudentLayer*>;

enum class LayerTarget : std::uint8_t {
  kAttentionOutput,  // what attention adds to the residual stream
  kHiddenState,      // the residual stream after the block
};

struct LossWeights {
  double ce = 1, align = 0, kl = 0;
};

struct Losses {
  double ce = 0;     // nats, mean over labelled rows
  double kl = 0;     // nats, mean over rows by kl_weight
  double align = 0;  // mean squared error of the hidden state after the trained layer
  double total = 0;  // weighted sum
};

class Network {
 public:
  // For converted layers of `variant`, or with narrower states.
  Network(kernels::TrainingBackend& backend, std::shared_ptr<const Teacher> teacher, kernels::DType compute,
          const DslaVariant& variant);
  ~Network();

  [[nodiscard]] const Teacher& teacher() const { return *teacher_; }

  // Once it is set, a pass ends within a layer's time, whatever its batch, with kUnavailable; what it was to
  // add to gradients is then rubbish. Borrowed.
  void stop_when(const std::atomic<bool>& stop) { stop_ = &stop; }
  [[nodiscard]] bool stopped() const { return stop_ != nullptr && *stop_; }

  // Adds `scale` times the gradient of the layer-wise loss to the layer's; returns the loss. `converted`: the
  // chain so far, without the layer itself. kResourceExhausted: no memory for the batch.
  Result<double> train_layerwise(const TrainingBatch& batch, const StudentLayers& converted,
                                 StudentLayer& layer, LayerTarget target, double scale);
  // The same for each of `students` in one pass of the teacher, whose hidden states they all see: losses by
  // layer, as train_layerwise gives them behind no converted layer. A layer's tape exists at a time.
  Result<std::vector<double>> train_beside_teacher(const TrainingBatch& batch, const TrainedLayers& students,
                                                   LayerTarget target, double scale);
  // The same as train_layerwise for the chained loss.
  Result<Losses> train_chained(const TrainingBatch& batch, const StudentLayers& converted,
                               StudentLayer& layer, const LossWeights& weights, double scale);
  // The chained loss, without its term for one layer's hidden state, of the network with `layers` converted,
  // each of which gets its gradient from one pass. REQUIRES: a layer.
  Result<Losses> train_plan(const TrainingBatch& batch, const TrainedLayers& layers,
                            const LossWeights& weights, double scale);
  // Cross entropy and divergence of the network with `converted`, without gradients.
  Result<Losses> evaluate(const TrainingBatch& batch, const StudentLayers& converted);
  // The same with each of `students` converted alone, by layer: the teacher runs once, and holds every
  // layer's input meanwhile, rows * hidden numbers each. A layer without a student has zeros.
  Result<std::vector<Losses>> evaluate_alone(const TrainingBatch& batch, const StudentLayers& students);
  // Mean gate a_1, then a_2, of each channel of the converted layer `layer` over the batch: [2, kv_heads *
  // d_k].
  Result<std::vector<double>> mean_gates(const TrainingBatch& batch, const StudentLayers& converted,
                                         int layer);
  // Entropy of the teacher's softmax attention [rows, heads] in each layer, told layer by layer.
  using EntropySink = std::function<void(int layer, std::span<const float> entropy)>;
  Status measure_entropy(const TrainingBatch& batch, const EntropySink& sink);

  [[nodiscard]] std::size_t held_bytes() const;  // by activations, now
  // What held_bytes() becomes by a chained step of `rows` rows that trains `layer`, all others softmax;
  // worker/distill/README.md has the formula.
  static std::size_t activation_bytes(const LlamaConfig& config, const DslaVariant& variant,
                                      std::int64_t rows, int layer);

 private:
  // What one layer's forward pass leaves for its backward pass.
  struct LayerTape {
    kernels::TrainingBackend::Buffer memory{nullptr, [](std::byte*) {}};
    std::size_t bytes = 0;
    bool converted = false;
    SoftmaxTape softmax;  // laid out when not converted
    DslaTape dsla;        // laid out when converted
    MlpTape mlp;
  };
  struct Streams;  // the buffers that every pass needs
  // A layer's input and what should come out of it, each [rows, hidden].
  struct LayerGoal {
    LayerTarget target;
    const float *x, *y;
  };

  // What a pass came to, unless it was stopped.
  template <class T>
  Result<T> unless_stopped(T result) const {
    if (stopped()) return Error{ErrorCode::kUnavailable, "stopped"};
    return result;
  }
  Status reserve(std::int64_t rows);
  Status reserve_tape(int layer, bool converted);
  [[nodiscard]] BlockContext context(const TrainingBatch& batch) const;
  [[nodiscard]] std::int64_t stream_floats(const BlockContext& context) const;
  [[nodiscard]] const TeacherLayer& weights(int layer) const;
  void embed(const TrainingBatch& batch, float* x) const;
  void forward_layer(const BlockContext& context, int layer, const StudentLayer* converted, float* x,
                     const LayerTape* tape);
  void backward_layer(const BlockContext& context, int layer, const StudentLayer* converted);
  // Both residual streams up to layer `end`.
  void run_below(const BlockContext& context, const StudentLayers& converted, int end);
  // The layer-wise loss of `layer`, whose gradient is added to it.
  double learn_layer(const BlockContext& context, StudentLayer& layer, const LayerGoal& goal,
                     const LayerTape& tape, double scale);
  // From the streams after the last layer. With gradients, writes that by the student's stream; without the
  // teacher kl is 0.
  Losses vocabulary_losses(const BlockContext& context, const LossWeights& weights, bool with_teacher,
                           double scale, bool with_gradients);

  kernels::TrainingBackend& backend_;
  std::shared_ptr<const Teacher> teacher_;
  const std::atomic<bool>* stop_ = nullptr;
  kernels::DType compute_;
  kernels::RopeTable rope_;
  StudentShape student_shape_;
  kernels::TrainingBackend::Buffer memory_{nullptr, [](std::byte*) {}};
  std::size_t memory_bytes_ = 0;
  std::int64_t rows_ = 0;  // that the buffers hold
  std::unique_ptr<Streams> streams_;
  std::vector<LayerTape> tapes_;  // by layer
};

}  // namespace dslad::worker
