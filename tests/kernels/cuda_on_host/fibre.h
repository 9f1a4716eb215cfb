// A function with a stack of its own that can be left in the middle and gone on with.
//
// On x86-64 a change of stacks is a dozen instructions; ucontext's, which serves elsewhere, asks the kernel
// about signals each time, and AddressSanitizer's version of it cleans the whole stack besides.
// AddressSanitizer is told of each change. Compile what runs on a fibre with
// -fsanitize-address-use-after-return=never: a fake stack for each of thousands of fibres costs more than all
// else. Thread safety: all fibres belong to one thread.
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
#ifdef __x86_64__
  using Context = void*;  // the stack's pointer; all else lies on the stack
#else
  using Context = ucontext_t;
#endif
  static void run();
  void prepare();
  void leave(void** fake_stack);
  static void change(Context& from, Context& to);

  static Fibre* starting;  // for run(), which has no argument
  static constexpr std::size_t kStackBytes = 64 * 1024;
  std::byte* stack_;  // behind a page that nobody may touch
  Context here_{}, caller_{};
  Entry entry_ = nullptr;
  void* argument_ = nullptr;
  bool ended_ = true;
  const void* caller_stack_ = nullptr;  // as the sanitizer names it
  std::size_t caller_stack_bytes_ = 0;
};

}  // namespace dslad::kernels::cuda::testing
