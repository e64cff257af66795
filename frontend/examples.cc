#include "weir/frontend/examples.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "weir/core/error.h"
#include "weir/frontend/layers/input.h"

namespace weir {
namespace {

std::vector<NamedTensor> Unnamed(std::vector<Tensor> tensors) {
  std::vector<NamedTensor> named;
  for (Tensor& tensor : tensors) named.emplace_back("", std::move(tensor));
  return named;
}

// What is probably wrong with an input of this shape.
std::string Hint(const Shape& shape, const TensorSpec& expected) {
  const auto fits_from = [&](int first) {  // axes of shape from `first` on against expected's without the batch
    if (shape.rank() - first != expected.rank() - 1) return false;
    for (int i = 1; i < expected.rank(); ++i) {
      const int64_t dim = expected.dims[static_cast<size_t>(i)];
      if (dim != kNone && dim != shape[first + i - 1]) return false;
    }
    return true;
  };
  const bool pictures = expected.rank() == 4;
  const int64_t channels = expected.dims.back();
  if (shape.rank() == expected.rank() - 1 && (fits_from(0) || pictures)) {
    if (fits_from(0)) return ": the batch axis is missing, reshape to (1, ...)";
  }
  if (pictures && shape.rank() >= 3) {
    const int first = shape.rank() - 3;
    if (shape[first] == channels && shape[-1] != channels) {
      return ": looks like channels-first data, transpose to (N, height, width, channels)";
    }
    if (shape.rank() == 3 && shape[-1] == channels)
      return ": the batch axis is missing, and the picture must be resized";
    if (shape.rank() == 4 && shape[-1] == channels) return ": resize the pictures";
    if (shape.rank() == 4) return StrCat(": the pictures have ", shape[-1], " channels, not ", channels);
  }
  return "";
}

template <class From, class To>
void CopyScaled(const From* src, To* dst, int64_t count, double scale) {
  if constexpr (std::is_same_v<From, uint8_t> && std::is_same_v<To, float>) {
    // All 256 results at once: the same roundings, at the speed of a look-up.
    std::array<float, 256> table;
    for (int i = 0; i < 256; ++i) table[static_cast<size_t>(i)] = static_cast<float>(i * scale);
    for (int64_t i = 0; i < count; ++i) dst[i] = table[src[i]];
    return;
  }
  if constexpr (std::is_arithmetic_v<From> && std::is_arithmetic_v<To>) {
    for (int64_t i = 0; i < count; ++i) {
      dst[i] = scale == 1 ? static_cast<To>(src[i]) : static_cast<To>(static_cast<double>(src[i]) * scale);
    }
  }
}

// Whether anything in the model may bring bytes to about one.
bool MayScale(const ModelBase& model) {
  for (const Layer& layer : model.network().layers) {
    const LayerBase& base = layer.base();
    if (base.is_model() ? MayScale(AsModel(layer)) : base.class_name() == "Rescaling" || base.class_name() == "Operation")
      return true;
  }
  return false;
}

// Numbers from 0 to 255 where a model expects about one train badly, and nothing else says so.
void WarnOfBytes(const ModelBase& model, const Tensor& x, DType wanted, double scale) {
  constexpr int64_t kLooked = 1 << 16;  // elements: enough to tell a picture from flags
  if (x.dtype() != DType::kUint8 || wanted != DType::kFloat32 || scale != 1 || model.warned()) return;
  const std::span<const uint8_t> bytes = x.data<uint8_t>().first(static_cast<size_t>(std::min(x.size(), kLooked)));
  const auto largest = std::max_element(bytes.begin(), bytes.end());
  if (largest == bytes.end() || *largest <= 1 || MayScale(model) || !model.FirstWarning()) return;
  std::fprintf(stderr,
               "weir: warning: model \"%s\" is fed bytes up to %d as they are; for numbers from 0 to 1 write "
               ".scale = 1. / 255, or begin the model with Rescaling(1. / 255)\n",
               model.name().c_str(), static_cast<int>(*largest));
}

// Labels stay integers, real targets become float32.
DType TargetDType(DType given) {
  if (given == DType::kUint8 || given == DType::kBool) return DType::kInt32;
  return given == DType::kFloat64 ? DType::kFloat32 : given;
}

}  // namespace

Examples::Examples(Tensor x_value, Tensor y_value, Tensor sample_weight) {
  x.push_back(std::move(x_value));
  if (y_value.defined()) y.emplace_back("", std::move(y_value));
  if (sample_weight.defined()) sample_weights.push_back(std::move(sample_weight));
}

Examples::Examples(std::vector<Tensor> x_values, std::vector<Tensor> y_values, std::vector<Tensor> weights)
    : x(std::move(x_values)), y(Unnamed(std::move(y_values))), sample_weights(std::move(weights)) {}

Examples::Examples(std::vector<Tensor> x_values, std::vector<NamedTensor> y_values)
    : x(std::move(x_values)), y(std::move(y_values)) {}

Examples Examples::Weighted(const std::vector<Tensor>& weights, std::string_view what) const {
  Examples weighted = *this;
  if (weights.empty()) return weighted;
  if (!sample_weights.empty()) {
    ThrowInvalidArgument(what, ": sample_weight is given, but the data has sample weights already");
  }
  weighted.sample_weights = weights;
  return weighted;
}

void RememberData(ModelBase& model, const Examples& examples, std::optional<double> scale) {
  if (!examples.class_names.empty()) model.SetClassNames(examples.class_names);
  const Network& network = model.network();
  for (size_t i = 0; i < examples.x.size() && i < network.input_calls.size(); ++i) {
    LayerBase& input = *network.input_calls[i]->layer;
    if (examples.x[i].dtype() != DType::kUint8) continue;
    SetInputScale(input, scale.value_or(InputScaleOf(input).value_or(1)));
  }
}

void CheckScale(const ModelBase& model, const std::vector<Tensor>& x, std::optional<double> scale,
                std::string_view what) {
  if (!scale) return;
  const Network& network = model.network();
  for (size_t i = 0; i < x.size() && i < network.input_calls.size(); ++i) {
    const std::optional<double> trained = InputScaleOf(*network.input_calls[i]->layer);
    if (!x[i].defined() || x[i].dtype() != DType::kUint8 || !trained) continue;
    // 1 / 255.0 and 1 / 255.0f are the same scale.
    if (std::fabs(*scale - *trained) <= 1e-6 * std::fabs(*trained)) continue;
    ThrowInvalidArgument(what, ": scale is ", *scale, ", but model \"", model.name(), "\" was trained on bytes times ",
                         *trained, " (input ", i, "): leave it out, or give that");
  }
}

BoundExamples::BoundExamples(const ModelBase& model, const Examples& examples, bool with_targets, std::optional<double> scale,
                             const std::map<int64_t, double>& class_weight) {
  BindInputs(model, examples, scale);
  if (with_targets) BindTargets(model, examples);
  CheckSizes();
  if (with_targets && !examples.sample_weights.empty()) BindWeights(model, examples);
  if (!class_weight.empty()) AddClassWeights(class_weight);
}

void BoundExamples::BindInputs(const ModelBase& model, const Examples& examples, std::optional<double> scale) {
  const Network& network = model.network();
  if (scale == 0) {
    ThrowInvalidArgument("Model \"", model.name(), "\": .scale is 0, as 1 / 255 is in C++: write 1. / 255");
  }
  if (examples.x.size() != network.inputs.size()) {
    ThrowInvalidArgument("Model \"", model.name(), "\" has ", network.inputs.size(), " input(s) (",
                         StrJoin(model.InputNames(), ", "), "), ", examples.x.size(), " given");
  }
  for (size_t i = 0; i < examples.x.size(); ++i) {
    const TensorSpec& expected = network.inputs[i].spec();
    const Tensor& x = examples.x[i];
    if (!x.defined()) ThrowInvalidArgument("Model \"", model.name(), "\": input ", i, " is an undefined tensor");
    if (!Fits(x.shape(), expected)) {
      std::string wanted = ShapeText(expected.dims);
      if (expected.dims[0] == kNone) wanted.replace(1, 4, "N");
      ThrowInvalidArgument("Input ", i, " of model \"", model.name(), "\" is incompatible: expected shape ", wanted,
                           ", got ", PythonTuple(x.shape()), Hint(x.shape(), expected));
    }
    const std::optional<double> remembered =
        x.dtype() == DType::kUint8 ? InputScaleOf(*network.input_calls[i]->layer) : std::nullopt;
    const double factor = scale.value_or(remembered.value_or(1));
    WarnOfBytes(model, x, expected.dtype, factor);
    inputs_.push_back({x, expected.dtype, factor});
  }
}

void BoundExamples::BindTargets(const ModelBase& model, const Examples& examples) {
  const std::vector<std::string> names = model.OutputNames();
  if (examples.y.size() != names.size()) {
    ThrowInvalidArgument("Model \"", model.name(), "\" has ", names.size(), " output(s) (", StrJoin(names, ", "), "), ",
                         examples.y.size(), " target(s) given");
  }
  std::vector<Tensor> targets(names.size());
  for (size_t i = 0; i < examples.y.size(); ++i) {
    const auto& [name, tensor] = examples.y[i];
    const size_t at =
        name.empty() ? i : static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
    if (at == names.size()) ThrowNotFound("Model \"", model.name(), "\": ", UnknownNameMessage("output", name, names));
    if (targets[at].defined())
      ThrowInvalidArgument("Model \"", model.name(), "\": output \"", names[at], "\" has two targets");
    targets[at] = tensor;
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!targets[i].defined() || targets[i].shape().rank() == 0) {
      ThrowInvalidArgument("Model \"", model.name(), "\": the target of output \"", names[i],
                           "\" is missing or has no batch axis");
    }
    targets_.push_back({targets[i], TargetDType(targets[i].dtype()), 1});
  }
}

