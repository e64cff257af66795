// oneDNN at its best: convolutions, max pooling and inner products, each in every algorithm that can be created and in
// the memory formats oneDNN chooses itself (reorders to them are not timed) as well as in NHWC. Speaks the protocol of
// peer_server.h; tasks are
//
//   convolution DIRECTION batch ic ih iw oc kh kw stride before after groups
//   pool DIRECTION batch channels height width            (2x2, stride 2)
//   product DIRECTION batch inputs outputs
//
// with DIRECTION forward, input_gradient or filter_gradient.
#include <memory>
#include <stdexcept>
#include <unordered_map>

#include "oneapi/dnnl/dnnl.hpp"
#include "weir/bench/peers/peer_server.h"

namespace weir::peers {
namespace {

using dnnl::algorithm;
using dnnl::memory;
using dnnl::prop_kind;
using Format = memory::format_tag;
using Descriptor = memory::desc;

enum class Direction { kForward, kInputGradient, kFilterGradient };

const dnnl::engine& Engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

Descriptor Float(const memory::dims& dims, Format format) { return {dims, memory::data_type::f32, format}; }

// Memory of this layout filled with small numbers without a pattern, padding of blocked layouts too: results are not
// looked at, only how long they take.
memory Filled(const Descriptor& descriptor) {
  memory result(descriptor, Engine());
  auto* data = static_cast<float*>(result.get_data_handle());
  uint32_t state = 1;
  for (size_t i = 0; i < descriptor.get_size() / sizeof(float); ++i) {
    state = state * 1664525u + 1013904223u;
    data[i] = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
  }
  return result;
}

using Arguments = std::unordered_map<int, memory>;

Candidate Run(std::string name, const dnnl::primitive& primitive, Arguments arguments) {
  const auto stream = std::make_shared<dnnl::stream>(Engine());
  return {std::move(name), [primitive, stream, arguments = std::move(arguments)] {
            primitive.execute(*stream, arguments);
            stream->wait();
          }};
}

// Of a task's words from the third on.
std::vector<int64_t> Numbers(const std::vector<std::string>& words, size_t count) {
  if (words.size() != count + 2) throw std::runtime_error("wrong number of words");
  std::vector<int64_t> numbers;
  for (size_t i = 2; i < words.size(); ++i) numbers.push_back(std::stoll(words[i]));
  return numbers;
}

// The primitive of a direction over its three operands; `forward` is what the gradients' descriptors want as a hint.
template <class Forward, class ForwardDescriptor, class Data, class DataDescriptor, class Weights,
          class WeightsDescriptor>
Candidate Partial(const std::string& name, Direction direction, const ForwardDescriptor& forward_descriptor,
                  const DataDescriptor& data_descriptor, const WeightsDescriptor& weights_descriptor) {
  const typename Forward::primitive_desc forward(forward_descriptor, Engine());
  const auto full_name = [&](const auto& primitive) { return name + " " + primitive.impl_info_str(); };
  switch (direction) {
    case Direction::kForward:
      return Run(full_name(forward), Forward(forward),
                 {{DNNL_ARG_SRC, Filled(forward.src_desc())},
                  {DNNL_ARG_WEIGHTS, Filled(forward.weights_desc())},
                  {DNNL_ARG_DST, Filled(forward.dst_desc())}});
    case Direction::kInputGradient: {
      const typename Data::primitive_desc data(data_descriptor, Engine(), forward);
      return Run(full_name(data), Data(data),
                 {{DNNL_ARG_DIFF_DST, Filled(data.diff_dst_desc())},
                  {DNNL_ARG_WEIGHTS, Filled(data.weights_desc())},
                  {DNNL_ARG_DIFF_SRC, Filled(data.diff_src_desc())}});
    }
    case Direction::kFilterGradient: break;
  }
  const typename Weights::primitive_desc weights(weights_descriptor, Engine(), forward);
  return Run(full_name(weights), Weights(weights),
             {{DNNL_ARG_DIFF_DST, Filled(weights.diff_dst_desc())},
              {DNNL_ARG_SRC, Filled(weights.src_desc())},
              {DNNL_ARG_DIFF_WEIGHTS, Filled(weights.diff_weights_desc())}});
}

Candidate ConvolutionAs(const std::string& name, Direction direction, const std::vector<int64_t>& n, algorithm how,
                        Format data_format) {
  const int64_t batch = n[0], ic = n[1], ih = n[2], iw = n[3], oc = n[4], kh = n[5], kw = n[6], stride = n[7],
                before = n[8], after = n[9], groups = n[10];
  const auto size = [&](int64_t in, int64_t window) { return (in + before + after - window) / stride + 1; };
  const Descriptor src = Float({batch, ic, ih, iw}, data_format);
  const Descriptor weights = groups == 1 ? Float({oc, ic, kh, kw}, Format::any)
                                         : Float({groups, oc / groups, ic / groups, kh, kw}, Format::any);
  const Descriptor dst = Float({batch, oc, size(ih, kh), size(iw, kw)}, data_format);
  const memory::dims strides = {stride, stride}, padding_before = {before, before}, padding_after = {after, after};
  return Partial<dnnl::convolution_forward, dnnl::convolution_forward::desc, dnnl::convolution_backward_data,
                 dnnl::convolution_backward_data::desc, dnnl::convolution_backward_weights,
                 dnnl::convolution_backward_weights::desc>(
      name, direction, {prop_kind::forward_training, how, src, weights, dst, strides, padding_before, padding_after},
      {how, src, weights, dst, strides, padding_before, padding_after},
      {how, src, weights, dst, strides, padding_before, padding_after});
}

std::vector<Candidate> Convolution(Direction direction, const std::vector<int64_t>& n) {
  const std::pair<const char*, algorithm> algorithms[] = {{"auto", algorithm::convolution_auto},
                                                          {"direct", algorithm::convolution_direct},
                                                          {"winograd", algorithm::convolution_winograd}};
  const std::pair<const char*, Format> formats[] = {{"", Format::any}, {" nhwc", Format::nhwc}};
  std::vector<Candidate> candidates;
  for (const auto& [how, how_value] : algorithms) {
    for (const auto& [format, format_value] : formats) {
      try {
        candidates.push_back(ConvolutionAs(std::string(how) + format, direction, n, how_value, format_value));
      } catch (const dnnl::error& error) {
        // No implementation of this algorithm for this shape.
        if (error.status != dnnl_unimplemented) throw;
      }
    }
  }
  return candidates;
}

Candidate Pool(Direction direction, const std::vector<int64_t>& n, const std::string& name, Format format) {
  const int64_t batch = n[0], channels = n[1], height = n[2], width = n[3];
  const memory::dims two = {2, 2}, none = {0, 0};
  const Descriptor src = Float({batch, channels, height, width}, format);
  const Descriptor dst = Float({batch, channels, height / 2, width / 2}, Format::any);
  const dnnl::pooling_forward::primitive_desc forward(
      {prop_kind::forward_training, algorithm::pooling_max, src, dst, two, two, none, none}, Engine());
  const memory workspace(forward.workspace_desc(), Engine());
  const memory x = Filled(forward.src_desc()), y = Filled(forward.dst_desc());
  const Arguments forward_arguments = {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}, {DNNL_ARG_WORKSPACE, workspace}};
  Candidate forward_run = Run(name + " " + forward.impl_info_str(), dnnl::pooling_forward(forward), forward_arguments);
  if (direction == Direction::kForward) return forward_run;
  if (direction == Direction::kFilterGradient) throw std::runtime_error("pooling has no filter");
  forward_run.run();  // the gradient needs to know who won
  const dnnl::pooling_backward::primitive_desc backward(
      {algorithm::pooling_max, forward.src_desc(), forward.dst_desc(), two, two, none, none}, Engine(), forward);
  return Run(name + " " + backward.impl_info_str(), dnnl::pooling_backward(backward),
             {{DNNL_ARG_DIFF_DST, Filled(backward.diff_dst_desc())},
              {DNNL_ARG_DIFF_SRC, Filled(backward.diff_src_desc())},
              {DNNL_ARG_WORKSPACE, workspace}});
}

Candidate Product(Direction direction, const std::vector<int64_t>& n) {
  const Descriptor src = Float({n[0], n[1]}, Format::any), weights = Float({n[2], n[1]}, Format::any),
                   dst = Float({n[0], n[2]}, Format::any);
  return Partial<dnnl::inner_product_forward, dnnl::inner_product_forward::desc, dnnl::inner_product_backward_data,
                 dnnl::inner_product_backward_data::desc, dnnl::inner_product_backward_weights,
                 dnnl::inner_product_backward_weights::desc>("inner product", direction,
                                                             {prop_kind::forward_training, src, weights, dst},
                                                             {src, weights, dst}, {src, weights, dst});
}

std::vector<Candidate> Make(const std::vector<std::string>& words) {
  if (words.size() < 2) throw std::runtime_error("task without a direction");
  const Direction direction = words[1] == "forward"          ? Direction::kForward
                              : words[1] == "input_gradient" ? Direction::kInputGradient
                                                             : Direction::kFilterGradient;
  if (words[0] == "convolution") return Convolution(direction, Numbers(words, 11));
  if (words[0] == "pool") {
    // What a blocked layout is to pooling depends on the convolution before it: both usual ones are tried.
    const std::vector<int64_t> n = Numbers(words, 4);
    std::vector<Candidate> candidates = {Pool(direction, n, "nhwc", Format::nhwc),
                                         Pool(direction, n, "nchw", Format::nchw)};
    candidates.push_back(Pool(direction, n, "nChw16c", Format::nChw16c));
    candidates.push_back(Pool(direction, n, "nChw8c", Format::nChw8c));
    return candidates;
  }
  if (words[0] == "product") return {Product(direction, Numbers(words, 3))};
  throw std::runtime_error("unknown task " + words[0]);
}

}  // namespace
}  // namespace weir::peers

int main() {
  const dnnl_version_t& version = *dnnl_version();
  const std::string text =
      std::to_string(version.major) + "." + std::to_string(version.minor) + "." + std::to_string(version.patch);
  return weir::peers::Serve("oneDNN " + text, weir::peers::Make);
}
