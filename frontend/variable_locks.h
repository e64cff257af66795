// Access to the weights of a model while other threads use it. A variable has a lock, which hands itself on in the order
// of asking, so that neither a training in a tight loop nor any number of readers keeps another out. A training step
// holds the locks of what it updates until all of it is updated. A reader holds the locks of all it wants for as long as
// it takes to copy handles of their tensors, and then reads those: a step that finds a tensor still read leaves it alone
// and updates a copy.
#ifndef WEIR_FRONTEND_VARIABLE_LOCKS_H_
#define WEIR_FRONTEND_VARIABLE_LOCKS_H_

#include <span>
#include <utility>
#include <vector>

#include "weir/frontend/variable.h"

namespace weir {

// The variables sorted as VariableLocks wants them, each once.
std::vector<Variable> InLockOrder(std::vector<Variable> variables);

// Holds the locks of variables that are InLockOrder, all at once; `variables` must outlive it.
class VariableLocks {
 public:
  explicit VariableLocks(std::span<const Variable> variables);
  ~VariableLocks();
  VariableLocks(const VariableLocks&) = delete;
  VariableLocks& operator=(const VariableLocks&) = delete;

 private:
  std::span<const Variable> variables_;
};

// The values of all variables as of one moment, never from the middle of a training step.
std::vector<Tensor> SnapshotOf(std::span<const Variable> variables);

// Gives all variables their tensors at once; these are written by nobody as long as the variables hold them.
void AdoptAll(std::span<const std::pair<Variable, Tensor>> values);

// Whether nobody else holds the tensor's data; whoever did has done with it.
bool HeldAlone(const Tensor& tensor);

}  // namespace weir

#endif  // WEIR_FRONTEND_VARIABLE_LOCKS_H_