void BoundExamples::CheckSizes() {
  size_ = inputs_[0].data.shape()[0];
  const auto fits = [&](const Column& column) { return column.data.shape()[0] == size_; };
  if (std::all_of(inputs_.begin(), inputs_.end(), fits) && std::all_of(targets_.begin(), targets_.end(), fits)) return;
  const auto sizes = [](const std::vector<Column>& columns) {
    std::vector<int64_t> found;
    for (const Column& column : columns) found.push_back(column.data.shape()[0]);
    return StrJoin(found, ", ");
  };
  ThrowInvalidArgument("Data cardinality is ambiguous: x sizes: ", sizes(inputs_), "; y sizes: ", sizes(targets_),
                       ". Make sure all arrays contain the same number of samples.");
}

void BoundExamples::BindWeights(const ModelBase& model, const Examples& examples) {
  const std::vector<Tensor>& given = examples.sample_weights;
  if (given.size() != 1 && given.size() != targets_.size()) {
    ThrowInvalidArgument("Model \"", model.name(), "\": ", given.size(), " sample weights for ", targets_.size(),
                         " outputs");
  }
  for (size_t i = 0; i < targets_.size(); ++i) {
    const Tensor& weight = given[given.size() == 1 ? 0 : i];
    if (!weight.defined() || weight.shape().rank() == 0 || weight.size() != size_ || weight.shape()[0] != size_) {
      ThrowInvalidArgument("Model \"", model.name(), "\": sample_weight is ", weight.type(),
                           ", expected one number for each of the ", size_, " samples");
    }
    weights_.push_back({weight.Reshaped({size_}).Cast(DType::kFloat32), DType::kFloat32, 1});
  }
}

