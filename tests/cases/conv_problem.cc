#include "weir/tests/cases/conv_problem.h"

#include <string_view>
#include <utility>

#include "weir/core/strings.h"

namespace weir {
namespace {

constexpr std::string_view kAxisLetters = "dhw";

// "_sh2sw2" for the axes' numbers, nothing if all are 1.
std::string Numbers(const char* letter, const std::vector<int64_t>& numbers, int64_t plain) {
  std::string text;
  bool any = false;
  for (size_t i = 0; i < numbers.size(); ++i) {
    text += StrCat(letter, kAxisLetters[3 - numbers.size() + i], numbers[i]);
    any = any || numbers[i] != plain;
  }
  return any ? text : "";
}

}  // namespace

Shape ConvProblem::InputShape() const {
  Dims dims = {batch};
  dims.insert(dims.end(), in.begin(), in.end());
  dims.push_back(ic);
  return Shape(dims);
}
Shape ConvProblem::FilterShape() const {
  Dims dims(window.begin(), window.end());
  dims.push_back(ic / options.groups);
  dims.push_back(oc);
  return Shape(dims);
}
std::string ConvProblem::Name() const {
  const bool is_explicit = !options.padding_before.empty() || !options.padding_after.empty();
  return StrCat(
      "mb", batch, "ic", ic, Numbers("i", in, -1), "oc", oc, Numbers("k", window, -1), Numbers("s", options.strides, 1),
      Numbers("d", options.dilations, 1), options.groups > 1 ? StrCat("g", options.groups) : "",
      is_explicit ? StrCat("_pad", StrJoin(options.padding_before, ","), "-", StrJoin(options.padding_after, ","))
                  : StrCat("_", options.padding),
      options.algorithm == ConvAlgorithm::kWinograd ? "_winograd" : "");
}
OpCase ConvProblem::Case(ConvPartial partial) const {
  ConvOptions options = this->options;
  if (options.algorithm == ConvAlgorithm::kAuto) options.algorithm = ConvAlgorithm::kDirect;
  // The attributes and the output's type, from a recording.
  const auto graph = Graph::Create();
  const Value y =
      Conv(graph->Input({DType::kFloat32, InputShape()}), graph->Input({DType::kFloat32, FilterShape()}), options);
  const AttrMap attrs = graph->node(y.ref.node).attrs;
  const Shape x_shape = InputShape(), w_shape = FilterShape(), y_shape = y.shape();
  switch (partial) {
    case ConvPartial::kForward:
      return {.name = StrCat("conv/", Name()),
              .op = "conv",
              .inputs = {{x_shape}, {w_shape}},
              .build = [options](Graph&, std::span<const Value> v) {
                return std::vector<Value>{Conv(v[0], v[1], options)};
              }};
    case ConvPartial::kInputGradient:
      return {.name = StrCat("conv_input_gradient/", Name()),
              .op = "conv_input_gradient",
              .inputs = {{y_shape}, {w_shape}},
              .build = [attrs, x_shape](Graph&, std::span<const Value> v) {
                return std::vector<Value>{ConvInputGradient(v[0], v[1], attrs, x_shape)};
              }};
    case ConvPartial::kFilterGradient: break;
  }
  return {.name = StrCat("conv_filter_gradient/", Name()),
          .op = "conv_filter_gradient",
          .inputs = {{x_shape}, {y_shape}},
          .build = [attrs, w_shape](Graph&, std::span<const Value> v) {
            return std::vector<Value>{ConvFilterGradient(v[0], v[1], attrs, w_shape)};
          }};
}

OpCase ConvProblem::OfSpecials(ConvPartial partial) const {
  OpCase special = Case(partial);
  special.name += "_specials";
  for (CaseInput& input : special.inputs) input.fill = Fill::kSpecials;
  special.gradient = false;
  return special;
}
OpCase ConvProblem::AfterDropout(ConvPartial partial, bool tapped) const {
  OpCase built = Case(partial);
  built.name.insert(built.name.find('/') + 1, tapped ? "tapped_dropout_before_" : "dropout_before_");
  built.inputs.push_back({DType::kInt64, {}, Fill::kStep});
  built.build = [inner = built.build, tapped](Graph& graph, std::span<const Value> v) {
    std::vector<Value> operands = {Dropout(Relu(v[0] * 0.75), 0.3, v[2], 7, 1), v[1]};
    std::vector<Value> outputs = inner(graph, operands);
    if (tapped) outputs.push_back(operands[0]);
    return outputs;
  };
  built.gradient = false;
  return built;
}

}  // namespace weir
