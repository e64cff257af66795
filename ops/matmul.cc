// Matrix products with transposes and broadcasting batch axes.
#include <algorithm>
#include <vector>

#include "weir/ops/canonical_order.h"
#include "weir/ops/op_rows.h"
#include "weir/ops/ops.h"
#include "weir/ops/outer_product.h"

namespace weir {
namespace {

Shape BatchShape(const Shape& shape) { return Shape(shape.dims().first(static_cast<size_t>(shape.rank() - 2))); }

struct ProductSizes {
  int64_t m, n, k;
};
ProductSizes SizesOf(const AttrMap& attrs, const Shape& a, const Shape& b) {
  const bool ta = attrs.Bool(kTransposeA), tb = attrs.Bool(kTransposeB);
  return {a.dim(ta ? -1 : -2), b.dim(tb ? -2 : -1), a.dim(ta ? -2 : -1)};
}

std::vector<TensorType> Infer(const InferContext& context) {
  CheckSameDType(context, 0, 1);
  CheckFloating(context, {0, 1});
  const Shape &a = context.inputs[0].shape, &b = context.inputs[1].shape;
  if (a.rank() < 2 || b.rank() < 2) {
    ThrowInvalidArgument("MatMul: operands need at least two axes ", TypeList(context.inputs));
  }
  const ProductSizes sizes = SizesOf(context.attrs, a, b);
  const int64_t k = b.dim(context.attrs.Bool(kTransposeB) ? -1 : -2);
  if (sizes.k != k) {
    ThrowInvalidArgument(
        "MatMul: first operand has ", sizes.k, " columns, second has ", k, " rows ", TypeList(context.inputs),
        context.attrs.Bool(kTransposeA) || context.attrs.Bool(kTransposeB) ? " after transposing" : "");
  }
  Dims dims = ToDims(BroadcastShapes(BatchShape(a), BatchShape(b), "MatMul"));
  dims.push_back(sizes.m);
  dims.push_back(sizes.n);
  return {{context.inputs[0].dtype, Shape(dims)}};
}

// One product: y [m, n] = a b with element strides.
template <class T>
struct ProductLoop {
  using Element = T;
  const T *a, *b;
  T *y, *packed;  // packed: k * kTileColumns
  ProductSizes sizes;
  int64_t a_row, a_k, b_k, b_column;

  [[gnu::always_inline]] static void Run(const ProductLoop& p) {
    const auto [m, n, k] = p.sizes;
    for (int64_t column = 0; column < n; column += kTileColumns) {
      const int64_t width = std::min(kTileColumns, n - column);
      for (int64_t i = 0; i < k; ++i) {
        PackRow(p.b + i * p.b_k + column * p.b_column, p.b_column, width, p.packed + i * kTileColumns);
      }
      for (int64_t row = 0; row < m; row += kTileRows) {
        const int64_t rows = std::min(kTileRows, m - row);
        Tile<T> total, block;
        total.Clear();
        for (int64_t begin = 0; begin < k; begin += kMatMulBlock) {
          const T* a[kTileRows];
          for (int64_t r = 0; r < kTileRows; ++r) a[r] = p.a + (row + std::min(r, rows - 1)) * p.a_row + begin * p.a_k;
          block.Clear();
          block.Accumulate(a, p.a_k, p.packed + begin * kTileColumns, std::min(kMatMulBlock, k - begin));
          for (int64_t r = 0; r < kTileRows; ++r) {
            for (int64_t j = 0; j < kTileColumns; ++j) {
              total.sums[r][j] = begin == 0 ? block.sums[r][j] : total.sums[r][j] + block.sums[r][j];
            }
          }
        }
        for (int64_t r = 0; r < rows; ++r) std::copy_n(total.sums[r], width, p.y + (row + r) * n + column);
      }
    }
  }
};

void Reference(const ReferenceCall& call) {
  const Shape &a = call.in_shape(0), &b = call.in_shape(1);
  const ProductSizes sizes = SizesOf(call.attrs, a, b);
  const Shape batch = BatchShape(call.out_shape());
  if (call.out_shape().size() == 0) return;
  const bool ta = call.attrs.Bool(kTransposeA), tb = call.attrs.Bool(kTransposeB);
  const Dims a_batch = BroadcastStrides(BatchShape(a), batch), b_batch = BroadcastStrides(BatchShape(b), batch);
  const int64_t a_size = a.dim(-1) * a.dim(-2), b_size = b.dim(-1) * b.dim(-2);
  VisitFloating(call.input_types[0].dtype, [&]<class T>(T) {
    std::vector<T> packed(static_cast<size_t>(sizes.k * kTileColumns));
    for (int64_t i = 0; i < batch.size(); ++i) {
      int64_t a_index = 0, b_index = 0, rest = i;
      for (int axis = batch.rank() - 1; axis >= 0; --axis) {
        const int64_t at = rest % batch.dim(axis);
        rest /= batch.dim(axis);
        a_index += at * a_batch[axis];
        b_index += at * b_batch[axis];
      }
      RunTypedLoop(ProductLoop<T>{.a = call.in<T>(0) + a_index * a_size,
                                  .b = call.in<T>(1) + b_index * b_size,
                                  .y = call.out<T>() + i * sizes.m * sizes.n,
                                  .packed = packed.data(),
                                  .sizes = sizes,
                                  .a_row = ta ? 1 : sizes.k,
                                  .a_k = ta ? sizes.m : 1,
                                  .b_k = tb ? 1 : sizes.n,
                                  .b_column = tb ? sizes.k : 1});
    }
  });
}

double CountFlops(const AttrMap& attrs, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  return 2.0 * static_cast<double>(outputs[0].shape.size()) *
         static_cast<double>(SizesOf(attrs, inputs[0].shape, inputs[1].shape).k);
}

// With A' and B' the operands after transposing, dA' = g B'^T and dB' = A'^T g; a transposed operand's gradient is the
// transpose of that, again one product.
std::vector<Value> Gradient(const GradientContext& context) {
  const Value a = context.input(0), b = context.input(1), g = context.cotangent();
  const bool ta = context.node.attrs.Bool(kTransposeA), tb = context.node.attrs.Bool(kTransposeB);
  const Value da = ta ? MatMul(b, g, {.transpose_a = tb, .transpose_b = true})
                      : MatMul(g, b, {.transpose_a = false, .transpose_b = !tb});
  const Value db = tb ? MatMul(g, a, {.transpose_a = true, .transpose_b = ta})
                      : MatMul(a, g, {.transpose_a = !ta, .transpose_b = false});
  return {SumToShape(da, a.shape()), SumToShape(db, b.shape())};
}

}  // namespace

const OpDef& MatMulOp() {
  static constexpr OpDef kOp = {.name = "matmul",
                                .kind = OpKind::kAnchor,
                                .infer = Infer,
                                .gradient = Gradient,
                                .reference = Reference,
                                .flops = CountFlops};
  return kOp;
}

Value MatMul(const Operand& a, const Operand& b, const MatMulOptions& options) {
  ValueOf(a, "MatMul"), ValueOf(b, "MatMul");
  const std::vector<Value> values = Common("MatMul", {&a, &b}, /*floating=*/true);
  return Record(MatMulOp(), values, {{kTransposeA, options.transpose_a}, {kTransposeB, options.transpose_b}}, a.where);
}

}  // namespace weir
