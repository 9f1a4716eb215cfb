#include "tests/kernels/cuda_on_host/executor.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/kernels/cuda_on_host/fibre.h"

namespace dslad::kernels::cuda::testing {
namespace {

// Shared memory of a block: what kernels may have of a fixed size, and all that sm_80 has.
constexpr std::size_t kMostStaticShared = 16 * 1024, kMostShared = 163 * 1024;

std::string name_of(const Where& where) {
  return fmt::format("{}:{}", where.file, where.line);
}

}  // namespace

// The block at work, its threads and its memory.
class Executor::Block {
 public:
  static Block* current;  // that a body's calls belong to

  void run(BlockIndex index, int threads, std::size_t dynamic_bytes, const std::function<void()>& body,
           Order order) {
    index_ = index;
    body_ = &body;
    error_.reset();
    prepare(threads, dynamic_bytes);
    current = this;
    int alive = threads;
    while (alive > 0) {
      bool moved = false;
      for (int i = 0; i < threads; ++i) {
        thread_ = order == Order::kAscending ? i : threads - 1 - i;
        Thread& thread = threads_[static_cast<std::size_t>(thread_)];
        if (thread.ended || thread.waits()) continue;
        moved = true;
        thread.ended = !thread.fibre.resume();
        alive -= thread.ended ? 1 : 0;
        if (thread.ended && !thread.copies.empty() && !error_)
          error_ = fmt::format("thread {} ended without waiting for its copies", thread_);
        if (error_) throw KernelError(*error_);
      }
      if (alive > 0 && !moved) throw KernelError(describe_waiting(alive));
    }
  }

  [[nodiscard]] int thread() const { return thread_; }
  [[nodiscard]] BlockIndex index() const { return index_; }

  void meet(const Where& where) { wait(all_, where); }

  const void* const* exchange(const void* shown, std::size_t bytes, const Where& where) {
    Thread& thread = threads_[static_cast<std::size_t>(thread_)];
    WarpState& warp = warps_[static_cast<std::size_t>(thread_ / kWarp)];
    // Two boards in turn: a lane is at most one exchange ahead of the others.
    Board& board = warp.boards[thread.exchanges++ % 2];
    auto& note = board.notes[static_cast<std::size_t>(thread_ % kWarp)];
    if (bytes > sizeof note) throw std::logic_error("an exchange of more than the board holds");
    if (bytes > 0) std::memcpy(note.data(), shown, bytes);
    wait(warp.meeting, where);
    return board.pointers.data();
  }

  void copy_later(void* to, const void* from, bool wanted) {
    std::memcpy(to, &kPoison, sizeof kPoison);
    threads_[static_cast<std::size_t>(thread_)].copies.push_back({to, from, wanted});
  }

  void wait_for_copies() {
    auto& copies = threads_[static_cast<std::size_t>(thread_)].copies;
    for (const Copy& copy : copies) {
      if (copy.wanted) {
        std::memcpy(copy.to, copy.from, sizeof kPoison);
      } else {
        std::memset(copy.to, 0, sizeof kPoison);
      }
    }
    copies.clear();
  }

  void* shared(const void* tag, std::size_t bytes) {
    if (tag == nullptr) return dynamic_.data();
    auto [entry, is_new] = static_.try_emplace(tag);
    if (is_new) {
      static_bytes_ += bytes;
      if (static_bytes_ > kMostStaticShared) throw std::logic_error("too much static shared memory");
      entry->second.assign((bytes + 15) / 16, kPoison);
    }
    return entry->second.data();
  }

 private:
  struct alignas(16) Sixteen {
    std::array<std::uint32_t, 4> words;
  };
  static constexpr Sixteen kPoison{{~0u, ~0u, ~0u, ~0u}};

  // A place where `expected` threads wait for each other, again and again.
  struct Meeting {
    int expected = 0, arrived = 0;
    std::uint64_t held = 0;  // how many times all have met here
    Where where;             // of the first to come

    // False if another thread waits elsewhere.
    bool arrive(const Where& at) {
      if (arrived == 0) where = at;
      const bool same = where.line == at.line && std::strcmp(where.file, at.file) == 0;
      if (++arrived == expected) {
        arrived = 0;
        ++held;
      }
      return same;
    }
  };

  // Of 16 bytes, on its way.
  struct Copy {
    void* to;
    const void* from;
    bool wanted;
  };

  struct Thread {
    Fibre fibre;
    std::vector<Copy> copies;
    Meeting* meeting = nullptr;
    std::uint64_t awaited = 0;
    std::uint64_t exchanges = 0;
    bool ended = false;
    [[nodiscard]] bool waits() const { return meeting != nullptr && meeting->held < awaited; }
  };

