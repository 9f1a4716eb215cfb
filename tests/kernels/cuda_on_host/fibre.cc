#include "tests/kernels/cuda_on_host/fibre.h"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <sys/mman.h>

#ifdef DSLAD_ADDRESS_SANITIZED
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef __x86_64__
// Pushes what a callee must keep, stores the stack's pointer in *from, takes another's and pops what that one
// had kept.
extern "C" void dslad_change_stack(void** from, void* to);
asm(R"(
.text
.globl dslad_change_stack
.type dslad_change_stack, @function
dslad_change_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size dslad_change_stack, . - dslad_change_stack
)");
#endif

namespace dslad::kernels::cuda::testing {
namespace {

constexpr std::size_t kGuardBytes = 4096;

void start_switch([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* stack,
                  [[maybe_unused]] std::size_t bytes) {
#ifdef DSLAD_ADDRESS_SANITIZED
  __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
#endif
}

void finish_switch([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** stack,
                   [[maybe_unused]] std::size_t* bytes) {
#ifdef DSLAD_ADDRESS_SANITIZED
  __sanitizer_finish_switch_fiber(fake_stack, stack, bytes);
#endif
}

// Frames that were never left have marked their surroundings.
void forget_frames([[maybe_unused]] std::byte* stack, [[maybe_unused]] std::size_t bytes) {
#ifdef DSLAD_ADDRESS_SANITIZED
  __asan_unpoison_memory_region(stack, bytes);
#endif
}

}  // namespace

Fibre* Fibre::starting = nullptr;

Fibre::Fibre() {
  void* memory = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, kGuardBytes, PROT_NONE);
  stack_ = static_cast<std::byte*>(memory) + kGuardBytes;
}

Fibre::~Fibre() {
  forget_frames(stack_, kStackBytes);
  munmap(stack_ - kGuardBytes, kGuardBytes + kStackBytes);
}

void Fibre::restart(Entry entry, void* argument) {
  entry_ = entry;
  argument_ = argument;
  ended_ = false;
  caller_stack_ = nullptr;
  forget_frames(stack_, kStackBytes);
  prepare();
}

#ifdef __x86_64__

// Six registers that nobody reads, then where dslad_change_stack returns to: run(), which must find the
// stack's pointer as behind a call, eight bytes below a multiple of 16.
void Fibre::prepare() {
  const std::array<void*, 8> frame{
      nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, reinterpret_cast<void*>(&Fibre::run), nullptr};
  std::byte* top = stack_ + kStackBytes - sizeof frame;
  std::memcpy(top, frame.data(), sizeof frame);
  here_ = top;
}

void Fibre::change(Context& from, Context& to) {
  dslad_change_stack(&from, to);
}

#else

void Fibre::prepare() {
  getcontext(&here_);
  here_.uc_stack.ss_sp = stack_;
  here_.uc_stack.ss_size = kStackBytes;
  here_.uc_link = nullptr;
  makecontext(&here_, &Fibre::run, 0);
}

void Fibre::change(Context& from, Context& to) {
  swapcontext(&from, &to);
}

#endif

void Fibre::run() {
  Fibre& self = *starting;
  finish_switch(nullptr, &self.caller_stack_, &self.caller_stack_bytes_);
  self.entry_(self.argument_);
  self.ended_ = true;
  self.leave(nullptr);
  std::abort();  // an ended fibre is not gone on with
}

bool Fibre::resume() {
  void* fake_stack = nullptr;
  starting = this;
  start_switch(&fake_stack, stack_, kStackBytes);
  change(caller_, here_);
  finish_switch(fake_stack, nullptr, nullptr);
  return !ended_;
}

void Fibre::pause() {
  void* fake_stack = nullptr;
  leave(&fake_stack);
  finish_switch(fake_stack, &caller_stack_, &caller_stack_bytes_);
}

void Fibre::leave(void** fake_stack) {
  start_switch(fake_stack, caller_stack_, caller_stack_bytes_);
  change(here_, caller_);
}

}  // namespace dslad::kernels::cuda::testing
