#include "weir/frontend/layers/registry.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/model_config.h"

namespace weir {

void RequireChannelsLast(const KerasConfig& config) {
  const std::string format = config.String("data_format", "channels_last");
  if (format != "channels_last") {
    ThrowInvalidArgument(config.class_name(), ": data_format \"", format,
                         "\" is not supported, expected \"channels_last\"");
  }
}

namespace {

const std::vector<KnownLayer>& KnownLayers() {
  static const std::vector<KnownLayer>& known = *new std::vector<KnownLayer>([] {
    std::vector<KnownLayer> all;
    for (const auto& list : {ActivationLayers(), ConvLayers(), DenseLayers(), DropoutLayers(), InputLayers(),
                             MergeLayers(), OperationLayers(), PoolingLayers(), ShapeLayers()}) {
      all.insert(all.end(), list.begin(), list.end());
    }
    return all;
  }());
  return known;
}

Layer MakeLayer(const nlohmann::json& json, ConfigContext* context) {
  const std::optional<KerasConfig> config = ParseKerasObject("layer", json);
  if (!config) ThrowInvalidArgument("the configuration has null where a layer is expected");
  if (IsModelClass(config->class_name())) return Layer(ModelFromJson(json, {}, context));
  LayerOptions common{.name = config->String("name", ""), .trainable = config->Bool("trainable", true)};
  // Keras writes null, or the class's own name, for its own.
  if (const auto registered = json.find("registered_name"); registered != json.end() && registered->is_string()) {
    const std::string name = registered->get<std::string>();
    if (name.find('>') != std::string::npos) return CustomLayerFrom(name, *config, common);
  }
  std::vector<std::string> names;
  for (const KnownLayer& known : KnownLayers()) {
    if (known.class_name == config->class_name()) return known.make(*config, common);
    names.push_back(known.class_name);
  }
  ThrowInvalidArgument(UnknownNameMessage("layer class", config->class_name(), names),
                       "; a class of one's own is registered with RegisterLayer before it is saved");
}

}  // namespace

bool IsKnownLayerClass(const std::string& class_name) {
  return std::any_of(KnownLayers().begin(), KnownLayers().end(),
                     [&](const KnownLayer& known) { return known.class_name == class_name; });
}

Layer LayerFromJson(const nlohmann::json& json, ConfigContext* context) {
  if (context == nullptr || !json.is_object() || !json.contains("shared_object_id")) return MakeLayer(json, context);
  std::map<int64_t, Layer>& shared = context->shared;
  const int64_t number = JsonInt(json["shared_object_id"], "shared_object_id", 0, INT64_MAX);
  const auto found = shared.find(number);
  if (found == shared.end()) {
    const Layer layer = MakeLayer(json, context);
    shared.emplace(number, layer);
    return layer;
  }
  const auto class_name = json.find("class_name");
  const bool model = found->second.base().is_model();
  if (class_name == json.end() || !class_name->is_string() ||
      (*class_name != found->second.class_name() && !(model && IsModelClass(*class_name)))) {
    ThrowInvalidArgument("shared_object_id ", number, " is layer \"", found->second.name(), "\" of class ",
                         found->second.class_name(), ", and elsewhere of another class");
  }
  return found->second;
}

}  // namespace weir
