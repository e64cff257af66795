// Models from their configuration in Keras's spelling (ModelBase::ToJson writes it).
#ifndef WEIR_FRONTEND_MODEL_CONFIG_H_
#define WEIR_FRONTEND_MODEL_CONFIG_H_

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "weir/frontend/model_base.h"

namespace weir {

// Whether a class name of a configuration stands for a model.
bool IsModelClass(const std::string& class_name);

// The model an object {"class_name": "Sequential" or "Functional", "config": ...} describes, weights not included.
// Throws Error, or nlohmann's exceptions, for one that describes none.
std::shared_ptr<ModelBase> ModelFromJson(const nlohmann::json& json, const ModelOptions& options = {});

}  // namespace weir

#endif  // WEIR_FRONTEND_MODEL_CONFIG_H_
