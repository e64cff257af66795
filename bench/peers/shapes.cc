#include "weir/bench/peers/shapes.h"

#include <algorithm>

#include "weir/core/strings.h"

namespace weir::peers {
namespace {

// Walks through a network, keeping the size of what the last layer gave.
class Network {
 public:
  Network(std::string name, int64_t picture, int64_t batch, std::vector<ConvShape>& shapes)
      : name_(std::move(name)), batch_(batch), size_(picture), shapes_(shapes) {}

  void Conv(int64_t ic, int64_t oc, int64_t window, int64_t stride = 1, int64_t groups = 1) {
    const ConvShape shape = {.network = name_,
                             .batch = batch_,
                             .size = size_,
                             .ic = ic,
                             .oc = oc,
                             .window = window,
                             .stride = stride,
                             .padding = window / 2,
                             .groups = groups,
                             .first = ic == 3};
    const bool known = std::any_of(shapes_.begin(), shapes_.end(), [&](ConvShape other) {
      other.network = name_;
      return other == shape;
    });
    if (!known) shapes_.push_back(shape);
    size_ = (size_ + 2 * shape.padding - window) / stride + 1;
  }
  // One beside the main path: from what a block began with, to what it ends with.
  void Shortcut(int64_t ic, int64_t oc, int64_t size_before) {
    const int64_t size_after = size_;
    size_ = size_before;
    Conv(ic, oc, 1, 2);
    size_ = size_after;
  }
  void Halve() { size_ = (size_ + 1) / 2; }
  int64_t size() const { return size_; }

 private:
  std::string name_;
  int64_t batch_, size_;
  std::vector<ConvShape>& shapes_;
};

void Vgg16(Network net) {
  int64_t channels = 3;
  for (const auto& [width, depth] : {std::pair<int64_t, int>{64, 2}, {128, 2}, {256, 3}, {512, 3}, {512, 3}}) {
    for (int i = 0; i < depth; ++i) {
      net.Conv(channels, width, 3);
      channels = width;
    }
    net.Halve();
  }
}

void ResNet18(Network net) {
  net.Conv(3, 64, 7, 2);
  net.Halve();
  int64_t channels = 64;
  for (int64_t width : {64, 128, 256, 512}) {
    const int64_t before = net.size();
    net.Conv(channels, width, 3, width == channels ? 1 : 2);
    net.Conv(width, width, 3);
    if (width != channels) net.Shortcut(channels, width, before);
    channels = width;
  }
}

void MobileNetV1(Network net) {
  net.Conv(3, 32, 3, 2);
  int64_t channels = 32;
  const auto separable = [&](int64_t width, int64_t stride) {
    net.Conv(channels, channels, 3, stride, channels);
    net.Conv(channels, width, 1);
    channels = width;
  };
  for (const auto& [width, stride] : {std::pair<int64_t, int64_t>{64, 1},
                                      {128, 2},
                                      {128, 1},
                                      {256, 2},
                                      {256, 1},
                                      {512, 2},
                                      {512, 1},
                                      {1024, 2},
                                      {1024, 1}}) {
    separable(width, stride);
  }
}

}  // namespace

std::string ConvShape::Name() const {
  return StrCat(window, "x", window, groups > 1 ? " depthwise " : " ", ic, groups > 1 ? "" : StrCat("->", oc),
                stride > 1 ? StrCat(" /", stride) : "", " on ", size, "x", size, ", batch ", batch);
}

Shape ConvShape::InputShape() const { return {batch, size, size, ic}; }

Shape ConvShape::FilterShape() const { return {window, window, ic / groups, oc}; }

ConvOptions ConvShape::Options() const {
  return {.strides = {stride, stride},
          .groups = groups,
          .padding_before = {padding, padding},
          .padding_after = {padding, padding}};
}

std::string ConvShape::PeerWords() const {
  return StrJoin(std::vector<int64_t>{batch, ic, size, size, oc, window, window, stride, padding, padding, groups},
                 " ");
}

double ConvShape::ForwardFlops() const {
  const int64_t out = (size + 2 * padding - window) / stride + 1;
  const int64_t channels = ic / groups * oc;
  return 2.0 * static_cast<double>(batch * out * out * window * window * channels);
}

std::vector<ConvShape> TutorialConvolutions(int64_t batch) {
  std::vector<ConvShape> shapes;
  Network net("tutorial", 32, batch, shapes);
  net.Conv(3, 32, 3);
  net.Conv(32, 32, 3);
  return shapes;
}

std::vector<ConvShape> NetworkConvolutions(int64_t picture, int64_t batch) {
  std::vector<ConvShape> shapes;
  Vgg16({"VGG-16", picture, batch, shapes});
  ResNet18({"ResNet-18", picture, batch, shapes});
  MobileNetV1({"MobileNet v1", picture, batch, shapes});
  return shapes;
}

}  // namespace weir::peers
