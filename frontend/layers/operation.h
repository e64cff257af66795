// Operators and functions of symbolic tensors: x + y, x * 2, Relu(x), as on values of a graph (ops/ops.h, which has the
// formulas) and with NumPy's broadcasting. Each call is a layer of its own, named after the function: it is saved with
// the model, shown in its summary, and can be tapped.
//
//   const SymbolicTensor y = Relu(Conv2D(32, 3)(x) + 0.5 * shortcut);
//
// The batch is axis 0. A number on both sides is none of these.
#ifndef WEIR_FRONTEND_LAYERS_OPERATION_H_
#define WEIR_FRONTEND_LAYERS_OPERATION_H_

#include <cstdint>
#include <vector>

#include "weir/frontend/layer.h"

namespace weir {

// A symbolic tensor or a number, and the line that wrote it. Made implicitly.
struct SymbolicOperand {
  SymbolicOperand(const SymbolicTensor& t, Here l = Here::current()) : tensor(t), is_tensor(true), where(l) {}  // NOLINT
  SymbolicOperand(double n, Here l = Here::current()) : number(n), where(l) {}                 // NOLINT

  SymbolicTensor tensor;
  bool is_tensor = false;
  double number = 0;
  Here where;
};

SymbolicTensor operator+(const SymbolicOperand& a, const SymbolicOperand& b);
SymbolicTensor operator-(const SymbolicOperand& a, const SymbolicOperand& b);
SymbolicTensor operator*(const SymbolicOperand& a, const SymbolicOperand& b);
SymbolicTensor operator/(const SymbolicOperand& a, const SymbolicOperand& b);
SymbolicTensor operator-(const SymbolicOperand& x);
SymbolicTensor Pow(const SymbolicOperand& base, const SymbolicOperand& exponent);
SymbolicTensor Maximum(const SymbolicOperand& a, const SymbolicOperand& b);
SymbolicTensor Minimum(const SymbolicOperand& a, const SymbolicOperand& b);
SymbolicTensor MatMul(const SymbolicTensor& a, const SymbolicTensor& b, Here where = Here::current());

SymbolicTensor Abs(const SymbolicTensor& x, Here where = Here::current());
SymbolicTensor Sign(const SymbolicTensor& x, Here where = Here::current());
SymbolicTensor Square(const SymbolicTensor& x, Here where = Here::current());
SymbolicTensor Sqrt(const SymbolicTensor& x, Here where = Here::current());
SymbolicTensor Rsqrt(const SymbolicTensor& x, Here where = Here::current());
SymbolicTensor Exp(const SymbolicTensor& x, Here where = Here::current());
SymbolicTensor Log(const SymbolicTensor& x, Here where = Here::current());
SymbolicTensor Log1p(const SymbolicTensor& x, Here where = Here::current());
SymbolicTensor Erf(const SymbolicTensor& x, Here where = Here::current());
SymbolicTensor Clip(const SymbolicTensor& x, double low, double high, Here where = Here::current());
SymbolicTensor Cast(const SymbolicTensor& x, DType dtype, Here where = Here::current());
SymbolicTensor StopGradient(const SymbolicTensor& x, Here where = Here::current());

SymbolicTensor Relu(const SymbolicTensor& x, Here where = Here::current());
SymbolicTensor LeakyRelu(const SymbolicTensor& x, double negative_slope = 0.2, Here where = Here::current());
SymbolicTensor Elu(const SymbolicTensor& x, double alpha = 1, Here where = Here::current());
SymbolicTensor Gelu(const SymbolicTensor& x, bool approximate = false, Here where = Here::current());
SymbolicTensor Silu(const SymbolicTensor& x, Here where = Here::current());
SymbolicTensor Softplus(const SymbolicTensor& x, Here where = Here::current());
SymbolicTensor Sigmoid(const SymbolicTensor& x, Here where = Here::current());
SymbolicTensor Tanh(const SymbolicTensor& x, Here where = Here::current());
SymbolicTensor Softmax(const SymbolicTensor& x, int axis = -1, Here where = Here::current());
SymbolicTensor LogSoftmax(const SymbolicTensor& x, int axis = -1, Here where = Here::current());

// Over these axes; over all of them, the batch too, without any.
SymbolicTensor Sum(const SymbolicTensor& x, const std::vector<int64_t>& axes = {}, bool keep_dims = false,
                   Here where = Here::current());
SymbolicTensor Mean(const SymbolicTensor& x, const std::vector<int64_t>& axes = {}, bool keep_dims = false,
                    Here where = Here::current());
SymbolicTensor Max(const SymbolicTensor& x, const std::vector<int64_t>& axes = {}, bool keep_dims = false,
                   Here where = Here::current());
SymbolicTensor Min(const SymbolicTensor& x, const std::vector<int64_t>& axes = {}, bool keep_dims = false,
                   Here where = Here::current());

// `dims` with the batch, which may be the one dimension that is -1.
SymbolicTensor Reshape(const SymbolicTensor& x, const std::vector<int64_t>& dims, Here where = Here::current());
SymbolicTensor Transpose(const SymbolicTensor& x, const std::vector<int64_t>& permutation, Here where = Here::current());
// A template only so that Concatenate({.axis = 1}) never means it.
SymbolicTensor Concatenated(const std::vector<SymbolicTensor>& values, int axis, const Here& where);
template <class = void>
SymbolicTensor Concatenate(const std::vector<SymbolicTensor>& values, int axis = -1, Here where = Here::current()) {
  return Concatenated(values, axis, where);
}

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYERS_OPERATION_H_
