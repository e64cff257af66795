// Layers of one's own that load again with the models they are part of. Each class is registered under a name with the
// package in front, once, before a model with it is loaded (saving needs it too: the name goes into the file):
//
//   class Scale : public LayerBase {
//    public:
//     explicit Scale(double factor) : LayerBase("Scale", {}), factor_(factor) {}
//     std::vector<Value> Call(CallContext&, std::span<const Value> x) const override { return {x[0] * factor_}; }
//     LayerConfig Options() const override { return {{"factor", factor_}}; }
//    ...
//   RegisterLayer<Scale>("shop>Scale", [](const LayerConfig& config) {
//     return std::make_shared<Scale>(config.Number("factor"));
//   });
#ifndef WEIR_FRONTEND_LAYERS_CUSTOM_H_
#define WEIR_FRONTEND_LAYERS_CUSTOM_H_

#include <functional>
#include <memory>
#include <string>
#include <typeinfo>

#include "weir/frontend/layer.h"
#include "weir/frontend/layer_config.h"

namespace weir {

using LayerMaker = std::function<std::shared_ptr<LayerBase>(const LayerConfig& config)>;

// For any class known by its type. Throws Error unless the name is "package>Name" with both parts, and if another class
// has it or the class has another one; registering the same again replaces the maker. From any thread.
void RegisterLayerClass(const std::type_info& type, const std::string& name, LayerMaker make);

// `make` gets what Options() gave; the layer's name and whether it is trainable are set afterwards.
template <class L>
void RegisterLayer(const std::string& name, LayerMaker make) {
  static_assert(std::is_base_of_v<LayerBase, L>, "a layer derives from LayerBase");
  RegisterLayerClass(typeid(L), name, std::move(make));
}

// The name that the class of `layer` is registered under; "" for none.
std::string RegisteredName(const LayerBase& layer);

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYERS_CUSTOM_H_
