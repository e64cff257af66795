#include "weir/frontend/layer_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/parts/keras_config.h"

namespace weir {
namespace {

template <class T>
std::shared_ptr<const nlohmann::json> Share(const T& value) {
  return std::make_shared<const nlohmann::json>(value);
}

// The options for reading; throws Error unless it has this one.
KerasConfig Reader(const nlohmann::json& json, const std::string& name) {
  const KerasConfig config("the layer", json);
  if (!config.Has(name)) ThrowInvalidArgument("the layer's configuration has no \"", name, "\"");
  return config;
}

}  // namespace

LayerConfig::Value::Value(bool value) : json_(Share(value)) {}
LayerConfig::Value::Value(int value) : json_(Share(value)) {}
LayerConfig::Value::Value(int64_t value) : json_(Share(value)) {}
LayerConfig::Value::Value(double value) : json_(Share(value)) {
  if (!std::isfinite(value)) ThrowInvalidArgument("LayerConfig: ", value, " can't be part of a configuration");
}
LayerConfig::Value::Value(const char* value) : json_(Share(value)) {}
LayerConfig::Value::Value(std::string value) : json_(Share(value)) {}
LayerConfig::Value::Value(std::vector<int64_t> value) : json_(Share(value)) {}
LayerConfig::Value::Value(std::vector<double> value) : json_(Share(value)) {}
LayerConfig::Value::Value(std::vector<std::string> value) : json_(Share(value)) {}

LayerConfig::LayerConfig() : json_(std::make_shared<nlohmann::json>(nlohmann::json::object())) {}
LayerConfig::LayerConfig(std::initializer_list<std::pair<const char*, Value>> options) : LayerConfig() {
  for (const auto& [name, value] : options) (*json_)[name] = *value.json_;
}
LayerConfig::LayerConfig(nlohmann::json json) : json_(std::make_shared<nlohmann::json>(std::move(json))) {
  if (!json_->is_object()) ThrowInvalidArgument("a layer's configuration is ", json_->type_name(), ", not an object");
}

void LayerConfig::Set(const std::string& name, const Value& value) {
  // Copies share the options they had.
  json_ = std::make_shared<nlohmann::json>(*json_);
  (*json_)[name] = *value.json_;
}
bool LayerConfig::Has(const std::string& name) const { return json_->contains(name) && !json_->at(name).is_null(); }
int64_t LayerConfig::Int(const std::string& name) const { return Reader(*json_, name).Int(name, 0); }
double LayerConfig::Number(const std::string& name) const { return Reader(*json_, name).Number(name, 0); }
bool LayerConfig::Bool(const std::string& name) const { return Reader(*json_, name).Bool(name, false); }
std::string LayerConfig::String(const std::string& name) const { return Reader(*json_, name).String(name, ""); }
std::vector<int64_t> LayerConfig::Ints(const std::string& name) const { return Reader(*json_, name).Ints(name, {}); }
std::vector<double> LayerConfig::Numbers(const std::string& name) const { return Reader(*json_, name).Numbers(name); }

}  // namespace weir
