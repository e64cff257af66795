#include "weir/frontend/layers/merge.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/layers/registry.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

using Pairwise = Value (*)(const Value& a, const Value& b);

class MergeLayer : public LayerBase {
 public:
  MergeLayer(std::string class_name, const MergeLayerOptions& options, Pairwise merge)
      : LayerBase(std::move(class_name), {.name = options.name}), merge_(merge) {}

  void Check(std::span<const TensorSpec> inputs) const override {
    if (inputs.size() < 2) {
      ThrowInvalidArgument(Where(), "a merge layer should be called on a list of at least 2 inputs. Received ",
                           inputs.size());
    }
    if (class_name() == "Subtract") CheckCount(inputs, 2);
  }

  std::vector<Value> Call(CallContext& /*context*/, std::span<const Value> inputs) const override {
    int rank = 0;
    for (const Value& input : inputs) rank = std::max(rank, input.shape().rank());
    Value result = Widen(inputs[0], rank);
    for (size_t i = 1; i < inputs.size(); ++i) result = merge_(result, Widen(inputs[i], rank));
    if (class_name() == "Average") result = result / static_cast<double>(inputs.size());
    return {result};
  }

  nlohmann::json Config() const override { return nlohmann::json::object(); }

 private:
  // Axes of size 1 behind the batch axis.
  static Value Widen(const Value& x, int rank) {
    if (x.shape().rank() == rank) return x;
    Dims dims(x.shape().begin(), x.shape().end());
    dims.insert(dims.begin() + 1, static_cast<size_t>(rank - x.shape().rank()), 1);
    return Reshape(x, std::span<const int64_t>(dims.data(), dims.size()));
  }

  Pairwise merge_;
};

class ConcatenateLayer : public LayerBase {
 public:
  explicit ConcatenateLayer(const ConcatenateLayerOptions& options)
      : LayerBase("Concatenate", {.name = options.name}), axis_(options.axis) {}

  void Check(std::span<const TensorSpec> inputs) const override {
    if (inputs.empty())
      ThrowInvalidArgument(Where(), "a `Concatenate` layer should be called on a list of at least 1 input");
    const int axis = NormalizeAxis(axis_, inputs[0].rank(), "Concatenate");
    std::vector<std::string> shapes;
    bool fits = true;
    for (const TensorSpec& input : inputs) {
      shapes.push_back(ShapeText(input.dims));
      fits = fits && input.rank() == inputs[0].rank();
      for (int i = 0; fits && i < input.rank(); ++i) {
        const int64_t a = input.dims[static_cast<size_t>(i)], b = inputs[0].dims[static_cast<size_t>(i)];
        if (i != axis && a != b && a != kNone && b != kNone) fits = false;
      }
    }
    if (!fits) {
      ThrowInvalidArgument(Where(),
                           "a `Concatenate` layer requires inputs with matching shapes except for the concatenation "
                           "axis. Received: input_shape=[",
                           StrJoin(shapes, ", "), "]");
    }
  }

  std::vector<Value> Call(CallContext& /*context*/, std::span<const Value> inputs) const override {
    return {weir::Concatenate(inputs, NormalizeAxis(axis_, inputs[0].shape().rank(), "Concatenate"))};
  }

  nlohmann::json Config() const override { return {{"axis", axis_}}; }

 private:
  int64_t axis_;
};

Value AddPair(const Value& a, const Value& b) { return a + b; }
Value SubtractPair(const Value& a, const Value& b) { return a - b; }
Value MultiplyPair(const Value& a, const Value& b) { return a * b; }
Value MaximumPair(const Value& a, const Value& b) { return Maximum(a, b); }
Value MinimumPair(const Value& a, const Value& b) { return Minimum(a, b); }

Layer Make(const char* class_name, const MergeLayerOptions& options, Pairwise merge, const Here& where) {
  return MakeLayer<MergeLayer>(where, class_name, options, merge);
}

template <Layer (*make)(const MergeLayerOptions&, Here)>
Layer FromConfig(const KerasConfig& /*config*/, const LayerOptions& common) {
  return make({.name = common.name}, Here());
}

Layer ConcatenateFromConfig(const KerasConfig& config, const LayerOptions& common) {
  return Concatenate({.axis = config.Axis("axis", -1), .name = common.name}, Here());
}

}  // namespace

Layer Add(const MergeLayerOptions& options, Here where) { return Make("Add", options, AddPair, where); }
Layer Subtract(const MergeLayerOptions& options, Here where) { return Make("Subtract", options, SubtractPair, where); }
Layer Multiply(const MergeLayerOptions& options, Here where) { return Make("Multiply", options, MultiplyPair, where); }
Layer Average(const MergeLayerOptions& options, Here where) { return Make("Average", options, AddPair, where); }
Layer Maximum(const MergeLayerOptions& options, Here where) { return Make("Maximum", options, MaximumPair, where); }
Layer Minimum(const MergeLayerOptions& options, Here where) { return Make("Minimum", options, MinimumPair, where); }
Layer Concatenate(const ConcatenateLayerOptions& options, Here where) {
  return MakeLayer<ConcatenateLayer>(where, options);
}
Layer Concatenate(int64_t axis, Here where) { return Concatenate(ConcatenateLayerOptions{.axis = axis}, where); }

std::vector<KnownLayer> MergeLayers() {
  return {{"Add", FromConfig<Add>},
          {"Subtract", FromConfig<Subtract>},
          {"Multiply", FromConfig<Multiply>},
          {"Average", FromConfig<Average>},
          {"Maximum", FromConfig<Maximum>},
          {"Minimum", FromConfig<Minimum>},
          {"Concatenate", ConcatenateFromConfig}};
}

}  // namespace weir
