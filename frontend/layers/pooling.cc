#include "weir/frontend/layers/pooling.h"

#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/layers/registry.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

enum class PoolKind { kMax, kAverage };

std::string ClassName(PoolKind kind, bool global, int rank) {
  return StrCat(global ? "Global" : "", kind == PoolKind::kMax ? "Max" : "Average", "Pooling", rank, "D");
}

class PoolLayer : public LayerBase {
 public:
  PoolLayer(PoolKind kind, int rank, const PoolLayerOptions& options)
      : LayerBase(ClassName(kind, false, rank), {.name = options.name, .input_shape = options.input_shape}),
        kind_(kind),
        rank_(rank),
        pool_size_(options.pool_size.Resolve(rank, class_name(), "pool_size")),
        strides_(options.strides.empty() ? pool_size_ : options.strides.Resolve(rank, class_name(), "strides")),
        padding_(options.padding) {
    if (padding_ != "valid" && padding_ != "same") {
      ThrowInvalidArgument(class_name(),
                           ": the `padding` argument must be \"valid\" or \"same\". Received: ", padding_);
    }
  }

  void Check(std::span<const TensorSpec> inputs) const override {
    CheckCount(inputs, 1);
    CheckRank(inputs[0], rank_ + 2);
  }

  std::vector<Value> Call(CallContext& /*context*/, std::span<const Value> inputs) const override {
    const PoolOptions options{.window = pool_size_, .strides = strides_, .padding = padding_};
    return {kind_ == PoolKind::kMax ? MaxPool(inputs[0], options) : AveragePool(inputs[0], options)};
  }

  bool SameInBatches(std::span<const int64_t> /*sizes*/) const override { return true; }
  nlohmann::json Config() const override {
    return {{"pool_size", pool_size_}, {"padding", padding_}, {"strides", strides_}, {"data_format", "channels_last"}};
  }

 private:
  PoolKind kind_;
  int rank_;
  std::vector<int64_t> pool_size_, strides_;
  std::string padding_;
};

class GlobalPoolLayer : public LayerBase {
 public:
  GlobalPoolLayer(PoolKind kind, int rank, const GlobalPoolLayerOptions& options)
      : LayerBase(ClassName(kind, true, rank), {.name = options.name, .input_shape = options.input_shape}),
        kind_(kind),
        rank_(rank),
        keepdims_(options.keepdims) {}

  void Check(std::span<const TensorSpec> inputs) const override {
    CheckCount(inputs, 1);
    CheckRank(inputs[0], rank_ + 2);
  }

  std::vector<Value> Call(CallContext& /*context*/, std::span<const Value> inputs) const override {
    Axes axes;
    for (int i = 1; i <= rank_; ++i) axes.push_back(i);
    return {kind_ == PoolKind::kMax ? Max(inputs[0], axes, keepdims_) : Mean(inputs[0], axes, keepdims_)};
  }

  bool SameInBatches(std::span<const int64_t> /*sizes*/) const override { return true; }
  nlohmann::json Config() const override { return {{"data_format", "channels_last"}, {"keepdims", keepdims_}}; }

 private:
  PoolKind kind_;
  int rank_;
  bool keepdims_;
};

Layer Pool(PoolKind kind, int rank, const PoolLayerOptions& options, const Here& where) {
  return MakeLayer<PoolLayer>(where, kind, rank, options);
}

Layer GlobalPool(PoolKind kind, int rank, const GlobalPoolLayerOptions& options, const Here& where) {
  return MakeLayer<GlobalPoolLayer>(where, kind, rank, options);
}

template <PoolKind kind, int rank>
Layer PoolFromConfig(const KerasConfig& config, const LayerOptions& common) {
  RequireChannelsLast(config);
  return Pool(kind, rank,
              {.pool_size = config.Ints("pool_size", {2}),
               .strides = config.Ints("strides", {}),
               .padding = config.String("padding", "valid"),
               .name = common.name},
              Here());
}

template <PoolKind kind, int rank>
Layer GlobalFromConfig(const KerasConfig& config, const LayerOptions& common) {
  RequireChannelsLast(config);
  return GlobalPool(kind, rank, {.keepdims = config.Bool("keepdims", false), .name = common.name}, Here());
}

template <int rank>
void AddRank(std::vector<KnownLayer>& known) {
  constexpr PoolKind kMax = PoolKind::kMax, kAverage = PoolKind::kAverage;
  known.push_back({ClassName(kMax, false, rank), PoolFromConfig<kMax, rank>});
  known.push_back({ClassName(kAverage, false, rank), PoolFromConfig<kAverage, rank>});
  known.push_back({ClassName(kMax, true, rank), GlobalFromConfig<kMax, rank>});
  known.push_back({ClassName(kAverage, true, rank), GlobalFromConfig<kAverage, rank>});
}

}  // namespace

