// What the ops compute: values of public bug reports and of definitions, through their references, and general
// properties of all cases of tests/cases.
#include "weir/ops/ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "weir/core/op_def.h"
#include "weir/core/rng.h"
#include "weir/ops/gradients.h"
#include "weir/ops/registry.h"
#include "weir/tests/cases/op_case.h"
#include "weir/tests/interpret.h"

namespace weir {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr DType kF32 = DType::kFloat32;

class OpsTest : public ::testing::Test {
 protected:
  Value Data(Shape shape, std::vector<float> values) {
    return graph_->Data(Tensor::Of<float>(std::move(shape), values));
  }
  Value Ints(Shape shape, std::vector<int32_t> values) {
    return graph_->Data(Tensor::Of<int32_t>(std::move(shape), values));
  }
  Value Full(Shape shape, double value) { return graph_->Data(Tensor::Full(kF32, std::move(shape), value)); }
  // 1, 2, 3, ...
  Value Count(const Shape& shape) {
    Tensor tensor(kF32, shape);
    float next = 1;
    for (float& x : tensor.data<float>()) x = next++;
    return graph_->Data(tensor);
  }
  std::vector<float> Floats(const Value& value) {
    const Tensor tensor = Interpret(value);
    return {tensor.data<float>().begin(), tensor.data<float>().end()};
  }
  template <class T>
  std::vector<T> Values(const Value& value) {
    const Tensor tensor = Interpret(value);
    return {tensor.data<T>().begin(), tensor.data<T>().end()};
  }
  std::vector<float> GradientOf(const Value& y, const Value& x) { return Floats(Gradients({y}, {x})[0]); }

