// What the ops refuse, when, and in which words.
#include <gtest/gtest.h>

#include "weir/core/error.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

class OpsErrors : public ::testing::Test {
 protected:
  Value In(Shape shape, DType dtype = DType::kFloat32) { return graph_->Input({dtype, std::move(shape)}); }

  // The message of the Error thrown by `record`; the graph must be unchanged but for its inputs.
  template <class Record>
  std::string Message(Record&& record) {
    try {
      record();
    } catch (const Error& error) {
      return error.message();
    }
    ADD_FAILURE() << "nothing thrown";
    return "";
  }
  template <class Record>
  void ExpectMessage(Record&& record, const std::string& part) {
    const std::string message = Message(record);
    EXPECT_NE(message.find(part), std::string::npos) << message << "\nlacks\n" << part;
    EXPECT_NE(message.find("ops_errors_test.cc:"), std::string::npos) << "no place: " << message;
  }

  std::shared_ptr<Graph> graph_ = Graph::Create();
};

TEST_F(OpsErrors, ConvolutionReadsWell) {
  const int line = __LINE__ + 1;
  const std::string message = Message([&] { Conv2D(In({8, 32, 32, 3}), In({3, 3, 4, 16})); });
  EXPECT_EQ(message, StrCat("Conv2D: input has 3 channels, filter expects 4 (input f32[8,32,32,3], filter "
                            "f32[3,3,4,16]) at ops_errors_test.cc:",
                            line));
  Graph::LayerScope outer(*graph_, "sequential"), inner(*graph_, "conv2d");
  ExpectMessage(
      [&] {
        Conv2D(In({1, 3, 3, 1}), In({5, 5, 1, 4}));
      },
      "Conv2D: the output would be empty: window 5x5 is larger than the input 3x3 (input f32[1,3,3,1], filter "
      "f32[5,5,1,4]) at sequential/conv2d, ops_errors_test.cc:");
}

TEST_F(OpsErrors, NumbersOfWindows) {
  const Value x = In({1, 8, 8, 4}), w = In({3, 3, 4, 4});
  const int32_t before = graph_->size();
  for (int64_t stride : {int64_t{0}, int64_t{-1}, int64_t{1} << 32, int64_t{1} << 55}) {
    ExpectMessage([&] { Conv2D(x, w, {.strides = {stride, 1}}); }, "Conv2D: stride");
    ExpectMessage([&] { Conv2D(x, w, {.strides = {1, stride}, .padding = "same"}); }, "Conv2D: stride");
    ExpectMessage([&] { Conv2D(x, w, {.dilations = {stride, 1}}); }, "Conv2D: dilation");
    ExpectMessage([&] { MaxPool(x, {.window = {2, stride}}); }, "MaxPool2D: window");
    ExpectMessage([&] { AveragePool(x, {.strides = {stride, 2}}); }, "AveragePool2D: stride");
  }
  for (int64_t padding : {int64_t{-1}, int64_t{1} << 32, int64_t{1} << 62}) {
    ExpectMessage([&] { Conv2D(x, w, {.padding_before = {padding, 0}, .padding_after = {0, 0}}); }, "Conv2D: padding");
    ExpectMessage([&] { MaxPool(x, {.padding_after = {padding, 0}}); }, "MaxPool2D: padding");
  }
  EXPECT_EQ(graph_->size(), before);  // nothing recorded
  ExpectMessage([&] { Conv2D(x, In({0, 3, 4, 4})); }, "window 0");
  ExpectMessage([&] { Conv2D(x, In({3, 3, 4, 0})); }, "one filter");
  for (int64_t groups : {0, -1}) ExpectMessage([&] { Conv2D(x, w, {.groups = groups}); }, "groups");
  ExpectMessage([&] { Conv2D(x, w, {.groups = 3}); }, "divisible by 3 groups");
  ExpectMessage([&] { Conv2D(x, w, {.groups = 2}); }, "in 2 groups, filter expects 4 in each");
  ExpectMessage([&] { Conv2D(x, w, {.strides = {1}}); }, "needs 2 numbers");
  ExpectMessage([&] { Conv2D(x, w, {.padding = "smae"}); }, "did you mean 'same'");
  ExpectMessage([&] { Conv2D(x, w, {.padding = "causal"}); }, "causal");
  ExpectMessage([&] { Conv2D(x, w, {.dilations = {4, 4}}); }, "window 3x3 (9x9 dilated) is larger");
  for (const ConvOptions& options : {ConvOptions{.strides = {2, 1}}, {.dilations = {1, 2}}, {.groups = 4}}) {
    ConvOptions winograd = options;
    winograd.algorithm = ConvAlgorithm::kWinograd;
    const Value filter = In({3, 3, 8 / options.groups, 8});
    ExpectMessage([&] { Conv2D(In({1, 8, 8, 8}), filter, winograd); }, "kWinograd is for two spatial axes");
  }
  ExpectMessage(
      [&] {
        Conv2D(In({1, 8, 8, 8}), In({5, 5, 8, 8}), {.algorithm = ConvAlgorithm::kWinograd});
      },
      "a window of 3x3");
  ExpectMessage([&] { Conv1D(In({1, 8, 8}), In({3, 8, 8}), {.algorithm = ConvAlgorithm::kWinograd}); }, "kWinograd");
  ExpectMessage([&] { Conv2D(x, w, {.algorithm = static_cast<ConvAlgorithm>(7)}); }, "unknown algorithm 7");
}

