// Symbols of the layer graph: what a layer's call takes and returns while a model is being described. A dimension
// may be unknown until data comes (kNone); the first axis is the batch. Not values of a graph (core/graph.h): those
// are recorded from this description once shapes are known.
#ifndef WEIR_FRONTEND_SYMBOLIC_H_
#define WEIR_FRONTEND_SYMBOLIC_H_

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "weir/core/tensor.h"

namespace weir {

class LayerBase;
class Layer;

// A dimension that is known only when data comes.
inline constexpr int64_t kNone = -1;

// Dtype and shape, where dimensions may be kNone.
struct TensorSpec {
  DType dtype = DType::kFloat32;
  std::vector<int64_t> dims;

  int rank() const { return static_cast<int>(dims.size()); }
  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

// "(None, 32, 32, 3)", "(None,)": as Python prints tuples.
std::string ShapeText(const std::vector<int64_t>& dims);
std::ostream& operator<<(std::ostream& out, const TensorSpec& spec);

// Whether a tensor of `shape` is an instance of the spec's shape.
bool Fits(const Shape& shape, const TensorSpec& spec);

struct LayerCall;

// One output of one call of a layer. Cheap to copy.
class SymbolicTensor {
 public:
  SymbolicTensor() = default;
  SymbolicTensor(std::shared_ptr<const LayerCall> call, int index) : call_(std::move(call)), index_(index) {}

  bool defined() const { return call_ != nullptr; }
  const TensorSpec& spec() const;
  const std::vector<int64_t>& shape() const { return spec().dims; }
  Layer layer() const;

  const std::shared_ptr<const LayerCall>& call() const { return call_; }
  int index() const { return index_; }  // among the call's outputs

  friend bool operator==(const SymbolicTensor& a, const SymbolicTensor& b) {
    return a.call_ == b.call_ && a.index_ == b.index_;
  }
  friend bool operator<(const SymbolicTensor& a, const SymbolicTensor& b) {
    return a.call_ != b.call_ ? a.call_.get() < b.call_.get() : a.index_ < b.index_;
  }

 private:
  std::shared_ptr<const LayerCall> call_;
  int index_ = 0;
};

// One use of a layer: a node of the layer graph. It keeps the layer and all that came before alive.
struct LayerCall {
  LayerCall() = default;
  // Lets go of a chain of calls one after another, however long: not each inside of the one before.
  ~LayerCall();
  LayerCall(const LayerCall&) = delete;
  LayerCall& operator=(const LayerCall&) = delete;

  std::shared_ptr<LayerBase> layer;
  std::vector<SymbolicTensor> inputs;  // empty for an input layer
  std::vector<TensorSpec> outputs;
  int index = 0;  // the layer's how-manieth call
};

}  // namespace weir

#endif  // WEIR_FRONTEND_SYMBOLIC_H_