void BoundExamples::AddClassWeights(const std::map<int64_t, double>& class_weight) {
  if (targets_.size() != 1) ThrowInvalidArgument("class_weight is for models with one output");
  for (const auto& [label, weight] : class_weight) {
    if (!std::isfinite(weight)) ThrowInvalidArgument("class_weight: the weight of class ", label, " is ", weight);
  }
  const Tensor& labels = targets_[0].data;
  if (labels.shape().rank() > 2) {
    ThrowInvalidArgument("class_weight is for one label a sample, as a class number or a row; labels are ",
                         labels.type());
  }
  Tensor weights = Tensor::Full(DType::kFloat32, Shape{size_}, 1);
  if (!weights_.empty()) weights = weights_[0].data.Clone();
  const Tensor values = labels.Cast(DType::kFloat64);
  const int64_t columns = size_ == 0 ? 1 : labels.size() / size_;
  for (int64_t i = 0; i < size_; ++i) {
    const std::span<const double> row =
        values.data<double>().subspan(static_cast<size_t>(i * columns), static_cast<size_t>(columns));
    const int64_t label = columns > 1 ? std::max_element(row.begin(), row.end()) - row.begin()
                                      : static_cast<int64_t>(std::llround(row[0]));
    const auto found = class_weight.find(label);
    if (found != class_weight.end()) weights.data<float>()[static_cast<size_t>(i)] *= static_cast<float>(found->second);
  }
  weights_.assign(1, {weights, DType::kFloat32, 1});
}

