#include "weir/frontend/layers/operation.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "weir/core/error.h"
#include "weir/frontend/layers/registry.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

// Arguments that are no tensors: {"axis": -1}.
using Options = KerasConfig;

struct Function {
  const char* name;
  int count;  // of arguments; -1 for any
  Value (*record)(std::span<const Operand> x, const Options& options);
};

// JSON has no infinity and no NaN: they are written as text.
nlohmann::json NumberToJson(double number) {
  if (std::isfinite(number)) return JsonNumber(number);
  return std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf";
}
double NumberFromJson(const nlohmann::json& json) {
  if (json == "nan") return std::nan("");
  if (json == "inf" || json == "-inf") return json == "inf" ? INFINITY : -INFINITY;
  if (!json.is_number()) ThrowInvalidArgument("Operation: expected a number, found ", json.dump());
  return json.get<double>();
}
double NumberOf(const Options& options, const char* key) {
  if (!options.Has(key)) ThrowInvalidArgument("Operation: the configuration has no ", key);
  return NumberFromJson(options.json().at(key));
}

std::vector<int64_t> AxesOf(const Options& options) { return options.Ints("axis", {}); }
bool KeepDims(const Options& options) { return options.Bool("keepdims", false); }
int AxisOf(const Options& options) { return options.Axis("axis", -1); }

using Span = std::span<const Operand>;
constexpr Function kFunctions[] = {
    {"add", 2, [](Span x, const Options&) { return x[0] + x[1]; }},
    {"subtract", 2, [](Span x, const Options&) { return x[0] - x[1]; }},
    {"multiply", 2, [](Span x, const Options&) { return x[0] * x[1]; }},
    {"divide", 2, [](Span x, const Options&) { return x[0] / x[1]; }},
    {"negative", 1, [](Span x, const Options&) { return -x[0].value; }},
    {"power", 2, [](Span x, const Options&) { return Pow(x[0], x[1]); }},
    {"maximum", 2, [](Span x, const Options&) { return Maximum(x[0], x[1]); }},
    {"minimum", 2, [](Span x, const Options&) { return Minimum(x[0], x[1]); }},
    {"matmul", 2, [](Span x, const Options&) { return MatMul(x[0], x[1]); }},
    {"absolute", 1, [](Span x, const Options&) { return Abs(x[0]); }},
    {"sign", 1, [](Span x, const Options&) { return Sign(x[0]); }},
    {"square", 1, [](Span x, const Options&) { return Square(x[0]); }},
    {"sqrt", 1, [](Span x, const Options&) { return Sqrt(x[0]); }},
    {"rsqrt", 1, [](Span x, const Options&) { return Rsqrt(x[0]); }},
    {"exp", 1, [](Span x, const Options&) { return Exp(x[0]); }},
    {"log", 1, [](Span x, const Options&) { return Log(x[0]); }},
    {"log1p", 1, [](Span x, const Options&) { return Log1p(x[0]); }},
    {"erf", 1, [](Span x, const Options&) { return Erf(x[0]); }},
    {"clip", 1, [](Span x, const Options& o) { return Clip(x[0], NumberOf(o, "x_min"), NumberOf(o, "x_max")); }},
    {"cast", 1, [](Span x, const Options& o) { return Cast(x[0], ParseDType(o.String("dtype", "float32"))); }},
    {"stop_gradient", 1, [](Span x, const Options&) { return StopGradient(x[0]); }},
    {"relu", 1, [](Span x, const Options&) { return Relu(x[0]); }},
    {"leaky_relu", 1, [](Span x, const Options& o) { return LeakyRelu(x[0], NumberOf(o, "negative_slope")); }},
    {"elu", 1, [](Span x, const Options& o) { return Elu(x[0], NumberOf(o, "alpha")); }},
    {"gelu", 1, [](Span x, const Options& o) { return Gelu(x[0], o.Bool("approximate", false)); }},
    {"silu", 1, [](Span x, const Options&) { return Silu(x[0]); }},
    {"softplus", 1, [](Span x, const Options&) { return Softplus(x[0]); }},
    {"sigmoid", 1, [](Span x, const Options&) { return Sigmoid(x[0]); }},
    {"tanh", 1, [](Span x, const Options&) { return Tanh(x[0]); }},
    {"softmax", 1, [](Span x, const Options& o) { return Softmax(x[0], AxisOf(o)); }},
    {"log_softmax", 1, [](Span x, const Options& o) { return LogSoftmax(x[0], AxisOf(o)); }},
    {"sum", 1, [](Span x, const Options& o) { return Sum(x[0], AxesOf(o), KeepDims(o)); }},
    {"mean", 1, [](Span x, const Options& o) { return Mean(x[0], AxesOf(o), KeepDims(o)); }},
    {"max", 1, [](Span x, const Options& o) { return Max(x[0], AxesOf(o), KeepDims(o)); }},
    {"min", 1, [](Span x, const Options& o) { return Min(x[0], AxesOf(o), KeepDims(o)); }},
    {"reshape", 1,
     [](Span x, const Options& o) { return Reshape(x[0], std::span<const int64_t>(o.Ints("newshape", {}))); }},
    {"transpose", 1, [](Span x, const Options& o) { return Transpose(x[0], o.Ints("axes", {})); }},
    {"concatenate", -1,
     [](Span x, const Options& o) {
       std::vector<Value> values;
       for (const Operand& operand : x) values.push_back(operand.value);
       return Concatenate(values, AxisOf(o));
     }},
};

