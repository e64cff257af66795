// How the files that hold losses make Loss handles; not for users.
#ifndef WEIR_FRONTEND_PARTS_LOSS_BUILDER_H_
#define WEIR_FRONTEND_PARTS_LOSS_BUILDER_H_

#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "weir/frontend/parts/keras_config.h"
#include "weir/frontend/parts/losses.h"

namespace weir {

inline constexpr double kLossEpsilon = 1e-7;  // Keras's fuzz: what keeps logarithms and quotients finite

struct Loss::State {
  std::string name;
  std::string class_name;  // "" for one's own
  nlohmann::json config;   // without name and reduction
  Reduction reduction = Reduction::kSumOverBatchSize;
  Function function;
  std::function<Value(const Value& y_true, const Value& y_pred)> mask;  // none: all count
  bool by_name = false;                                                 // written to files as the bare name
};

struct LossBuilder {
  using State = Loss::State;

  static Loss Make(State state);
  // The same loss under the name a user wrote, by which it is written to files.
  static Loss ByName(const Loss& loss, const std::string& name);
  static Loss Renamed(const Loss& loss, const std::string& name);
};

// All losses with a name: the cross-entropies, and those that compare values.
std::span<const KnownPart<Loss>> CrossEntropies();
std::span<const KnownPart<Loss>> ComparisonLosses();
std::span<const KnownPart<Loss>> KnownLosses();
// One of these, or of the user's own.
Loss NamedLoss(const KerasConfig& config);

}  // namespace weir

#endif  // WEIR_FRONTEND_PARTS_LOSS_BUILDER_H_
