// Models from their configuration in Keras's spelling (ModelBase::ToJson writes it).
#ifndef WEIR_FRONTEND_MODEL_CONFIG_H_
#define WEIR_FRONTEND_MODEL_CONFIG_H_

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "weir/frontend/model_base.h"

namespace weir {

// Whether a class name of a configuration stands for a model.
bool IsModelClass(const std::string& class_name);

// Most calls of layers that a configuration may stand for, those inside of nested models counted wherever these are
// called: a file of a few kilobytes can stand for a number that grows as 2^depth.
inline constexpr int64_t kMaxConfiguredCalls = 50'000;

// What the parts of one configuration have in common.
struct ConfigContext {
  // Layers that several of its models use, by the number the file gives them ("shared_object_id").
  std::map<int64_t, Layer> shared;
  // Calls of layers recorded so far to find out shapes. A model that is called is recorded whole.
  int64_t recorded_calls = 0;

  // Counts a call of `layer` before it is made. Throws Error (kResourceExhausted) if that is too much work.
  void CountCall(const Layer& layer);
};

// The model an object {"class_name": "Sequential" or "Functional", "config": ...} describes, weights not included.
// Nothing is computed and no weight is made. Throws Error, or nlohmann's exceptions, for one that describes none, or
// one of more than kMaxConfiguredCalls. `context` is that of the models around this one.
std::shared_ptr<ModelBase> ModelFromJson(const nlohmann::json& json, const ModelOptions& options = {},
                                         ConfigContext* context = nullptr);

}  // namespace weir

#endif  // WEIR_FRONTEND_MODEL_CONFIG_H_
