// Regularizers: penalties on a weight or an activation, added to the loss. A layer option takes a name ("l2"), one of
// the functions below (L2(1e-4)) or a function of one's own.
#ifndef WEIR_FRONTEND_PARTS_REGULARIZERS_H_
#define WEIR_FRONTEND_PARTS_REGULARIZERS_H_

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "weir/core/graph.h"

namespace weir {

class Regularizer {
 public:
  using Function = std::function<Value(const Value& weight)>;

  Regularizer() = default;                           // none
  Regularizer(const char* name);                     // NOLINT: throws Error for an unknown name
  Regularizer(const std::string& name);              // NOLINT
  Regularizer(std::string name, Function function);  // one's own: returns a scalar

  bool defined() const { return state_ != nullptr; }
  const std::string& class_name() const;  // "L2"; "" for none

  // The penalty, a scalar of the weight's graph. There must be a regularizer: throws Error otherwise.
  Value Penalty(const Value& weight) const;

  nlohmann::json ToJson() const;  // null for none
  static Regularizer FromJson(const nlohmann::json& json);

 private:
  struct State;
  friend Regularizer MakeRegularizer(const std::string& class_name, nlohmann::json config, Function function);

  std::shared_ptr<const State> state_;
};

Regularizer L1(double l1 = 0.01);  // l1 * sum(|w|)
Regularizer L2(double l2 = 0.01);  // l2 * sum(w^2)

// The sum of both.
struct L1L2Options {
  double l1 = 0;
  double l2 = 0;
};
Regularizer L1L2(const L1L2Options& options = {});

}  // namespace weir

#endif  // WEIR_FRONTEND_PARTS_REGULARIZERS_H_
