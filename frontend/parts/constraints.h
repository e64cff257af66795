// Constraints: projections of a weight after each optimizer step. A layer option takes a name ("max_norm"), one of
// the functions below (MaxNorm(3)) or a function of one's own.
#ifndef WEIR_FRONTEND_PARTS_CONSTRAINTS_H_
#define WEIR_FRONTEND_PARTS_CONSTRAINTS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "weir/core/graph.h"

namespace weir {

class Constraint {
 public:
  using Function = std::function<Value(const Value& weight)>;

  Constraint() = default;                           // none
  Constraint(const char* name);                     // NOLINT: throws Error for an unknown name
  Constraint(const std::string& name);              // NOLINT
  Constraint(std::string name, Function function);  // one's own

  bool defined() const { return state_ != nullptr; }
  const std::string& class_name() const;  // "MaxNorm"; "" for none

  // The projected weight, recorded into the weight's graph; the weight itself if there is no constraint. Throws
  // Error if the constraint's axes don't exist.
  Value Apply(const Value& weight) const;

  nlohmann::json ToJson() const;  // null for none
  static Constraint FromJson(const nlohmann::json& json);

 private:
  struct State;
  friend Constraint MakeConstraint(const std::string& class_name, nlohmann::json config, Function function);

  std::shared_ptr<const State> state_;
};

// With n the L2 norm over `axis` (kept as 1), one norm for each position along the other axes, and e = 1e-7:

// w * (clip(n, 0, max_value) / (e + n)). Axis 0 is the norm of each unit's incoming weights of a Dense kernel; for a
// Conv2D kernel [height, width, in, out] it runs over the kernel's rows only, and {0, 1, 2} is the norm of a filter.
Constraint MaxNorm(double max_value = 2, int64_t axis = 0);
Constraint MaxNorm(double max_value, std::vector<int64_t> axes);

// w / (e + n).
Constraint UnitNorm(int64_t axis = 0);
Constraint UnitNorm(std::vector<int64_t> axes);

// max(w, 0).
Constraint NonNeg();

// w * (t / (e + n)) with t = rate * clip(n, min_value, max_value) + (1 - rate) * n.
struct MinMaxNormOptions {
  double min_value = 0;
  double max_value = 1;
  double rate = 1;
  std::vector<int64_t> axis = {0};
};
Constraint MinMaxNorm(const MinMaxNormOptions& options = {});

}  // namespace weir

#endif  // WEIR_FRONTEND_PARTS_CONSTRAINTS_H_
