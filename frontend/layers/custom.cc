#include "weir/frontend/layers/custom.h"

#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <typeindex>

#include "weir/core/error.h"
#include "weir/core/fork_guard.h"
#include "weir/frontend/layers/registry.h"

namespace weir {
namespace {

struct Registry {
  std::mutex mutex;
  std::map<std::string, std::pair<std::type_index, LayerMaker>> by_name;
  std::map<std::type_index, std::string> names;
};

// Never destroyed: layers may be saved as late as when the program ends.
Registry& TheRegistry() {
  static auto* registry = new Registry();
  return *registry;
}

}  // namespace

void RegisterLayerClass(const std::type_info& type, const std::string& name, LayerMaker make) {
  const size_t split = name.find('>');
  if (split == std::string::npos || split == 0 || split + 1 == name.size()) {
    ThrowInvalidArgument("RegisterLayer: the name is \"", name, "\", expected \"package>Name\"");
  }
  if (!make) ThrowInvalidArgument("RegisterLayer: \"", name, "\" has nothing that makes the layer");
  Registry& registry = TheRegistry();
  const LibraryCall call;
  std::lock_guard lock(registry.mutex);
  const auto named = registry.by_name.find(name);
  if (named != registry.by_name.end() && named->second.first != std::type_index(type)) {
    ThrowInvalidArgument("RegisterLayer: \"", name, "\" is the name of another class");
  }
  const auto [known, added] = registry.names.try_emplace(std::type_index(type), name);
  if (!added && known->second != name) {
    ThrowInvalidArgument("RegisterLayer: the class of \"", name, "\" is registered as \"", known->second, "\"");
  }
  registry.by_name.insert_or_assign(name, std::pair(std::type_index(type), std::move(make)));
}

std::string RegisteredName(const LayerBase& layer) {
  Registry& registry = TheRegistry();
  const LibraryCall call;
  std::lock_guard lock(registry.mutex);
  const auto found = registry.names.find(std::type_index(typeid(layer)));
  return found == registry.names.end() ? "" : found->second;
}

Layer CustomLayerFrom(const std::string& name, const KerasConfig& config, const LayerOptions& common) {
  LayerMaker make;
  std::vector<std::string> known;
  {
    Registry& registry = TheRegistry();
    const LibraryCall call;
    std::lock_guard lock(registry.mutex);
    for (const auto& [registered, entry] : registry.by_name) known.push_back(registered);
    const auto found = registry.by_name.find(name);
    if (found != registry.by_name.end()) make = found->second.second;
  }
  if (!make) {
    ThrowInvalidArgument(known.empty() ? StrCat("unknown layer class '", name, "'")
                                       : UnknownNameMessage("registered layer class", name, known),
                         ": a class of one's own is registered with RegisterLayer before models with it are loaded");
  }
  const std::shared_ptr<LayerBase> layer = make(LayerConfig(config.json()));
  if (layer == nullptr) ThrowInvalidArgument("what is registered as \"", name, "\" made no layer");
  if (!common.name.empty()) layer->SetName(common.name);
  layer->SetTrainable(common.trainable);
  return Layer(layer);
}

}  // namespace weir