const Function& FunctionNamed(const std::string& name) {
  std::vector<std::string> names;
  for (const Function& function : kFunctions) {
    if (name == function.name) return function;
    names.push_back(function.name);
  }
  ThrowInvalidArgument("Operation: ", UnknownNameMessage("function", name, names));
}

class OperationLayer : public LayerBase {
 public:
  // `numbers`: of each argument the number, or nothing where an input stands.
  OperationLayer(const std::string& function, std::vector<std::optional<double>> numbers, nlohmann::json options,
                 LayerOptions common = {})
      : LayerBase("Operation", std::move(common)),
        function_(FunctionNamed(function)),
        numbers_(std::move(numbers)),
        options_("Operation", options.is_null() ? nlohmann::json::object() : std::move(options)) {
    inputs_ = static_cast<size_t>(std::count(numbers_.begin(), numbers_.end(), std::nullopt));
    if (function_.count >= 0 && static_cast<int>(numbers_.size()) != function_.count) {
      ThrowInvalidArgument("Operation: ", function, " takes ", function_.count, " arguments, received ",
                           numbers_.size());
    }
    if (inputs_ == 0 || (function_.count < 0 && inputs_ < numbers_.size())) {
      ThrowInvalidArgument("Operation: ", function, " needs a tensor, not numbers alone");
    }
  }

  std::string DefaultName() const override { return function_.name; }
  void Check(std::span<const TensorSpec> inputs) const override { CheckCount(inputs, static_cast<int>(inputs_)); }

  std::vector<Value> Call(CallContext& context, std::span<const Value> inputs) const override {
    std::vector<Operand> arguments;
    size_t next = 0;
    for (const std::optional<double>& number : numbers_) {
      arguments.push_back(number ? Operand(*number) : Operand(inputs[next++]));
    }
    const Value y = function_.record(arguments, options_);
    // A function that does nothing (a cast to the same type) is a node all the same: a tap of it is not its input's.
    for (const Value& input : inputs) {
      if (y.ref == input.ref) return {context.Identity(y)};
    }
    return {y};
  }

  nlohmann::json Config() const override {
    nlohmann::json arguments = nlohmann::json::array();
    for (const std::optional<double>& number : numbers_) {
      arguments.push_back(number ? NumberToJson(*number) : nlohmann::json());
    }
    return {{"function", function_.name}, {"arguments", arguments}, {"options", options_.json()}};
  }