TEST_F(OpsErrors, ConvolutionRanksAndTypes) {
  ExpectMessage([&] { Conv2D(In({32, 32, 3}), In({3, 3, 3, 8})); }, "Conv2D: input needs 4 axes");
  ExpectMessage([&] { Conv2D(In({1, 8, 8, 3}), In({3, 3, 8})); }, "filter needs 4 axes");
  ExpectMessage([&] { Conv(In({8, 3}), In({3, 3})); }, "one to three spatial axes");
  ExpectMessage([&] { Conv2D(In({1, 0, 5, 3}), In({1, 1, 3, 2}), {.padding = "same"}); }, "empty");
}

TEST_F(OpsErrors, Pooling) {
  ExpectMessage([&] { MaxPool(In({1, 3, 3, 1}), {.window = {5, 5}}); }, "window 5x5 is larger than the input 3x3");
  ExpectMessage([&] { MaxPool(In({1, 6, 6, 1}), {.padding_before = {2, 2}}); }, "padding 2 is not smaller");
  ExpectMessage([&] { AveragePool(In({1, 6, 6, 1}), {.window = {2}}); }, "needs 2 numbers");
  ExpectMessage([&] { MaxPool(In({6, 6})); }, "MaxPool");
  const Value x = In({1, 4, 4, 1}), y = MaxPool(x);
  const AttrMap& attrs = y.graph->node(y.ref.node).attrs;
  // Recorded by gradient functions, these have no line of the user's.
  const auto expect = [&](const auto& record, const std::string& part) {
    const std::string message = Message(record);
    EXPECT_NE(message.find(part), std::string::npos) << message << "\nlacks\n" << part;
  };
  expect([&] { MaxPoolGradient(y, Cast(y, DType::kInt32), attrs, x.shape()); },
         "the index is i32, expected u8 for windows of 2x2");
  expect([&] { MaxPoolGradient(x, Cast(x, DType::kUint8), attrs, x.shape()); },
         "operand 0 should have shape [1,2,2,1]");
  expect([&] { MaxPoolGather(x, Cast(x, DType::kUint8), attrs); }, "operand 1 should have shape [1,2,2,1]");
}

TEST_F(OpsErrors, Shapes) {
  ExpectMessage([&] { In({2, 3}) + In({4}); }, "Add: shapes [2,3] and [4] do not broadcast");
  ExpectMessage(
      [&] {
        MatMul(In({2, 3}), In({4, 5}));
      },
      "MatMul: first operand has 3 columns, second has 4 rows (f32[2,3], f32[4,5])");
  ExpectMessage([&] { MatMul(In({3}), In({3, 4})); }, "two axes");
  ExpectMessage([&] { Reshape(In({2, 3}), {4, 2}); }, "Reshape: 6 elements do not fill shape [4,2]");
  ExpectMessage([&] { Reshape(In({2, 3}), {-1, 4}); }, "Reshape");
  ExpectMessage([&] { Reshape(In({2, 3}), {-1, -1}); }, "more than one");
  ExpectMessage([&] { Reshape(In({0, 3}), {-1, 0}); }, "Reshape");
  ExpectMessage([&] { Sum(In({2, 3}), {2}); }, "Sum: axis 2 is out of range");
  ExpectMessage([&] { Sum(In({2, 3}), {0, -2}); }, "given twice");
  ExpectMessage([&] { Transpose(In({2, 3}), {0, 0}); }, "no permutation");
  ExpectMessage([&] { Concatenate(std::vector<Value>{In({2, 3}), In({3, 3})}, 1); }, "differ outside of axis 1");
  ExpectMessage([&] { BroadcastTo(In({2, 3}), {3}); }, "BroadcastTo");
  ExpectMessage([&] { Softmax(In({})); }, "Softmax");
  ExpectMessage([&] { Slice(In({2, 3}), {.begin = {0}, .end = {1}}); }, "Slice");
  ExpectMessage([&] { Slice(In({2}), {.begin = {0}, .end = {2}, .strides = {0}}); }, "Slice");
  ExpectMessage([&] { Pad(In({2}), {-1}, {0}); }, "negative");
  ExpectMessage([&] { SparseSoftmaxCrossEntropy(In({2, 3}), In({3}, DType::kInt32)); }, "labels must have the shape");
  ExpectMessage([&] { SparseSoftmaxCrossEntropy(In({2, 3}), In({2})); }, "labels must be int32 or int64");
  ExpectMessage([&] { ArgMax(In({2, 0})); }, "Argmax");
  ExpectMessage([&] { Gather(In({2}), In({1})); }, "indices must be int32 or int64");
}

TEST_F(OpsErrors, Arguments) {
  const Value x = In({4});
  ExpectMessage([&] { Exp(3.0); }, "a plain number");
  ExpectMessage([&] { Exp(Value()); }, "undefined Value");
  ExpectMessage([&] { Clip(x, 2, 1); }, "Clip: low 2");
  ExpectMessage([&] { Dropout(x, 1.5, In({}, DType::kInt64), 1, 2); }, "Dropout: rate 1.5");
  ExpectMessage([&] { Dropout(x, 0.5, In({}, DType::kInt32), 1, 2); }, "step must be i64[]");
  ExpectMessage([&] { Dropout(x, 0.5, In({}, DType::kInt64), 1, 2, Shape{3}); }, "Dropout");
  const auto other = Graph::Create();
  ExpectMessage([&] { x + other->Input({DType::kFloat32, {4}}); }, "two graphs");
  ExpectMessage([&] { Maximum(In({2}, DType::kUint8), 256); }, "256 is out of range for uint8");
}

}  // namespace
}  // namespace weir
