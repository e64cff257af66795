// Activations: elementwise (or, softmax, last-axis) functions a layer ends with. A layer option takes a name ("relu")
// or a function of values: Dense({.activation = {"scaled_tanh", [](const Value& x) { return 1.7 * Tanh(x); }}}). A model
// with such a function can be saved once custom.h has registered it under its name.
#ifndef WEIR_FRONTEND_PARTS_ACTIVATIONS_H_
#define WEIR_FRONTEND_PARTS_ACTIVATIONS_H_

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <source_location>
#include <string>
#include <type_traits>
#include <vector>

#include "weir/core/graph.h"

namespace weir {

class Activation {
 public:
  using Function = std::function<Value(const Value& x)>;

  Activation() = default;                           // none, the same as "linear"
  Activation(const char* name);                     // NOLINT: throws Error for an unknown name
  Activation(const std::string& name);              // NOLINT
  Activation(std::string name, Function function);  // one's own

  bool defined() const { return state_ != nullptr; }
  bool is_linear() const;           // nothing is recorded
  bool is_own() const;              // made from a function, not by a name that weir knows
  const std::string& name() const;  // as written: "swish", "silu"; "linear" for none

  Value operator()(const Value& x) const;
  // Of a symbolic tensor of the layer graph, as a layer (layers/activation.h).
  template <class Symbolic>
  requires(!std::is_convertible_v<Symbolic, Value>)
  Symbolic operator()(const Symbolic& x, std::source_location where = std::source_location::current()) const {
    return ApplyActivation(*this, x, where);
  }

  // Whether its input are the logits of its output, from which losses compute (sigmoid and softmax).
  bool has_logits() const;

  nlohmann::json ToJson() const;  // the name; "linear" for none
  static Activation FromJson(const nlohmann::json& json);

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

// All names Activation knows, sorted.
std::vector<std::string> ActivationNames();

// Formulas that have no op of their own.
Value Relu6(const Value& x);        // min(max(x, 0), 6), gradient 0 at both ends
Value Selu(const Value& x);         // gradient at 0 from the left
Value Softsign(const Value& x);     // x / (1 + |x|)
Value HardSigmoid(const Value& x);  // relu6(x + 3) / 6
Value HardSilu(const Value& x);     // x * hard_sigmoid(x), gradient at both kinks from inside
Value Mish(const Value& x);         // x * tanh(softplus(x))

}  // namespace weir

#endif  // WEIR_FRONTEND_PARTS_ACTIVATIONS_H_
