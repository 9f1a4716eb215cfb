#include "kernels/delta/delta_rule.h"
#include "kernels/delta/sequence_delta_rule.h"

namespace dslad::kernels {

void delta_rule_cpu(ThreadPool& /*pool*/, const DeltaRuleArgs& args) {
  delta_rule_ref(args);
}
void sequence_delta_rule_cpu(ThreadPool& /*pool*/, const SequenceDeltaRuleArgs& args) {
  sequence_delta_rule_ref(args);
}
void sequence_delta_rule_backward_cpu(ThreadPool& /*pool*/, const SequenceDeltaRuleBackwardArgs& args) {
  sequence_delta_rule_backward_ref(args);
}

}  // namespace dslad::kernels
