// Counter-based random numbers and dropout.
#include "weir/core/rng.h"
#include "weir/ops/op_rows.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

std::vector<TensorType> Infer(const InferContext& context) {
  context.attrs.Int(kSeed), context.attrs.Int(kStream);
  if (context.inputs[0] != TensorType{DType::kInt64, {}}) {
    ThrowInvalidArgument("RandomUniform: step must be i64[] ", TypeList(context.inputs));
  }
  return {{DType::kFloat32, Shape(context.attrs.Ints(kShape))}};
}

void Reference(const ReferenceCall& call) {
  const auto key =
      PhiloxKey(static_cast<uint64_t>(call.attrs.Int(kSeed)), static_cast<uint64_t>(call.attrs.Int(kStream)));
  const uint64_t step = static_cast<uint64_t>(*call.in<int64_t>(0));
  float* out = call.out<float>();
  const int64_t count = call.out_shape().size();
  for (int64_t group = 0; group * kPhiloxGroup < count; ++group) {
    for (int64_t lane = 0; lane < kPhiloxLanes; ++lane) {
      const uint64_t counter = static_cast<uint64_t>(group * kPhiloxLanes + lane);
      const auto words = Philox({static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                                 static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32)},
                                key);
      for (int64_t word = 0; word < 4; ++word) {
        const int64_t i = group * kPhiloxGroup + word * kPhiloxLanes + lane;
        if (i < count) out[i] = UniformFloat(words[static_cast<size_t>(word)]);
      }
    }
  }
}

// Ten rounds of two wide multiplications and a handful of logic, four elements at a time.
double CountFlops(const AttrMap&, std::span<const TensorType>, std::span<const TensorType> outputs) {
  return 25.0 * static_cast<double>(outputs[0].shape.size());
}

}  // namespace

const OpDef& RandomUniformOp() {
  static constexpr OpDef kOp = {
      .name = "random_uniform", .kind = OpKind::kCounter, .infer = Infer, .reference = Reference, .flops = CountFlops};
  return kOp;
}

Value RandomUniform(const Value& step, const Shape& shape, uint64_t seed, uint64_t stream, std::source_location where) {
  return Record(RandomUniformOp(), {step},
                {{kSeed, static_cast<int64_t>(seed)}, {kStream, static_cast<int64_t>(stream)}, {kShape, ToDims(shape)}},
                where);
}

Value Dropout(const Operand& x, double rate, const Value& step, uint64_t seed, uint64_t stream,
              std::optional<Shape> noise_shape) {
  const Value value = FloatingOf(x, "Dropout");
  CheckAt(value, x.where, [&] {
    if (!(rate >= 0 && rate <= 1)) ThrowInvalidArgument("Dropout: rate ", rate, " is outside [0, 1]");
    if (noise_shape && (noise_shape->rank() > value.shape().rank() ||
                        BroadcastShapes(*noise_shape, value.shape(), "Dropout") != value.shape())) {
      ThrowInvalidArgument("Dropout: noise shape ", *noise_shape, " does not broadcast to ", value.shape());
    }
  });
  if (rate == 0) return value;
  if (rate == 1) return Constant(*value.graph, 0, value.dtype(), value.shape(), x.where);
  const Value draw = RandomUniform(step, noise_shape.value_or(value.shape()), seed, stream, x.where);
  const Value keep = GreaterEqual({draw, x.where}, {rate, x.where});
  value.graph->SetName(keep.ref.node, "mask");
  const Value scaled = Operand(value, x.where) * Operand(1 / (1 - rate), x.where);
  return Where({keep, x.where}, {scaled, x.where}, {0, x.where});
}

}  // namespace weir
