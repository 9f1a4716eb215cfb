#include "ctl/interrupt.h"

namespace dslad::ctl {
namespace {

volatile std::sig_atomic_t raised = 0;

void raise_flag(int) {
  raised = 1;
}

}  // namespace

InterruptGuard::InterruptGuard() {
  struct sigaction action = {};
  action.sa_handler = raise_flag;  // without SA_RESTART: blocking calls return
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &old_int_);
  sigaction(SIGTERM, &action, &old_term_);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGTERM, &old_term_, nullptr);
}

bool interrupted() {
  return raised != 0;
}

}  // namespace dslad::ctl