  struct Board {
    alignas(16) std::array<std::array<std::byte, 32>, kWarp> notes;
    std::array<const void*, kWarp> pointers;
    Board() {
      for (std::size_t lane = 0; lane < kWarp; ++lane) pointers[lane] = notes[lane].data();
    }
  };
  struct WarpState {
    Meeting meeting;
    std::array<Board, 2> boards;
  };

  void prepare(int threads, std::size_t dynamic_bytes) {
    const auto count = static_cast<std::size_t>(threads);
    if (threads_.size() != count) threads_ = std::deque<Thread>(count);
    if (warps_.size() != count / kWarp) warps_ = std::deque<WarpState>(count / kWarp);
    for (Thread& thread : threads_) {
      thread.meeting = nullptr;
      thread.exchanges = 0;
      thread.ended = false;
      thread.copies.clear();
      thread.fibre.restart([](void* body) { (*static_cast<const std::function<void()>*>(body))(); },
                           const_cast<std::function<void()>*>(body_));
    }
    for (WarpState& warp : warps_) warp.meeting = {kWarp, 0, 0, {}};
    all_ = {threads, 0, 0, {}};
    dynamic_.assign((dynamic_bytes + 15) / 16, kPoison);
    dynamic_.shrink_to_fit();  // so that the sanitizer knows its end
    static_.clear();
    static_bytes_ = 0;
  }

  void wait(Meeting& meeting, const Where& where) {
    Thread& thread = threads_[static_cast<std::size_t>(thread_)];
    thread.meeting = &meeting;
    thread.awaited = meeting.held + 1;
    if (!meeting.arrive(where)) {
      error_ = fmt::format("divergent barrier: thread {} is at {}, another waits at {}", thread_,
                           name_of(where), name_of(meeting.where));
      thread.fibre.pause();
    }
    if (thread.waits()) thread.fibre.pause();
  }

  [[nodiscard]] std::string describe_waiting(int alive) const {
    for (const Thread& thread : threads_) {
      if (thread.ended || !thread.waits()) continue;
      return fmt::format("{} of {} threads expected at {} never come ({} threads of the block are left)",
                         thread.meeting->expected - thread.meeting->arrived, thread.meeting->expected,
                         name_of(thread.meeting->where), alive);
    }
    return "no thread can go on";
  }

  BlockIndex index_{};
  int thread_ = 0;
  const std::function<void()>* body_ = nullptr;
  std::optional<std::string> error_;
  std::deque<Thread> threads_;  // deques: their elements stay where they are
  std::deque<WarpState> warps_;
  Meeting all_;
  std::vector<Sixteen> dynamic_;
  std::map<const void*, std::vector<Sixteen>> static_;
  std::size_t static_bytes_ = 0;
};

Executor::Block* Executor::Block::current = nullptr;

Executor::Executor(Order order) : order_(order), block_(std::make_unique<Block>()) {}
Executor::~Executor() = default;

void Executor::run(const Grid& grid, int threads, const std::function<void()>& body) {
  constexpr std::int64_t kMostBlocks = 65535;  // in these directions, on a device
  if (grid.y > kMostBlocks || grid.z > kMostBlocks) throw KernelError("a grid that no device takes");
  if (grid.shared_bytes > kMostShared - kMostStaticShared)
    throw KernelError("more shared memory than there is");
  const std::int64_t blocks = grid.x * grid.y * grid.z;
  for (std::int64_t i = 0; i < blocks; ++i) {
    const std::int64_t block = order_ == Order::kAscending ? i : blocks - 1 - i;
    const BlockIndex index{block % grid.x, block / grid.x % grid.y, block / grid.x / grid.y};
    block_->run(index, threads, grid.shared_bytes, body, order_);
  }
}

// The device's functions, for the block at work.
struct DeviceFunctions {
  static Executor::Block& block() { return *Executor::Block::current; }
};

}  // namespace dslad::kernels::cuda::testing

namespace dslad::kernels::cuda {

using testing::DeviceFunctions;

int thread_index() {
  return DeviceFunctions::block().thread();
}
BlockIndex block_index() {
  return DeviceFunctions::block().index();
}
void sync_block(Where where) {
  DeviceFunctions::block().meet(where);
}
const void* const* exchange(const void* shown, std::size_t bytes, Where where) {
  return DeviceFunctions::block().exchange(shown, bytes, where);
}
void* shared_memory(const void* tag, std::size_t bytes) {
  return DeviceFunctions::block().shared(tag, bytes);
}
void copy16_later(void* to, const void* from, bool wanted) {
  DeviceFunctions::block().copy_later(to, from, wanted);
}
void wait_for_copies() {
  DeviceFunctions::block().wait_for_copies();
}

}  // namespace dslad::kernels::cuda