  std::shared_ptr<Graph> graph_ = Graph::Create();
};

using FloatList = std::vector<float>;

TEST_F(OpsTest, SamePaddingWithStrideTwoPadsBehind) {
  const Value y = Conv2D(Count({1, 4, 4, 1}), Full({3, 3, 1, 1}, 1), {.strides = {2, 2}, .padding = "same"});
  EXPECT_EQ(Floats(y), FloatList({54, 45, 72, 54}));
  const Value large = Conv2D(graph_->Input({kF32, {1, 224, 224, 3}}), graph_->Input({kF32, {7, 7, 3, 8}}),
                             {.strides = {2, 2}, .padding = "same"});
  EXPECT_EQ(large.shape(), Shape({1, 112, 112, 8}));
  const AttrMap& attrs = graph_->node(large.ref.node).attrs;
  EXPECT_EQ(attrs.Ints("pad_before"), Dims({2, 2}));
  EXPECT_EQ(attrs.Ints("pad_after"), Dims({3, 3}));
}

TEST_F(OpsTest, EvenWindowsPadBehind) {
  const Value y = Conv2D(Count({1, 3, 3, 1}), Full({2, 2, 1, 1}, 1), {.padding = "same"});
  EXPECT_EQ(Floats(y), FloatList({12, 16, 9, 24, 28, 15, 15, 17, 9}));
  EXPECT_EQ(MaxPool(Count({1, 13, 13, 1}), {.strides = {1, 1}, .padding = "same"}).shape(), Shape({1, 13, 13, 1}));
}

TEST_F(OpsTest, OneByOneWindowWithStride) {
  const Value x = Count({1, 4, 4, 1}), w = Full({1, 1, 1, 1}, 1);
  const Value y = Conv2D(x, w, {.strides = {2, 2}, .padding = "same"});
  EXPECT_EQ(Floats(y), FloatList({1, 3, 9, 11}));
  EXPECT_EQ(GradientOf(Sum(y), x), FloatList({1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0}));
  EXPECT_EQ(GradientOf(Sum(y), w), FloatList({24}));
}

TEST_F(OpsTest, WindowLargerThanInputWithSame) {
  const Value y = Conv2D(Full({1, 3, 3, 1}, 1), Full({5, 5, 1, 1}, 1), {.padding = "same"});
  EXPECT_EQ(Floats(y), FloatList(9, 9.0f));
}

TEST_F(OpsTest, EmptyBatch) {
  const Value x = graph_->Data(Tensor(kF32, {0, 32, 32, 3}));
  const Value w = Full({3, 3, 3, 4}, 1);
  const Value y = Reshape(MaxPool(Relu(Conv2D(x, w, {.padding = "same"}))), {0, 1024});
  const Value logits = MatMul(y, Full({1024, 10}, 1));
  EXPECT_EQ(logits.shape(), Shape({0, 10}));
  EXPECT_EQ(Interpret(Softmax(logits)).shape(), Shape({0, 10}));
  EXPECT_EQ(GradientOf(Sum(logits), w), FloatList(108, 0.0f));
}

TEST_F(OpsTest, PaddingNeverWinsAMaximumNorCountsInAnAverage) {
  const Value x = Data({1, 3, 3, 1}, {1, -1, 0, -1, 2, 1, 0, 2, -2});
  EXPECT_EQ(Floats(MaxPool(x, {.padding = "same"})), FloatList({2, 1, 2, -2}));
  EXPECT_EQ(Floats(AveragePool(Full({1, 3, 3, 1}, 1), {.padding = "same"})), FloatList(4, 1.0f));
}

TEST_F(OpsTest, TiesGoToTheFirstInPoolingAndAreSharedInReductions) {
  const Value row = Data({1, 3, 1}, {0.6f, 0.6f, 0.3f});
  EXPECT_EQ(GradientOf(Sum(MaxPool(row, {.window = {3}})), row), FloatList({1, 0, 0}));
  const Value flat = Data({3}, {0.6f, 0.6f, 0.3f});
  EXPECT_EQ(GradientOf(Max(flat), flat), FloatList({0.5f, 0.5f, 0}));
  const Value square = Data({1, 2, 2, 1}, {1, 2, 2, 2});
  EXPECT_EQ(GradientOf(Sum(MaxPool(square)), square), FloatList({0, 1, 0, 0}));
  const Value a = Data({3}, {1, 2, 3}), b = Data({3}, {2, 2, 2});
  EXPECT_EQ(GradientOf(Sum(Maximum(a, b)), a), FloatList({0, 0.5f, 1}));
  EXPECT_EQ(GradientOf(Sum(Minimum(a, b)), a), FloatList({1, 0.5f, 0}));
  EXPECT_EQ(Values<int32_t>(ArgMax(Data({2, 3}, {1, 3, 3, kNan, 9, kNan}))), std::vector<int32_t>({1, 0}));
}

TEST_F(OpsTest, MaxPoolSaysWhichCellOfAWindowWon) {
  const auto index = [](const Value& x, const PoolOptions& options) { return MaxPoolWithIndex(x, options).index; };
  // Padding counts: of the first window the last cell is the only one inside.
  const Value x = Data({1, 3, 3, 1}, {1, 0, -1, -1, 2, 2, kNan, 2, kNan});
  EXPECT_EQ(Values<uint8_t>(index(x, {.padding_before = {1, 1}})), std::vector<uint8_t>({3, 2, 3, 3}));
  EXPECT_EQ(Values<uint8_t>(index(x, {.strides = {1, 1}})), std::vector<uint8_t>({3, 2, 2, 3}));
  EXPECT_EQ(index(Full({1, 16, 16, 1}, 0), {.window = {16, 16}}).dtype(), DType::kUint8);
  const Value large = index(Count({1, 17, 16, 1}), {.window = {17, 16}});
  EXPECT_EQ(Values<int32_t>(large), std::vector<int32_t>({271}));
  // Summed where windows share a winner.
  const Value shared = Data({1, 3, 1}, {1, 3, 2});
  EXPECT_EQ(GradientOf(Sum(MaxPool(shared, {.strides = {1}})), shared), FloatList({0, 2, 0}));
}

TEST_F(OpsTest, SoftmaxOfLargeLogits) {
  const Value x = Data({1, 3}, {1000, 0, -1000});
  EXPECT_EQ(Floats(Softmax(x)), FloatList({1, 0, 0}));
  EXPECT_EQ(Floats(LogSoftmax(x)), FloatList({0, -1000, -2000}));
  EXPECT_EQ(Floats(LogSoftmax(Data({1, 1}, {88.72284f}))), FloatList({0}));
  EXPECT_FLOAT_EQ(Floats(SparseSoftmaxCrossEntropy(Data({1, 2}, {1e8f, 1e8f}), Ints({1}, {1})))[0], 0.6931472f);
  for (const Value& bad : {Data({1, 2}, {kInf, 1}), Data({1, 2}, {-kInf, -kInf})}) {
    for (const Value& y : {Softmax(bad), LogSoftmax(bad)}) {
      for (float value : Floats(y)) EXPECT_TRUE(std::isnan(value));
    }
  }
}

TEST_F(OpsTest, CrossEntropyFromLogitsAndClippedProbabilities) {
  EXPECT_FLOAT_EQ(Floats(SparseSoftmaxCrossEntropy(Data({1, 3}, {14.4f, 50.1f, 3.5f}), Ints({1}, {0})))[0], 35.7f);
  const Value p = Data({2, 3}, {0, 1, 0, 1, 0, 0});
  const Value loss = SparseSoftmaxCrossEntropy(Log(Clip(p, 1e-7, 1 - 1e-7)), Ints({2}, {0, 0}));
  EXPECT_NEAR(Floats(loss)[0], 16.118096, 1e-5);
  EXPECT_NEAR(Floats(loss)[1], 0, 1e-6);
  for (float g : GradientOf(Sum(loss), p)) EXPECT_TRUE(std::isfinite(g));
}

TEST_F(OpsTest, LabelOutOfRangeFailsTheRun) {
  for (const auto& [label, low] :
       {std::pair{2, "label 2 at row 1 is outside [0, 2)"}, {-1, "label -1 at row 1 is outside [0, 2)"}}) {
    Interpreter run;
    run.Evaluate(SparseSoftmaxCrossEntropy(Data({3, 2}, {1, 2, 3, 4, 5, 6}), Ints({3}, {1, label, 0})));
    ASSERT_TRUE(run.errors().any());
    EXPECT_NE(run.errors().ToStatus().message().find(low), std::string::npos) << run.errors().ToStatus().message();
  }
  Interpreter run;
  run.Evaluate(Gather(Data({2}, {1, 2}), Ints({2}, {0, 7})));
  EXPECT_TRUE(run.errors().any());
}

TEST_F(OpsTest, SizesBeyond31Bits) {
  const Value x = graph_->Input({kF32, {46341, 46341, 1, 1}});
  EXPECT_EQ(x.shape().size(), 2147488281);
  EXPECT_EQ(Conv2D(Reshape(x, {1, 46341, 46341, 1}), graph_->Input({kF32, {1, 1, 1, 1}})).shape().size(), 2147488281);
  EXPECT_EQ(Reshape(x, {-1}).shape(), Shape({2147488281}));
  EXPECT_THROW(graph_->Input({kF32, {int64_t{1} << 32, int64_t{1} << 32}}), Error);
  EXPECT_THROW(BroadcastTo(graph_->Input({kF32, {1, 1}}), {int64_t{1} << 31, int64_t{1} << 31}), Error);
  EXPECT_THROW(Pad(graph_->Input({kF32, {2}}), {INT64_MAX}, {1}), Error);
}

TEST_F(OpsTest, PaddingLargerThanTheWindow) {
  const Value x = Full({5, 11, 14, 2}, 1), w = Full({3, 3, 2, 3}, 1);
  const Value y = Conv2D(x, w, {.padding_before = {4, 4}, .padding_after = {4, 4}});
  EXPECT_EQ(y.shape(), Shape({5, 17, 20, 3}));
  EXPECT_EQ(GradientOf(Sum(y), x), FloatList(5 * 11 * 14 * 2, 27.0f));
}

TEST_F(OpsTest, Dropout) {
  const Value step = graph_->Data(Tensor::Scalar<int64_t>(1)), next = graph_->Data(Tensor::Scalar<int64_t>(2));
  const Value x = Full({1, 1000}, 1);
  const FloatList first = Floats(weir::Dropout(x, 0.5, step, 7, 0)), second = Floats(weir::Dropout(x, 0.5, next, 7, 0));
  EXPECT_NE(first, second);
  EXPECT_EQ(first, Floats(weir::Dropout(x, 0.5, step, 7, 0)));
  int dropped = 0;
  for (float value : first) {
    EXPECT_TRUE(value == 0 || value == 2) << value;
    dropped += value == 0;
  }
  EXPECT_GE(dropped, 450);
  EXPECT_LE(dropped, 550);
  EXPECT_EQ(GradientOf(Sum(weir::Dropout(x, 0.5, step, 7, 0)), x), first);  // the very same mask
  EXPECT_EQ(weir::Dropout(x, 0, step, 7, 0).ref, x.ref);
  EXPECT_EQ(Floats(weir::Dropout(Full({4}, kInf), 1, step, 7, 0)), FloatList(4, 0.0f));
  EXPECT_EQ(GradientOf(Sum(weir::Dropout(x, 1, step, 7, 0)), x), FloatList(1000, 0.0f));
}

TEST_F(OpsTest, RandomUniformIsPhiloxByElement) {
  const uint64_t step = 5;
  const FloatList values = Floats(RandomUniform(graph_->Data(Tensor::Scalar<int64_t>(5)), {3, 77}, 7, 11));
  const auto key = PhiloxKey(7, 11);
  for (int64_t i = 0; i < 231; ++i) EXPECT_EQ(values[i], UniformFloat(RandomBits(key, step, i))) << i;
}

TEST_F(OpsTest, NumbersTakeTheTypeTheyMeet) {
  const Value bytes = graph_->Data(Tensor::Of<uint8_t>({3}, {250, 5, 0}));
  EXPECT_EQ((bytes + 10).dtype(), DType::kInt32);
  EXPECT_EQ(Values<int32_t>(bytes + 10), std::vector<int32_t>({260, 15, 10}));
  EXPECT_EQ(Values<uint8_t>(Cast(bytes + 10, DType::kUint8)), std::vector<uint8_t>({4, 15, 10}));  // wraps
  EXPECT_EQ(Values<int32_t>(-bytes), std::vector<int32_t>({-250, -5, 0}));
  EXPECT_EQ(Values<int32_t>(bytes + 300), std::vector<int32_t>({550, 305, 300}));
  EXPECT_THROW(bytes + 3e9, Error);
  EXPECT_THROW(Maximum(bytes, 300), Error);
  EXPECT_EQ((bytes * 0.5).dtype(), kF32);
  EXPECT_EQ((bytes / 2).dtype(), kF32);
  EXPECT_EQ((bytes + Ints({3}, {1, 2, 3})).dtype(), DType::kInt32);
  EXPECT_EQ((bytes + Full({3}, 1)).dtype(), kF32);
  EXPECT_EQ(Exp(bytes).dtype(), kF32);
  EXPECT_EQ(Mean(bytes).dtype(), kF32);
  EXPECT_EQ(Values<int32_t>(Sum(bytes)), std::vector<int32_t>({255}));
  const Value flags = Less(bytes, 100);
  EXPECT_EQ(Values<int32_t>(Sum(flags)), std::vector<int32_t>({2}));
  EXPECT_EQ(Values<int32_t>(flags + flags), std::vector<int32_t>({0, 2, 2}));
  EXPECT_EQ(MatMul(Reshape(bytes, {1, 3}), Reshape(bytes, {3, 1})).dtype(), kF32);
  EXPECT_EQ(Values<uint8_t>(Cast(Data({4}, {-1, 300, kNan, 7.9f}), DType::kUint8)),
            std::vector<uint8_t>({0, 255, 0, 7}));
}

TEST_F(OpsTest, Losses) {
  const Value z = Data({4}, {0, 2, -3, 100}), y = Data({4}, {1, 0, 0.5f, 1});
  const FloatList loss = Floats(SigmoidCrossEntropy(z, y));
  EXPECT_FLOAT_EQ(loss[0], 0.6931472f);
  EXPECT_FLOAT_EQ(loss[1], 2.126928f);
  EXPECT_FLOAT_EQ(loss[2], 1.548587f);
  EXPECT_LT(loss[3], 1e-30);
  EXPECT_FLOAT_EQ(GradientOf(Sum(SigmoidCrossEntropy(z, y)), z)[0], -0.5f);
  EXPECT_FLOAT_EQ(Floats(SoftmaxCrossEntropy(Data({1, 2}, {0, 0}), Data({1, 2}, {0.5f, 0.5f})))[0], 0.6931472f);
}

TEST_F(OpsTest, GradientAtKinks) {
  const Value x = Data({5}, {-1, -0.0f, 0, 1, kNan});
  EXPECT_EQ(GradientOf(Sum(Slice(Relu(x), {.begin = {0}, .end = {4}})), x), FloatList({0, 0, 0, 1, 0}));
  const Value c = Data({4}, {-2, -1, 1, 2});
  EXPECT_EQ(GradientOf(Sum(Clip(c, -1, 1)), c), FloatList({0, 1, 1, 0}));
  EXPECT_EQ(GradientOf(Sum(Abs(x)), x)[1], 0);
  const Value zero = Data({2}, {0, 0});
  EXPECT_EQ(GradientOf(Sum(Pow(zero, 2)), zero), FloatList({0, 0}));
  EXPECT_EQ(GradientOf(Sum(Pow(zero, 0)), zero), FloatList({0, 0}));
  EXPECT_EQ(GradientOf(Sum(StopGradient(c) * c), c), FloatList({-2, -1, 1, 2}));
  // Steep parts that are not taken leave no NaN behind, in the first and in the second derivative.
  const Value big = Data({2}, {200, -200});
  for (const Value& y : {Elu(big), Softplus(big), Gelu(big), Sigmoid(big), Tanh(big), Silu(big)}) {
    const Value first = Gradients({Sum(y)}, {big})[0];
    for (float g : Floats(first)) EXPECT_TRUE(std::isfinite(g));
    for (float g : GradientOf(Sum(first), big)) EXPECT_TRUE(std::isfinite(g));
  }
}

TEST_F(OpsTest, AssignKeepsTypes) {
  const Value w = Full({3}, 1);
  EXPECT_EQ(Floats(Assign(w, w * 2)), FloatList(3, 2.0f));
  EXPECT_EQ(Floats(Assign(w, 0)), FloatList(3, 0.0f));
  EXPECT_THROW(Assign(w * 2, w), Error);
  EXPECT_THROW(Assign(w, Full({4}, 1)), Error);
}

// ---- All cases
// -------------------------------------------------------------------------------------------------------
TEST(Cases, EveryOpHasOne) {
  OpRegistry registry;
  RegisterAllOps(registry);
  std::set<std::string> covered, names;
  for (const OpCase& c : AllOpCases()) {
    EXPECT_TRUE(names.insert(c.name).second) << "twice: " << c.name;
    EXPECT_NE(registry.Find(c.op), nullptr) << c.name << ": no op " << c.op;
    if (!c.bench_only) covered.insert(c.op);
    // A case records the op it is about.
    const auto graph = Graph::Create();
    c.build(*graph, RecordInputs(c, *graph));
    bool found = false;
    for (NodeId id = 0; id < graph->size(); ++id) found = found || graph->node(id).op->name == c.op;
    EXPECT_TRUE(found || c.name.find("rate") != std::string::npos) << c.name;
  }
  for (const OpDef* op : registry.all()) {
    if (op->kind != OpKind::kLeaf) {
      EXPECT_TRUE(covered.contains(std::string(op->name))) << op->name;
    }
  }
}

// float32 results are near those of float64; types and special values agree.
TEST(Cases, Float32AgreesWithFloat64) {
  for (const OpCase& c : AllOpCases()) {
    if (c.bench_only) continue;
    const auto graph32 = Graph::Create(), graph64 = Graph::Create();
    const std::vector<Value> in32 = RecordInputs(c, *graph32), in64 = RecordInputs(c, *graph64, DType::kFloat64);
    const std::vector<Value> out32 = c.build(*graph32, in32), out64 = c.build(*graph64, in64);
    Interpreter run32, run64;
    const std::vector<Tensor> data32 = MakeInputs(c), data64 = MakeInputs(c, DType::kFloat64);
    for (size_t i = 0; i < data32.size(); ++i) run32.Bind(in32[i], data32[i]), run64.Bind(in64[i], data64[i]);
    const bool specials = c.name.find("specials") != std::string::npos;
    for (size_t o = 0; o < out32.size(); ++o) {
      const Tensor a = run32.Evaluate(out32[o]), b = run64.Evaluate(out64[o]);
      ASSERT_EQ(a.shape(), b.shape()) << c.name;
      if (specials) continue;  // overflow comes earlier in float32
      if (a.dtype() != kF32 || b.dtype() != DType::kFloat64) {
        // Which of two sums is the largest, rounding may decide.
        const bool of_sums = c.name.starts_with("max_pool/conv_");
        EXPECT_TRUE(a.dtype() == kF32 || of_sums || BitEqual(a, b)) << c.name;
        continue;
      }
      double largest = 0;
      for (double x : b.data<double>()) largest = std::max(largest, std::isfinite(x) ? std::abs(x) : 0);
      double worst = 0;
      for (int64_t i = 0; i < a.size(); ++i) {
        const double x = a.data<float>()[i], y = b.data<double>()[i];
        if (x == y || (std::isnan(x) && std::isnan(y)) || std::abs(y) > 3e38) continue;
        worst = std::max(worst, std::abs(x - y));
      }
      // Winograd's errors are two to three times the direct sum's; winograd_test.cc bounds them.
      double tolerance = c.name.find("winograd") != std::string::npos ? 6e-6 : 3e-6;
      // Filter gradients sum over all positions: up to tens of thousands of terms, one after the other.
      if (c.op == "conv_filter_gradient") tolerance = 1e-5;
      EXPECT_LE(worst, tolerance * largest + 1e-38) << c.name;
    }
    EXPECT_FALSE(run32.errors().any()) << c.name;
  }
}

// An elementwise reference may write over an operand of the output's shape and element size.
TEST(Cases, ElementwiseReferencesWorkInPlace) {
  for (const OpCase& c : AllOpCases()) {
    if (c.bench_only) continue;
    const auto graph = Graph::Create();
    const std::vector<Value> inputs = RecordInputs(c, *graph);
    c.build(*graph, inputs);
    const std::vector<Tensor> data = MakeInputs(c);
    Interpreter run;
    for (size_t i = 0; i < data.size(); ++i) run.Bind(inputs[i], data[i]);
    for (NodeId id = 0; id < graph->size(); ++id) {
      const Node& node = graph->node(id);
      if (node.op->kind != OpKind::kElementwise) continue;
      const Tensor expected = run.Evaluate(graph->value({id, 0}));
      for (size_t target = 0; target < node.inputs.size(); ++target) {
        std::vector<Tensor> operands;
        std::vector<TensorType> types;
        for (Ref ref : node.inputs) {
          operands.push_back(run.Evaluate(graph->value(ref)).Clone());
          types.push_back(operands.back().type());
        }
        if (types[target].shape != expected.shape() || SizeOf(types[target].dtype) != SizeOf(expected.dtype()))
          continue;
        std::vector<const std::byte*> in;
        for (const Tensor& operand : operands) in.push_back(operand.raw());
        std::vector<std::byte*> out = {operands[target].raw()};
        const std::vector<TensorType> out_types = {expected.type()};
        KernelErrors errors;
        node.op->reference({node.attrs, types, out_types, in, out, errors});
        EXPECT_TRUE(std::equal(expected.raw(), expected.raw() + expected.bytes(), out[0])) << c.name;
      }
    }
  }
}

}  // namespace
}  // namespace weir