 private:
  const Function& function_;
  std::vector<std::optional<double>> numbers_;
  KerasConfig options_;
  size_t inputs_ = 0;
};

SymbolicTensor Apply(const char* function, std::span<const SymbolicOperand> operands, const Here& where,
                     nlohmann::json options = nullptr) {
  std::vector<std::optional<double>> numbers;
  std::vector<SymbolicTensor> inputs;
  for (const SymbolicOperand& operand : operands) {
    // An undefined tensor is no number: its layer's call says so.
    const bool number = !operand.is_tensor;
    numbers.push_back(number ? std::optional<double>(operand.number) : std::nullopt);
    if (!number) inputs.push_back(operand.tensor);
  }
  return MakeLayer<OperationLayer>(where, function, std::move(numbers), std::move(options))(inputs);
}

SymbolicTensor Binary(const char* function, const SymbolicOperand& a, const SymbolicOperand& b) {
  const SymbolicOperand both[] = {a, b};
  return Apply(function, both, a.where);
}

SymbolicTensor Unary(const char* function, const SymbolicTensor& x, const Here& where, nlohmann::json options = nullptr) {
  const SymbolicOperand one[] = {{x, where}};
  return Apply(function, one, where, std::move(options));
}

SymbolicTensor Reduction(const char* function, const SymbolicTensor& x, const std::vector<int64_t>& axes,
                         bool keep_dims, const Here& where) {
  return Unary(function, x, where, {{"axis", axes}, {"keepdims", keep_dims}});
}

Layer FromConfig(const KerasConfig& config, const LayerOptions& common) {
  std::vector<std::optional<double>> numbers;
  if (!config.Has("arguments") || !config.json().at("arguments").is_array()) {
    ThrowInvalidArgument("Operation: the configuration has no list of arguments");
  }
  for (const nlohmann::json& argument : config.json().at("arguments")) {
    numbers.push_back(argument.is_null() ? std::nullopt : std::optional<double>(NumberFromJson(argument)));
  }
  return MakeLayer<OperationLayer>(Here(), config.String("function", ""), std::move(numbers),
                                   config.json().value("options", nlohmann::json()), common);
}

}  // namespace

SymbolicTensor operator+(const SymbolicOperand& a, const SymbolicOperand& b) { return Binary("add", a, b); }
SymbolicTensor operator-(const SymbolicOperand& a, const SymbolicOperand& b) { return Binary("subtract", a, b); }
SymbolicTensor operator*(const SymbolicOperand& a, const SymbolicOperand& b) { return Binary("multiply", a, b); }
SymbolicTensor operator/(const SymbolicOperand& a, const SymbolicOperand& b) { return Binary("divide", a, b); }
SymbolicTensor operator-(const SymbolicOperand& x) {
  return Apply("negative", {&x, 1}, x.where);
}
SymbolicTensor Pow(const SymbolicOperand& base, const SymbolicOperand& exponent) {
  return Binary("power", base, exponent);
}
SymbolicTensor Maximum(const SymbolicOperand& a, const SymbolicOperand& b) { return Binary("maximum", a, b); }
SymbolicTensor Minimum(const SymbolicOperand& a, const SymbolicOperand& b) { return Binary("minimum", a, b); }
SymbolicTensor MatMul(const SymbolicTensor& a, const SymbolicTensor& b, Here where) {
  return Binary("matmul", {a, where}, {b, where});
}