BoundExamples BoundExamples::Part(int64_t begin, int64_t end) const {
  BoundExamples part = *this;
  part.offset_ = offset_ + begin;
  part.size_ = end - begin;
  return part;
}

TensorType BoundExamples::Column::BatchType(int64_t count) const {
  Dims dims(data.shape().begin(), data.shape().end());
  dims[0] = count;
  return {dtype, Shape(dims)};
}

std::vector<TensorType> BoundExamples::BatchTypes(const std::vector<Column>& columns, int64_t count) {
  std::vector<TensorType> types;
  for (const Column& column : columns) types.push_back(column.BatchType(count));
  return types;
}

std::vector<Tensor> BoundExamples::Batch(std::span<const int64_t> rows, std::span<Tensor> buffers) const {
  const auto count = static_cast<int64_t>(rows.size());
  const bool neighbours = count > 0 && std::adjacent_find(rows.begin(), rows.end(), [](int64_t a, int64_t b) {
                                         return b != a + 1;
                                       }) == rows.end();
  std::vector<Tensor> batch;
  for (const auto* columns : {&inputs_, &targets_, &weights_}) {
    for (const Column& column : *columns) {
      if (neighbours && column.data.dtype() == column.dtype && column.scale == 1) {
        batch.push_back(column.data.Rows(offset_ + rows[0], offset_ + rows[0] + count));
        continue;
      }
      Tensor& buffer = buffers[batch.size()];
      if (!buffer.defined()) buffer = Tensor::Uninitialized(column.BatchType(count));
      column.CopyRows(rows, offset_, buffer);
      batch.push_back(buffer);
    }
  }
  return batch;
}

void BoundExamples::Column::CopyRows(std::span<const int64_t> rows, int64_t offset, Tensor& dst) const {
  const int64_t row_size = rows.empty() ? 0 : dst.size() / static_cast<int64_t>(rows.size());
  const int64_t src_bytes = row_size * SizeOf(data.dtype()), dst_bytes = row_size * SizeOf(dst.dtype());
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::byte* src = data.raw() + (offset + rows[i]) * src_bytes;
    std::byte* out = dst.raw() + static_cast<int64_t>(i) * dst_bytes;
    if (data.dtype() == dst.dtype() && scale == 1) {
      std::memcpy(out, src, static_cast<size_t>(src_bytes));
      continue;
    }
    VisitDType(data.dtype(), [&]<class From>(From) {
      VisitDType(dst.dtype(), [&]<class To>(To) {
        CopyScaled(reinterpret_cast<const From*>(src), reinterpret_cast<To*>(out), row_size, scale);
      });
    });
  }
}

}  // namespace weir