PoolLayerOptions WithPoolSize(const IntList& pool_size, const PoolLayerOptions& options) {
  PoolLayerOptions all = options;
  all.pool_size = pool_size;
  return all;
}

Layer MaxPooling1D(const PoolLayerOptions& options, Here where) { return Pool(PoolKind::kMax, 1, options, where); }
Layer MaxPooling1D(const IntList& pool_size, int64_t strides, const std::string& padding, Here where) {
  return MaxPooling1D(pool_size, IntList(strides), padding, where);
}
Layer MaxPooling1D(const IntList& pool_size, const IntList& strides, const std::string& padding, Here where) {
  return Pool(PoolKind::kMax, 1, {.pool_size = pool_size, .strides = strides, .padding = padding}, where);
}
Layer MaxPooling2D(const PoolLayerOptions& options, Here where) { return Pool(PoolKind::kMax, 2, options, where); }
Layer MaxPooling2D(const IntList& pool_size, int64_t strides, const std::string& padding, Here where) {
  return MaxPooling2D(pool_size, IntList(strides), padding, where);
}
Layer MaxPooling2D(const IntList& pool_size, const IntList& strides, const std::string& padding, Here where) {
  return Pool(PoolKind::kMax, 2, {.pool_size = pool_size, .strides = strides, .padding = padding}, where);
}
Layer MaxPooling3D(const PoolLayerOptions& options, Here where) { return Pool(PoolKind::kMax, 3, options, where); }
Layer MaxPooling3D(const IntList& pool_size, int64_t strides, const std::string& padding, Here where) {
  return MaxPooling3D(pool_size, IntList(strides), padding, where);
}
Layer MaxPooling3D(const IntList& pool_size, const IntList& strides, const std::string& padding, Here where) {
  return Pool(PoolKind::kMax, 3, {.pool_size = pool_size, .strides = strides, .padding = padding}, where);
}
Layer AveragePooling1D(const PoolLayerOptions& options, Here where) { return Pool(PoolKind::kAverage, 1, options, where); }
Layer AveragePooling1D(const IntList& pool_size, int64_t strides, const std::string& padding, Here where) {
  return AveragePooling1D(pool_size, IntList(strides), padding, where);
}
Layer AveragePooling1D(const IntList& pool_size, const IntList& strides, const std::string& padding, Here where) {
  return Pool(PoolKind::kAverage, 1, {.pool_size = pool_size, .strides = strides, .padding = padding}, where);
}
Layer AveragePooling2D(const PoolLayerOptions& options, Here where) { return Pool(PoolKind::kAverage, 2, options, where); }
Layer AveragePooling2D(const IntList& pool_size, int64_t strides, const std::string& padding, Here where) {
  return AveragePooling2D(pool_size, IntList(strides), padding, where);
}
Layer AveragePooling2D(const IntList& pool_size, const IntList& strides, const std::string& padding, Here where) {
  return Pool(PoolKind::kAverage, 2, {.pool_size = pool_size, .strides = strides, .padding = padding}, where);
}
Layer AveragePooling3D(const PoolLayerOptions& options, Here where) { return Pool(PoolKind::kAverage, 3, options, where); }
Layer AveragePooling3D(const IntList& pool_size, int64_t strides, const std::string& padding, Here where) {
  return AveragePooling3D(pool_size, IntList(strides), padding, where);
}
Layer AveragePooling3D(const IntList& pool_size, const IntList& strides, const std::string& padding, Here where) {
  return Pool(PoolKind::kAverage, 3, {.pool_size = pool_size, .strides = strides, .padding = padding}, where);
}
Layer GlobalMaxPooling1D(const GlobalPoolLayerOptions& options, Here where) {
  return GlobalPool(PoolKind::kMax, 1, options, where);
}
Layer GlobalMaxPooling2D(const GlobalPoolLayerOptions& options, Here where) {
  return GlobalPool(PoolKind::kMax, 2, options, where);
}
Layer GlobalMaxPooling3D(const GlobalPoolLayerOptions& options, Here where) {
  return GlobalPool(PoolKind::kMax, 3, options, where);
}
Layer GlobalAveragePooling1D(const GlobalPoolLayerOptions& options, Here where) {
  return GlobalPool(PoolKind::kAverage, 1, options, where);
}
Layer GlobalAveragePooling2D(const GlobalPoolLayerOptions& options, Here where) {
  return GlobalPool(PoolKind::kAverage, 2, options, where);
}
Layer GlobalAveragePooling3D(const GlobalPoolLayerOptions& options, Here where) {
  return GlobalPool(PoolKind::kAverage, 3, options, where);
}

std::vector<KnownLayer> PoolingLayers() {
  std::vector<KnownLayer> known;
  AddRank<1>(known);
  AddRank<2>(known);
  AddRank<3>(known);
  return known;
}

}  // namespace weir
