// Variable: a layer's weight, or state that its training steps change (CallContext::Assign). A shared handle: copies are the same variable. Its value is made from the initializer
// when it is first asked for, so that a model's seed may be set after its layers are built.
#ifndef WEIR_FRONTEND_VARIABLE_H_
#define WEIR_FRONTEND_VARIABLE_H_

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>

#include "weir/core/tensor.h"
#include "weir/frontend/parts/constraints.h"
#include "weir/frontend/parts/initializers.h"
#include "weir/frontend/parts/regularizers.h"

namespace weir {

struct VariableOptions {
  std::string name;  // "kernel"
  Shape shape = {};
  Initializer initializer = "zeros";
  Regularizer regularizer = {};
  Constraint constraint = {};
  bool trainable = true;
  DType dtype = DType::kFloat32;  // anything else only for what is not trainable
};

class Variable {
 public:
  Variable() = default;
  // `owner` is the layer's name. Throws Error for a trainable variable that is not float32.
  Variable(VariableOptions options, std::string owner);

  bool defined() const { return state_ != nullptr; }
  std::string path() const;  // "conv2d/kernel"
  std::string name() const { return path() + ":0"; }
  const std::string& leaf_name() const;  // "kernel"
  const TensorType& type() const;
  const Shape& shape() const { return type().shape; }
  bool trainable() const;
  const Constraint& constraint() const;
  const Regularizer& regularizer() const;

  // The value now, after a training step that is running in another thread. Training and Assign never change a tensor
  // that was handed out. Reading and assigning are safe from any thread; variable_locks.h reads several as of one moment.
  Tensor value() const;
  // Sets the value (copied). Throws Error unless dtype and shape are the variable's.
  void Assign(const Tensor& value);
  // Likewise, without a copy: for a tensor that is written by nobody as long as the variable holds it.
  void Adopt(Tensor value);

  // For variable_locks.h, and who holds the lock: the value, the same as a tensor that nobody else holds and that may be
  // overwritten, and a new one.
  void Lock() const;
  void Unlock() const;
  const Tensor& LockedValue() const;
  Tensor& LockedExclusive();
  void LockedAdopt(Tensor value);
  // Where the initial value comes from: stream `stream` of `seed`. Without effect once there is a value.
  void Seed(uint64_t seed, uint64_t stream, bool override_earlier);
  void SetOwner(std::string owner);
  void SetTrainable(bool trainable);

  const void* id() const { return state_.get(); }  // equal for handles of one variable
  friend bool operator==(const Variable& a, const Variable& b) { return a.state_ == b.state_; }

 private:
  struct State;
  State& state() const;
  std::shared_ptr<State> state_;
};

// As TensorFlow prints variables: <tf.Variable 'conv2d/kernel:0' shape=(3, 3, 3, 32) dtype=float32, numpy=
// array(...)>, with the values shortened as NumPy does.
std::ostream& operator<<(std::ostream& out, const Variable& variable);

}  // namespace weir

#endif  // WEIR_FRONTEND_VARIABLE_H_
