// Sequential: a model that is a chain of layers.
#ifndef WEIR_FRONTEND_SEQUENTIAL_H_
#define WEIR_FRONTEND_SEQUENTIAL_H_

#include "weir/frontend/model.h"

namespace weir {

class Sequential : public Model {
 public:
  // Built at once if the first layer tells its input_shape, is Input(...) or a built model; else with the first data.
  explicit Sequential(const ModelOptions& options = {})
      : Model(std::make_shared<ModelBase>(std::vector<Layer>{}, options)) {}
  Sequential(std::initializer_list<Layer> layers, const ModelOptions& options = {})
      : Model(std::make_shared<ModelBase>(std::vector<Layer>(layers), options)) {}
  explicit Sequential(std::vector<Layer> layers, const ModelOptions& options = {})
      : Model(std::make_shared<ModelBase>(std::move(layers), options)) {}

  void Add(const Layer& layer) const { model().AddLayer(layer); }

  // Makes the weights for inputs of this shape, without the batch axis.
  void Build(const std::vector<int64_t>& input_shape) const {
    TensorSpec spec{DType::kFloat32, {kNone}};
    spec.dims.insert(spec.dims.end(), input_shape.begin(), input_shape.end());
    model().EnsureBuilt(std::vector<TensorSpec>{spec});
  }
};

}  // namespace weir

#endif  // WEIR_FRONTEND_SEQUENTIAL_H_
