// Launches the kernels of each operation, for what is compiled with CUDA (gpu_operations.cu).
//
// Contracts are those of each operation's *Args. All pointers are device memory, those within spans and the
// arrays that spans name too; pages, states and rings are aligned to 16 bytes. Products are in
// kernels/gemm/cuda/gemm.h. Calls return when the work is queued on `stream`; what they return is the
// launch's error. Results of a row do not depend on other rows of the call (kernels/rows.h), nor on the
// limits that a caller names. Thread safety: one caller a stream.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/attention/cuda/attention_on_device.h"
#include "kernels/attention/cuda/window_on_device.h"
#include "kernels/bias/bias.h"
#include "kernels/cuda/embed.h"
#include "kernels/dsla/cuda/dsla_on_device.h"
#include "kernels/dsla/feature_map.h"
#include "kernels/dsla/head_share.h"
#include "kernels/mlp/swiglu.h"
#include "kernels/move/cuda/move_on_device.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/rope/cuda/rope_on_device.h"
#include "kernels/sample/cuda/sample_on_device.h"

namespace dslad::kernels::cuda {

[[nodiscard]] cudaError_t launch_embed(const EmbedArgs& args, cudaStream_t stream);
[[nodiscard]] cudaError_t launch_rms_norm(const RmsNormArgs& args, cudaStream_t stream);
[[nodiscard]] cudaError_t launch_bias(const BiasArgs& args, cudaStream_t stream);
[[nodiscard]] cudaError_t launch_rope(const RopeOnDevice& args, cudaStream_t stream);
[[nodiscard]] cudaError_t launch_attention(const AttentionOnDevice& args, cudaStream_t stream);
[[nodiscard]] cudaError_t launch_window_attention(const WindowOnDevice& args, cudaStream_t stream);
[[nodiscard]] cudaError_t launch_dsla(const DslaOnDevice& args, cudaStream_t stream);
[[nodiscard]] cudaError_t launch_swiglu(const SwiGluArgs& args, cudaStream_t stream);
[[nodiscard]] cudaError_t launch_feature_map(const FeatureMapArgs& args, cudaStream_t stream);
[[nodiscard]] cudaError_t launch_head_share(const HeadShareArgs& args, cudaStream_t stream);
[[nodiscard]] cudaError_t launch_gather(const GatherOnDevice& args, cudaStream_t stream);
[[nodiscard]] cudaError_t launch_narrow_heads(const NarrowHeadsArgs& args, cudaStream_t stream);
[[nodiscard]] cudaError_t launch_sample(const SampleOnDevice& args, cudaStream_t stream);
[[nodiscard]] cudaError_t launch_log_probability(const LogProbabilityOnDevice& args, cudaStream_t stream);

}  // namespace dslad::kernels::cuda
