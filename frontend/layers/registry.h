// Layers by class name, for reading configurations. One list a file of layers, put together in registry.cc.
#ifndef WEIR_FRONTEND_LAYERS_REGISTRY_H_
#define WEIR_FRONTEND_LAYERS_REGISTRY_H_

#include <string>
#include <string_view>
#include <vector>

#include "weir/core/error.h"
#include "weir/frontend/layer.h"
#include "weir/frontend/parts/keras_config.h"

namespace weir {

struct ConfigContext;

struct KnownLayer {
  std::string class_name;
  // `common` holds what every layer's config has.
  Layer (*make)(const KerasConfig& config, const LayerOptions& common);
};

std::vector<KnownLayer> ActivationLayers();
std::vector<KnownLayer> ConvLayers();
std::vector<KnownLayer> DenseLayers();
std::vector<KnownLayer> DropoutLayers();
std::vector<KnownLayer> InputLayers();
std::vector<KnownLayer> MergeLayers();
std::vector<KnownLayer> OperationLayers();
std::vector<KnownLayer> PoolingLayers();
std::vector<KnownLayer> ShapeLayers();

// Whether it is the class of a layer of weir's own.
bool IsKnownLayerClass(const std::string& class_name);

// The layer that a serialised object describes: {"class_name", "config", ...}. Throws Error for an unknown class
// (listing the known ones) and for options that make no layer. An object whose "shared_object_id" the context
// knows is that layer; one that it does not know is added.
Layer LayerFromJson(const nlohmann::json& json, ConfigContext* context = nullptr);

// A layer of a class that RegisterLayer (custom.h) knows by this name, made from its options. Throws Error otherwise.
Layer CustomLayerFrom(const std::string& name, const KerasConfig& config, const LayerOptions& common);

// ---- For the makers

// Runs `make`; an Error that it throws gets the user's line, if that is known and not in the message yet.
template <class F>
auto NamingLine(const Here& where, const F& make) {
  try {
    return make();
  } catch (const Error& error) {
    if (where.line() == 0) throw;
    const std::string line = ShortLocation(where.file_name(), static_cast<int>(where.line()));
    if (error.message().find(line) != std::string::npos) throw;
    throw Error(error.code(), StrCat(error.message(), " (", line, ")"));
  }
}

template <class L, class... Args>
Layer MakeLayer(const Here& where, Args&&... args) {
  return NamingLine(where, [&] { return Layer(std::make_shared<L>(std::forward<Args>(args)...), where); });
}

// Throws Error unless data_format is absent or "channels_last".
void RequireChannelsLast(const KerasConfig& config);

// A part under `key`; the default if the key is missing.
template <class T>
T Part(const nlohmann::json& json, const char* key, T otherwise = {}) {
  const auto found = json.find(key);
  return found == json.end() ? otherwise : T::FromJson(*found);
}

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYERS_REGISTRY_H_
