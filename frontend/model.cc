#include "weir/frontend/model.h"

#include "weir/core/error.h"
#include "weir/frontend/model_files.h"
#include "weir/frontend/trainer.h"

namespace weir {

Model::Model(const SymbolicList& inputs, const SymbolicList& outputs, const ModelOptions& options)
    : Model(std::make_shared<ModelBase>(inputs.tensors(), outputs.tensors(), options)) {}

ModelBase& Model::model() const { return AsModel(*this); }

Layer Model::layer(int index) const {
  const std::vector<Layer> all = layers();
  const int count = static_cast<int>(all.size());
  if (index < -count || index >= count) {
    ThrowOutOfRange("model \"", name(), "\" has ", count, " layers, there is no layer ", index);
  }
  return all[static_cast<size_t>(index < 0 ? index + count : index)];
}

Layer Model::layer(const std::string& name) const {
  std::vector<std::string> names;
  for (const Layer& layer : layers()) {
    if (layer.name() == name) return layer;
    names.push_back(layer.name());
  }
  ThrowNotFound("model \"", this->name(), "\": ", UnknownNameMessage("layer", name, names));
}

void Model::Summary(std::ostream& out, const SummaryOptions& options) const {
  out << SummaryText(options) << std::flush;
}
std::string Model::SummaryText(const SummaryOptions& options) const { return weir::SummaryText(model(), options); }

void Model::Compile(const ModelCompileOptions& options, Here where) const {
  model().trainer().Compile(options, where);
}

History Model::Fit(const Examples& data, const FitOptions& options) const {
  return model().trainer().Fit(data, options);
}

Logs Model::Evaluate(const Examples& data, const EvaluateOptions& options) const {
  return model().trainer().Evaluate(data, options);
}

std::vector<Tensor> Model::Predict(const Tensor& x, const PredictOptions& options) const {
  return Predict(std::vector<Tensor>{x}, options);
}

std::vector<Tensor> Model::Predict(const std::vector<Tensor>& x, const PredictOptions& options) const {
  return model().trainer().Predict(x, options);
}

Tensor Model::PredictOne(const Tensor& x, const PredictOptions& options) const {
  std::vector<Tensor> outputs = Predict(x, options);
  if (outputs.size() != 1) {
    ThrowInvalidArgument("PredictOne: model \"", name(), "\" has ", outputs.size(), " outputs, use Predict");
  }
  return outputs[0];
}

Logs Model::TrainOnBatch(const Examples& batch, const BatchOptions& options) const {
  return model().trainer().TrainOnBatch(batch, options);
}

const History& Model::history() const { return model().trainer().history(); }
int64_t Model::iterations() const { return model().trainer().state().Iterations(); }
Optimizer Model::optimizer() const { return model().trainer().optimizer(); }
void Model::set_learning_rate(double learning_rate) const { model().trainer().set_learning_rate(learning_rate); }

TapHandle Model::Tap(const std::string& pattern, const TapOptions& options) const {
  return TapHandle(model().trainer().AddTap(TapRequest(pattern, options)));
}

absl::Status Model::Save(const std::string& path) const { return SaveModel(model(), path); }
absl::Status Model::SaveWeights(const std::string& path) const { return weir::SaveWeights(model(), path); }
absl::StatusOr<std::vector<std::string>> Model::LoadWeights(const std::string& path, bool partial) const {
  return weir::LoadWeights(model(), path, partial);
}

}  // namespace weir