SymbolicTensor Abs(const SymbolicTensor& x, Here where) { return Unary("absolute", x, where); }
SymbolicTensor Sign(const SymbolicTensor& x, Here where) { return Unary("sign", x, where); }
SymbolicTensor Square(const SymbolicTensor& x, Here where) { return Unary("square", x, where); }
SymbolicTensor Sqrt(const SymbolicTensor& x, Here where) { return Unary("sqrt", x, where); }
SymbolicTensor Rsqrt(const SymbolicTensor& x, Here where) { return Unary("rsqrt", x, where); }
SymbolicTensor Exp(const SymbolicTensor& x, Here where) { return Unary("exp", x, where); }
SymbolicTensor Log(const SymbolicTensor& x, Here where) { return Unary("log", x, where); }
SymbolicTensor Log1p(const SymbolicTensor& x, Here where) { return Unary("log1p", x, where); }
SymbolicTensor Erf(const SymbolicTensor& x, Here where) { return Unary("erf", x, where); }
SymbolicTensor Clip(const SymbolicTensor& x, double low, double high, Here where) {
  return Unary("clip", x, where, {{"x_min", NumberToJson(low)}, {"x_max", NumberToJson(high)}});
}
SymbolicTensor Cast(const SymbolicTensor& x, DType dtype, Here where) {
  return Unary("cast", x, where, {{"dtype", Name(dtype)}});
}
SymbolicTensor StopGradient(const SymbolicTensor& x, Here where) { return Unary("stop_gradient", x, where); }

SymbolicTensor Relu(const SymbolicTensor& x, Here where) { return Unary("relu", x, where); }
SymbolicTensor LeakyRelu(const SymbolicTensor& x, double negative_slope, Here where) {
  return Unary("leaky_relu", x, where, {{"negative_slope", NumberToJson(negative_slope)}});
}
SymbolicTensor Elu(const SymbolicTensor& x, double alpha, Here where) {
  return Unary("elu", x, where, {{"alpha", NumberToJson(alpha)}});
}
SymbolicTensor Gelu(const SymbolicTensor& x, bool approximate, Here where) {
  return Unary("gelu", x, where, {{"approximate", approximate}});
}
SymbolicTensor Silu(const SymbolicTensor& x, Here where) { return Unary("silu", x, where); }
SymbolicTensor Softplus(const SymbolicTensor& x, Here where) { return Unary("softplus", x, where); }
SymbolicTensor Sigmoid(const SymbolicTensor& x, Here where) { return Unary("sigmoid", x, where); }
SymbolicTensor Tanh(const SymbolicTensor& x, Here where) { return Unary("tanh", x, where); }
SymbolicTensor Softmax(const SymbolicTensor& x, int axis, Here where) {
  return Unary("softmax", x, where, {{"axis", axis}});
}
SymbolicTensor LogSoftmax(const SymbolicTensor& x, int axis, Here where) {
  return Unary("log_softmax", x, where, {{"axis", axis}});
}

SymbolicTensor Sum(const SymbolicTensor& x, const std::vector<int64_t>& axes, bool keep_dims, Here where) {
  return Reduction("sum", x, axes, keep_dims, where);
}
SymbolicTensor Mean(const SymbolicTensor& x, const std::vector<int64_t>& axes, bool keep_dims, Here where) {
  return Reduction("mean", x, axes, keep_dims, where);
}
SymbolicTensor Max(const SymbolicTensor& x, const std::vector<int64_t>& axes, bool keep_dims, Here where) {
  return Reduction("max", x, axes, keep_dims, where);
}
SymbolicTensor Min(const SymbolicTensor& x, const std::vector<int64_t>& axes, bool keep_dims, Here where) {
  return Reduction("min", x, axes, keep_dims, where);
}

SymbolicTensor Reshape(const SymbolicTensor& x, const std::vector<int64_t>& dims, Here where) {
  return Unary("reshape", x, where, {{"newshape", dims}});
}
SymbolicTensor Transpose(const SymbolicTensor& x, const std::vector<int64_t>& permutation, Here where) {
  return Unary("transpose", x, where, {{"axes", permutation}});
}
SymbolicTensor Concatenated(const std::vector<SymbolicTensor>& values, int axis, const Here& where) {
  std::vector<SymbolicOperand> operands;
  for (const SymbolicTensor& value : values) operands.emplace_back(value, where);
  return Apply("concatenate", operands, where, {{"axis", axis}});
}

std::vector<KnownLayer> OperationLayers() { return {{"Operation", FromConfig}}; }

}  // namespace weir
