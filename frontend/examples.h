// Examples: what a model is fed, one tensor an input and one an output, and how batches are cut from it. Nothing is
// copied but the batch, and that only where it must be: pictures of 8 bits a channel become float32 on the way into it.
#ifndef WEIR_FRONTEND_EXAMPLES_H_
#define WEIR_FRONTEND_EXAMPLES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/tensor.h"
#include "weir/frontend/data/dataset.h"
#include "weir/frontend/model_base.h"

namespace weir {

using NamedTensor = std::pair<std::string, Tensor>;

struct Examples {
  Examples() = default;
  Examples(const Dataset& dataset) : Examples(dataset.images, dataset.labels) {  // NOLINT
    class_names = dataset.class_names;
  }
  Examples(Tensor x, Tensor y, Tensor sample_weight = {});
  // In the order of the model's inputs and outputs.
  Examples(std::vector<Tensor> x, std::vector<Tensor> y, std::vector<Tensor> sample_weights = {});
  // Targets by output name (Model::output_names).
  Examples(std::vector<Tensor> x, std::vector<NamedTensor> y);

  bool defined() const { return !x.empty(); }
  // These examples with sample weights. Throws Error, naming `what` is done, if they have some and are given others.
  Examples Weighted(const std::vector<Tensor>& weights, std::string_view what) const;

  std::vector<Tensor> x;
  std::vector<NamedTensor> y;          // "" where the order counts
  std::vector<Tensor> sample_weights;  // (N), one an output, or one for all; empty: all 1
  std::vector<std::string> class_names;  // of labels; a model trained on them remembers them
};

// What a model keeps of the data it is trained on: the names of the classes, and the scale of inputs of bytes.
void RememberData(ModelBase& model, const Examples& examples, std::optional<double> scale);
// Throws Error, naming `what` is done, if inputs of bytes are to be multiplied with something else than in training.
void CheckScale(const ModelBase& model, const std::vector<Tensor>& x, std::optional<double> scale, std::string_view what);

// Examples checked against a model, in its order and with its dtypes known.
class BoundExamples {
 public:
  // Throws Error, with a hint where one helps, if shapes, counts or names don't fit. `scale` multiplies inputs; without
  // it, those of bytes are multiplied with what the model remembers, if it does.
  // Targets may be left out (`with_targets` false).
  BoundExamples(const ModelBase& model, const Examples& examples, bool with_targets, std::optional<double> scale,
                const std::map<int64_t, double>& class_weight = {});

  int64_t size() const { return size_; }
  bool weighted() const { return !weights_.empty(); }
  // The part [begin, end).
  BoundExamples Part(int64_t begin, int64_t end) const;

  // Leaves of one batch of `count` examples: inputs, then targets, then sample weights.
  std::vector<TensorType> InputTypes(int64_t count) const { return BatchTypes(inputs_, count); }
  std::vector<TensorType> TargetTypes(int64_t count) const { return BatchTypes(targets_, count); }
  std::vector<TensorType> WeightTypes(int64_t count) const { return BatchTypes(weights_, count); }
  // The batch of the rows with these numbers, converted and scaled. Tensors that need a copy are filled in `buffers`,
  // one a tensor, which are made where undefined; rows that lie together as the batch has them share their data.
  std::vector<Tensor> Batch(std::span<const int64_t> rows, std::span<Tensor> buffers) const;

 private:
  struct Column {
    Tensor data;
    DType dtype = DType::kFloat32;  // in the batch
    double scale = 1;

    TensorType BatchType(int64_t count) const;
    // To a batch's tensor, converted and scaled.
    void CopyRows(std::span<const int64_t> rows, int64_t offset, Tensor& dst) const;
  };

  static std::vector<TensorType> BatchTypes(const std::vector<Column>& columns, int64_t count);
  void BindInputs(const ModelBase& model, const Examples& examples, std::optional<double> scale);
  void BindTargets(const ModelBase& model, const Examples& examples);
  void BindWeights(const ModelBase& model, const Examples& examples);
  void CheckSizes();
  void AddClassWeights(const std::map<int64_t, double>& class_weight);

  int64_t size_ = 0;
  int64_t offset_ = 0;
  std::vector<Column> inputs_, targets_, weights_;
};

}  // namespace weir

#endif  // WEIR_FRONTEND_EXAMPLES_H_
