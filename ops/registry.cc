#include "weir/ops/registry.h"

#include "weir/ops/op_rows.h"

namespace weir {

void RegisterAllOps(OpRegistry& registry) {
  registry.Register(InputOp());
  for (int i = 0; i < kScalarOps; ++i) registry.Register(ElementwiseOp(static_cast<ScalarOp>(i)));
  const OpDef* const rows[] = {
      &ConstantOp(),
      &RandomUniformOp(),
      &ReshapeOp(),
      &AssignOp(),
      &ConvOp(),
      &ConvInputGradientOp(),
      &ConvFilterGradientOp(),
      &MatMulOp(),
      &MaxPoolOp(),
      &MaxPoolGradientOp(),
      &MaxPoolGatherOp(),
      &AveragePoolOp(),
      &AveragePoolGradientOp(),
      &ReduceSumOp(),
      &ReduceSumSquaresOp(),
      &ReduceMaxOp(),
      &ReduceMinOp(),
      &ArgMaxOp(),
      &SoftmaxOp(),
      &LogSoftmaxOp(),
      &SparseCrossEntropyOp(),
      &TransposeOp(),
      &SliceOp(),
      &PadOp(),
      &ConcatenateOp(),
      &ReverseOp(),
      &OneHotOp(),
      &GatherOp(),
      &ScatterAddOp(),
      &TakeAlongLastOp(),
  };
  for (const OpDef* row : rows) registry.Register(*row);
}

}  // namespace weir
