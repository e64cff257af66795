// Parts of one's own that load again with the models they are part of. Each is registered under a name, once, before a
// model with it is saved or loaded; the name then stands for it wherever a name does:
//
//   RegisterActivation("scaled_tanh", [](const Value& x) { return 1.7 * Tanh(x); });
//   Sequential model({Dense(10, "scaled_tanh")});
//
// A part that was given as a function, under the same name, is saved by that name. Without being registered it can be
// trained with and not be saved: Save says which part it is, and what to call. Layers: layers/custom.h.
//
// All throw Error for an empty name, one of weir's own parts, or an empty function; registering a name again replaces
// what it stood for. From any thread.
#ifndef WEIR_FRONTEND_PARTS_CUSTOM_H_
#define WEIR_FRONTEND_PARTS_CUSTOM_H_

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "weir/frontend/parts/activations.h"
#include "weir/frontend/parts/constraints.h"
#include "weir/frontend/parts/initializers.h"
#include "weir/frontend/parts/losses.h"
#include "weir/frontend/parts/metrics.h"
#include "weir/frontend/parts/optimizers.h"
#include "weir/frontend/parts/regularizers.h"
#include "weir/frontend/parts/schedules.h"

namespace weir {

// One value a sample from labels and predictions.
using PerSampleFunction = std::function<Value(const Value& y_true, const Value& y_pred)>;
// A rule from what its AddConfig wrote; rate, clipping and averages are read for it.
using OptimizerRuleMaker = std::function<std::shared_ptr<const OptimizerRule>(const nlohmann::json& config)>;

void RegisterActivation(const std::string& name, Activation::Function function);
void RegisterConstraint(const std::string& name, Constraint::Function function);
void RegisterInitializer(const std::string& name, Initializer::Function function);
void RegisterLoss(const std::string& name, PerSampleFunction function,
                  Reduction reduction = Reduction::kSumOverBatchSize);
void RegisterMetric(const std::string& name, PerSampleFunction function);
// `name` is the rule's class_name().
void RegisterOptimizer(const std::string& name, OptimizerRuleMaker make);
void RegisterRegularizer(const std::string& name, Regularizer::Function function);
void RegisterSchedule(const std::string& name, Schedule::Function function);

}  // namespace weir

#endif  // WEIR_FRONTEND_PARTS_CUSTOM_H_
