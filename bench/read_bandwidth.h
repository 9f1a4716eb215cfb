// The ceiling of everything that streams weights: how fast this machine reads memory right now.
#pragma once

#include <cstdint>

namespace dslad::kernels {
class ThreadPool;
}

namespace dslad::bench {

// Bytes per second of the best of a few passes over 512 MiB, shared by all threads of the pool.
double read_bandwidth(kernels::ThreadPool& pool);

}  // namespace dslad::bench
