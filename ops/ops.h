// The user's functions: each records one or a few nodes and returns symbols; nothing computes (see Evaluate in
// core/runtime.h). Shapes are checked at once: a misuse throws weir::Error naming op, shapes, layer path and the line
// that called.
//
// Operands are Values or plain numbers; a number takes the dtype of the values it meets. Shapes broadcast as in
// NumPy. Mixed dtypes are promoted (bool < uint8 < int32 < int64 < float32 < float64); functions that need real
// numbers (Exp, Conv, MatMul, Mean, `/`, ...) convert integers to float32. `+ - *`, negation and Square of uint8 give
// int32, whose results bytes can't hold (200 + 100); Cast goes back. Sums of int32 and int64 wrap. Every function is differentiable to any
// order where it is smooth, unless it says otherwise.
#ifndef WEIR_OPS_OPS_H_
#define WEIR_OPS_OPS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "weir/core/graph.h"

namespace weir {

// ---- Constants and types -------------------------------------------------------------------------------------
// Every element `number`, in the graph of `like`. As while a program runs arithmetic takes subnormal numbers for zeros, a
// number that float32 would hold as one is 0.
Value Constant(const Value& like, double number, DType dtype, const Shape& shape = {});
Value Constant(Graph& graph, double number, DType dtype, const Shape& shape = {},
               std::source_location where = std::source_location::current());
Value ZerosLike(const Value& value);
Value OnesLike(const Value& value);
Value Cast(const Operand& x, DType dtype);
Value StopGradient(const Operand& x);  // the same values; gradients end here

// ---- Arithmetic ----------------------------------------------------------------------------------------------
// At least one operand must be a Value.
Value operator+(const Operand& a, const Operand& b);
Value operator-(const Operand& a, const Operand& b);
Value operator*(const Operand& a, const Operand& b);
Value operator/(const Operand& a, const Operand& b);  // true division: integers give float32
Value operator-(const Value& x);
Value Pow(const Operand& base, const Operand& exponent);
Value Maximum(const Operand& a, const Operand& b);  // NaN if either is; gradient of a tie is halved
Value Minimum(const Operand& a, const Operand& b);
Value Abs(const Operand& x);
Value Sign(const Operand& x);
Value Square(const Operand& x);
Value Sqrt(const Operand& x);
Value Rsqrt(const Operand& x);  // 1 / sqrt(x), correctly rounded square root and division
Value Exp(const Operand& x);
Value Log(const Operand& x);
Value Log1p(const Operand& x);
Value Erf(const Operand& x);
Value Clip(const Operand& x, double low, double high);  // gradient 1 inside [low, high], 0 outside

// ---- Comparison and logic (bool results, no gradient) ---------------------------------------------------------
Value Equal(const Operand& a, const Operand& b);
Value NotEqual(const Operand& a, const Operand& b);
Value Less(const Operand& a, const Operand& b);
Value LessEqual(const Operand& a, const Operand& b);
Value Greater(const Operand& a, const Operand& b);
Value GreaterEqual(const Operand& a, const Operand& b);
Value LogicalAnd(const Operand& a, const Operand& b);
Value LogicalOr(const Operand& a, const Operand& b);
Value LogicalNot(const Operand& x);
Value Where(const Operand& condition, const Operand& if_true, const Operand& if_false);

// ---- Activations (formulas: scalar_math.h) ----------------------------------------------------------------------
Value Relu(const Operand& x);  // gradient 0 at 0
Value LeakyRelu(const Operand& x, double negative_slope = 0.2);
Value Elu(const Operand& x, double alpha = 1.0);
Value Gelu(const Operand& x, bool approximate = false);
Value Silu(const Operand& x);
Value Softplus(const Operand& x);
Value Sigmoid(const Operand& x);
Value Tanh(const Operand& x);
Value Softmax(const Operand& x, int axis = -1);
Value LogSoftmax(const Operand& x, int axis = -1);

// ---- Reductions. No axes: over all of them. Negative axes count from the back. ------------------------------------
using Axes = std::vector<int64_t>;
Value Sum(const Operand& x, const Axes& axes = {}, bool keep_dims = false);
Value SumSquares(const Operand& x, const Axes& axes = {}, bool keep_dims = false);
Value Mean(const Operand& x, const Axes& axes = {}, bool keep_dims = false);
Value Max(const Operand& x, const Axes& axes = {}, bool keep_dims = false);  // gradient shared equally among ties
Value Min(const Operand& x, const Axes& axes = {}, bool keep_dims = false);
Value ArgMax(const Operand& x, int axis = -1);  // int32; the first of equals; no gradient

// ---- Shape -------------------------------------------------------------------------------------------------------
Value Reshape(const Operand& x, std::span<const int64_t> dims);  // one dimension may be -1
Value Reshape(const Operand& x, std::initializer_list<int64_t> dims);
Value Transpose(const Operand& x, std::vector<int64_t> permutation = {});  // default: reversed axes
Value BroadcastTo(const Operand& x, const Shape& shape);
// Elements begin, begin + stride, ... < end on each axis; negative begin and end count from the back.
struct SliceOptions {
  std::vector<int64_t> begin;
  std::vector<int64_t> end;
  std::vector<int64_t> strides = {};  // default 1; positive
};
Value Slice(const Operand& x, const SliceOptions& options);
// before[i] and after[i] elements of `value` around axis i; no negative counts.
Value Pad(const Operand& x, std::vector<int64_t> before, std::vector<int64_t> after, double value = 0);
Value Concatenate(std::span<const Value> values, int axis, std::source_location where = std::source_location::current());
Value Reverse(const Operand& x, const Axes& axes);

// ---- Indexing (indices int32 or int64; one out of range is a failed run, naming value and position) ----------------
Value OneHot(const Operand& indices, int64_t depth, DType dtype = DType::kFloat32);  // shape [..., depth]; out of range: zeros
Value Gather(const Operand& x, const Operand& indices, int axis = 0);  // x's axis replaced by the indices' shape
// Zeros of `shape` to which rows updates[i] are added at indices[i] along axis 0.
Value ScatterAdd(const Operand& indices, const Operand& updates, const Shape& shape);
// Last axis: y[..] = x[.., indices[..]]; x has one axis more than indices.
Value TakeAlongLast(const Operand& x, const Operand& indices);

// ---- Products, convolution, pooling --------------------------------------------------------------------------------
// a [..., M, K] times b [..., K, N] (after the transposes) -> [..., M, N]. Batch axes broadcast.
struct MatMulOptions {
  bool transpose_a = false;
  bool transpose_b = false;
};
Value MatMul(const Operand& a, const Operand& b, const MatMulOptions& options = {});

enum class ConvAlgorithm : int64_t { kAuto = 0, kDirect = 1, kWinograd = 2 };

// "same" pads as little as needed, the odd cell behind; "valid" does not pad; "causal" (1-D) pads in front only.
// Explicit padding, one number an axis, overrides it. Empty lists mean 1 (strides, dilations) on each axis.
struct ConvOptions {
  std::vector<int64_t> strides = {};
  std::string padding = "valid";
  std::vector<int64_t> dilations = {};
  int64_t groups = 1;
  std::vector<int64_t> padding_before = {};
  std::vector<int64_t> padding_after = {};
  ConvAlgorithm algorithm = ConvAlgorithm::kAuto;
};
// Cross-correlation of x [N, spatial..., C] with filter [window..., C / groups, O] -> [N, spatial'..., O]; 1, 2 or 3
// spatial axes. Conv1D, 2D, 3D check the rank.
//
// kAuto computes windows of 3x3 by Winograd's algorithm where that takes less work, which follows from shapes alone. It
// adds neighbours before it multiplies: an output is then wrong by some 1e-6 of the largest values near it, not of its
// own (a pixel of 1e8 beside ones spoils its neighbours within 6x6 tiles), an infinity or NaN reaches outputs whose
// window does not hold it, and inputs above about 1e37 overflow. Where that matters insist on the plain sum, kDirect;
// SetConvAlgorithm (frontend/layers/conv.h) does so for a whole model. docs/numbers.md has the figures.
Value Conv(const Operand& x, const Operand& filter, const ConvOptions& options = {});
Value Conv1D(const Operand& x, const Operand& filter, const ConvOptions& options = {});
Value Conv2D(const Operand& x, const Operand& filter, const ConvOptions& options = {});
Value Conv3D(const Operand& x, const Operand& filter, const ConvOptions& options = {});

// x [N, spatial..., C] -> [N, spatial'..., C]. Padding never wins a maximum and is not counted in an average.
struct PoolOptions {
  std::vector<int64_t> window = {};   // default 2 on each axis
  std::vector<int64_t> strides = {};  // default: the window
  std::string padding = "valid";      // or "same"
  std::vector<int64_t> padding_before = {};  // explicit; each smaller than the window
  std::vector<int64_t> padding_after = {};
};
Value MaxPool(const Operand& x, const PoolOptions& options = {});
// With the values, where in its window each was found: the first largest cell (a NaN is larger than any number),
// counted in row-major order and with those in the padding, from 0. uint8 for windows of at most 256 cells, else int32.
struct MaxPooled {
  Value values;
  Value index;
};
MaxPooled MaxPoolWithIndex(const Operand& x, const PoolOptions& options = {});
Value AveragePool(const Operand& x, const PoolOptions& options = {});

// ---- Random numbers and dropout --------------------------------------------------------------------------------------
// Uniform in [0, 1), a pure function of (seed, stream, step, element index). `step` is a scalar int64 value.
Value RandomUniform(const Value& step, const Shape& shape, uint64_t seed, uint64_t stream,
                    std::source_location where = std::source_location::current());
// Each element kept with probability 1 - rate and scaled by 1 / (1 - rate), or 0. rate in [0, 1]; 1 gives zeros. The
// mask has the shape `noise_shape` (x's by default), broadcast to x.
Value Dropout(const Operand& x, double rate, const Value& step, uint64_t seed, uint64_t stream,
              std::optional<Shape> noise_shape = std::nullopt);

// ---- Losses: one value a row of the last axis ------------------------------------------------------------------------
// log(sum(exp(logits))) - logits[label]; labels int32 or int64, one axis fewer. A label out of range fails the run.
Value SparseSoftmaxCrossEntropy(const Operand& logits, const Operand& labels);
// -sum(targets * log_softmax(logits)).
Value SoftmaxCrossEntropy(const Operand& logits, const Operand& targets);
// Logistic loss max(z, 0) - z * y + log1p(exp(-|z|)), elementwise.
Value SigmoidCrossEntropy(const Operand& logits, const Operand& targets);

// ---- State --------------------------------------------------------------------------------------------------------------
// The new value of a leaf: as a root of an Executable it is stored in the leaf's own buffer after every read of the
// old value. Types must agree.
Value Assign(const Value& variable, const Operand& new_value);

// ---- For gradient functions and backends' tests: the other two partials of a convolution, the pooling gradients ----------
// attrs are those of the conv or pool node (window, strides, padding); see conv_geometry.h.
Value ConvInputGradient(const Value& dy, const Value& filter, const AttrMap& conv_attrs, const Shape& input_shape);
Value ConvFilterGradient(const Value& x, const Value& dy, const AttrMap& conv_attrs, const Shape& filter_shape);
// dy added to each window's winner, and t at each window's winner. An index that names no cell of the input adds
// nothing, and gathers 0.
Value MaxPoolGradient(const Value& dy, const Value& index, const AttrMap& pool_attrs, const Shape& input_shape);
Value MaxPoolGather(const Value& t, const Value& index, const AttrMap& pool_attrs);
Value AveragePoolGradient(const Value& dy, const AttrMap& pool_attrs, const Shape& input_shape);
// Sums a value over the axes along which `shape` was broadcast to it.
Value SumToShape(const Value& value, const Shape& shape);

}  // namespace weir

#endif  // WEIR_OPS_OPS_H_
