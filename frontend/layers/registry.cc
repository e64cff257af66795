#include "weir/frontend/layers/registry.h"

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

Layer LayerFromJson(const nlohmann::json& json) {
  const std::optional<KerasConfig> config = ParseKerasObject("layer", json);
  if (!config) ThrowInvalidArgument("the configuration has null where a layer is expected");
  if (IsModelClass(config->class_name())) return Layer(ModelFromJson(json));
  LayerOptions common{.name = config->String("name", ""), .trainable = config->Bool("trainable", true)};
  std::vector<std::string> names;
  for (const auto& list : {ActivationLayers(), ConvLayers(), DenseLayers(), DropoutLayers(), InputLayers(),
                           MergeLayers(), PoolingLayers(), ShapeLayers()}) {
    for (const KnownLayer& known : list) {
      if (known.class_name == config->class_name()) return known.make(*config, common);
      names.push_back(known.class_name);
    }
  }
  ThrowInvalidArgument(UnknownNameMessage("layer class", config->class_name(), names));
}

}  // namespace weir
