#include "tests/kernels/cuda_on_host/fibre.h"

#include <bit>
#include <cstdint>
#include <new>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace dslad::kernels::cuda::testing {
namespace {

constexpr std::size_t kGuardBytes = 4096;

void start_switch([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* stack,
                  [[maybe_unused]] std::size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
#endif
}

void finish_switch([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** stack,
                   [[maybe_unused]] std::size_t* bytes) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake_stack, stack, bytes);
#endif
}

}  // namespace

Fibre::Fibre() {
  void* memory = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, kGuardBytes, PROT_NONE);
  stack_ = static_cast<std::byte*>(memory) + kGuardBytes;
}

Fibre::~Fibre() {
  munmap(stack_ - kGuardBytes, kGuardBytes + kStackBytes);
}

void Fibre::restart(Entry entry, void* argument) {
  entry_ = entry;
  argument_ = argument;
  ended_ = false;
  getcontext(&here_);
  here_.uc_stack.ss_sp = stack_;
  here_.uc_stack.ss_size = kStackBytes;
  here_.uc_link = nullptr;
  const auto self = std::bit_cast<std::uint64_t>(this);  // makecontext passes ints alone
  makecontext(&here_, reinterpret_cast<void (*)()>(&Fibre::run), 2, static_cast<unsigned>(self),
              static_cast<unsigned>(self >> 32));
}

void Fibre::run(unsigned low, unsigned high) {
  auto* self = std::bit_cast<Fibre*>(std::uint64_t{high} << 32 | low);
  finish_switch(nullptr, &self->caller_stack_, &self->caller_stack_bytes_);
  self->entry_(self->argument_);
  self->ended_ = true;
  self->leave(nullptr);
}

bool Fibre::resume() {
  void* fake_stack = nullptr;
  start_switch(&fake_stack, stack_, kStackBytes);
  swapcontext(&caller_, &here_);
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
  swapcontext(&here_, &caller_);
}

}  // namespace dslad::kernels::cuda::testing
