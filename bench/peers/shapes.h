// Convolutions of well-known networks, by their shapes alone.
#ifndef WEIR_BENCH_PEERS_SHAPES_H_
#define WEIR_BENCH_PEERS_SHAPES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "weir/core/shape.h"
#include "weir/ops/ops.h"

namespace weir::peers {

// On square pictures, with square windows.
struct ConvShape {
  std::string network;  // where it first occurs: "VGG-16"
  int64_t batch = 1, size = 1, ic = 1, oc = 1, window = 1, stride = 1;
  int64_t padding = 0;  // on each side
  int64_t groups = 1;
  bool first = false;  // its input is the picture: nobody asks for a gradient

  std::string Name() const;  // "3x3 64->128 /2 on 56x56, batch 4"
  Shape InputShape() const;
  Shape FilterShape() const;
  ConvOptions Options() const;    // with weir's default algorithm
  std::string PeerWords() const;  // as onednn_peer.cc has them, after the direction
  double ForwardFlops() const;

  friend bool operator==(const ConvShape&, const ConvShape&) = default;
};

// The two convolutions of the tutorial's model.
std::vector<ConvShape> TutorialConvolutions(int64_t batch);

// VGG-16, ResNet-18 and MobileNet v1 on pictures of this size, each distinct shape once.
std::vector<ConvShape> NetworkConvolutions(int64_t picture, int64_t batch);

}  // namespace weir::peers

#endif  // WEIR_BENCH_PEERS_SHAPES_H_
