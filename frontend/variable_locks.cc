#include "weir/frontend/variable_locks.h"

#include <algorithm>
#include <functional>

namespace weir {

std::vector<Variable> InLockOrder(std::vector<Variable> variables) {
  std::sort(variables.begin(), variables.end(),
            [](const Variable& a, const Variable& b) { return std::less<>()(a.id(), b.id()); });
  variables.erase(std::unique(variables.begin(), variables.end()), variables.end());
  return variables;
}

VariableLocks::VariableLocks(std::span<const Variable> variables) : variables_(variables) {
  for (const Variable& variable : variables_) variable.Lock();
}

VariableLocks::~VariableLocks() {
  for (const Variable& variable : variables_) variable.Unlock();
}

std::vector<Tensor> SnapshotOf(std::span<const Variable> variables) {
  const std::vector<Variable> ordered = InLockOrder({variables.begin(), variables.end()});
  const VariableLocks locks(ordered);
  std::vector<Tensor> values;
  values.reserve(variables.size());
  for (const Variable& variable : variables) values.push_back(variable.LockedValue());
  return values;
}

void AdoptAll(std::span<const std::pair<Variable, Tensor>> values) {
  std::vector<Variable> variables;
  for (const auto& [variable, tensor] : values) variables.push_back(variable);
  const std::vector<Variable> ordered = InLockOrder(std::move(variables));
  const VariableLocks locks(ordered);
  for (auto [variable, tensor] : values) variable.LockedAdopt(tensor);
}

bool HeldAlone(const Tensor& tensor) {
  if (tensor.use_count() > 1) return false;
  // Another thread may have let go just now. Letting go of a handle of our own is ordered behind that, which the count
  // alone is not.
  const Tensor probe = tensor;
  return true;
}

}  // namespace weir
