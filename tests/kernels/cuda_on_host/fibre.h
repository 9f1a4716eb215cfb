// A function with a stack of its own that can be left in the middle and gone on with.
//
// AddressSanitizer is told of each change of stacks. Compile what runs on a fibre with
// --param asan-use-after-return=0: a fake stack for each of thousands of fibres costs more than all else.
#pragma once

#include <cstddef>
#include <ucontext.h>

namespace dslad::kernels::cuda::testing {

class Fibre {
 public:
  using Entry = void (*)(void*);

  Fibre();  // throws std::bad_alloc
  ~Fibre();
  Fibre(const Fibre&) = delete;
  Fibre& operator=(const Fibre&) = delete;

  // Begins anew with entry(argument); what ran on the stack before is forgotten, its destructors too.
  void restart(Entry entry, void* argument);
  // Runs until the fibre pauses; false when its function has returned. REQUIRES: the caller is not a fibre.
  bool resume();
  // Back to the caller of resume(). REQUIRES: called on this fibre.
  void pause();

 private:
  static void run(unsigned low, unsigned high);
  void leave(void** fake_stack);

  static constexpr std::size_t kStackBytes = 256 * 1024;
  std::byte* stack_;  // behind a page that nobody may touch
  ucontext_t here_{}, caller_{};
  Entry entry_ = nullptr;
  void* argument_ = nullptr;
  bool ended_ = true;
  const void* caller_stack_ = nullptr;  // as the sanitizer names it
  std::size_t caller_stack_bytes_ = 0;
};

}  // namespace dslad::kernels::cuda::testing
