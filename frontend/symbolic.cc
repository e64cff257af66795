#include "weir/frontend/symbolic.h"

#include <iterator>
#include <utility>

#include "weir/core/error.h"
#include "weir/frontend/layer.h"

namespace weir {

std::string ShapeText(const std::vector<int64_t>& dims) {
  std::string text = "(";
  for (size_t i = 0; i < dims.size(); ++i) {
    if (i > 0) text += ", ";
    text += dims[i] == kNone ? "None" : std::to_string(dims[i]);
  }
  return text + (dims.size() == 1 ? ",)" : ")");
}

std::ostream& operator<<(std::ostream& out, const TensorSpec& spec) {
  return out << Name(spec.dtype) << ShapeText(spec.dims);
}

bool Fits(const Shape& shape, const TensorSpec& spec) {
  if (shape.rank() != spec.rank()) return false;
  for (int i = 0; i < spec.rank(); ++i) {
    const int64_t dim = spec.dims[static_cast<size_t>(i)];
    if (dim != kNone && dim != shape[i]) return false;
  }
  return true;
}

const TensorSpec& SymbolicTensor::spec() const {
  if (!defined()) ThrowInvalidArgument("the symbolic tensor is undefined: it is no layer's output");
  return call_->outputs[static_cast<size_t>(index_)];
}

LayerCall::~LayerCall() {
  // What the outermost of the destructors that run on this thread has yet to let go.
  static thread_local std::vector<SymbolicTensor>* waiting = nullptr;
  if (waiting != nullptr) {
    waiting->insert(waiting->end(), std::make_move_iterator(inputs.begin()), std::make_move_iterator(inputs.end()));
    return;
  }
  std::vector<SymbolicTensor> own = std::move(inputs);
  waiting = &own;
  while (!own.empty()) {
    const SymbolicTensor last = std::move(own.back());  // may be the last to hold its call
    own.pop_back();
  }
  waiting = nullptr;
}

Layer SymbolicTensor::layer() const {
  spec();
  return Layer(call_->layer, {call_});
}

}  // namespace weir
