// Printing tensors and variables as NumPy and TensorFlow do.
#include <limits>

#include "frontend_test_util.h"

namespace weir {
namespace {

std::string Text(const Tensor& tensor) { return StrCat(tensor); }

TEST(TensorFormat, FloatsShareTheirDigits) {
  EXPECT_EQ(FormatValues(Vector({1, 2.5f, -3})), "[ 1.   2.5 -3. ]");
  EXPECT_EQ(FormatValues(Vector({0.1f, 0.22f, 0.333f})), "[0.1   0.22  0.333]");
  EXPECT_EQ(FormatValues(Vector({0})), "[0.]");
  EXPECT_EQ(FormatValues(Vector({1.0f / 3})), "[0.33333334]");
  EXPECT_EQ(FormatValues(Vector({0.012345678f})), "[0.01234568]");
}

TEST(TensorFormat, ScientificForWideRanges) {
  EXPECT_EQ(FormatValues(Vector({1e-5f, 1})), "[1.e-05 1.e+00]");
  EXPECT_EQ(FormatValues(Vector({1e8f})), "[1.e+08]");
  EXPECT_EQ(FormatValues(Vector({1.5f, 2000})), "[1.5e+00 2.0e+03]");
  EXPECT_EQ(FormatValues(Vector({-1.25e-7f, 3})), "[-1.25e-07  3.00e+00]");
}

TEST(TensorFormat, SpecialValues) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(FormatValues(Vector({1, nan, -inf})), "[  1.  nan -inf]");
  EXPECT_EQ(FormatValues(Vector({nan})), "[nan]");
}

TEST(TensorFormat, IntegersAndBools) {
  EXPECT_EQ(FormatValues(Tensor::Of<int32_t>({3}, {1, -20, 3})), "[  1 -20   3]");
  EXPECT_EQ(FormatValues(Tensor::Of<bool>({2}, {true, false})), "[ True False]");
  EXPECT_EQ(Text(Tensor::Of<int64_t>({2}, {1, 2})), "array([1, 2])");
  EXPECT_EQ(Text(Tensor::Of<int32_t>({2}, {1, 2})), "array([1, 2], dtype=int32)");
}

TEST(TensorFormat, MatricesAndBlocks) {
  EXPECT_EQ(FormatValues(Tensor::Of<float>({2, 2}, {1, 2, 3, 4})), "[[1. 2.]\n [3. 4.]]");
  EXPECT_EQ(Text(Tensor::Of<float>({2, 1, 2}, {1, 2, 3, 4})),
            "array([[[1., 2.]],\n\n       [[3., 4.]]], dtype=float32)");
  EXPECT_EQ(Text(Tensor::Scalar(2.5f)), "array(2.5, dtype=float32)");
  EXPECT_EQ(Text(Tensor(DType::kFloat32, Shape{0, 3})), "array([], shape=(0, 3), dtype=float32)");
}

TEST(TensorFormat, LongLinesWrap) {
  Tensor tensor(DType::kInt64, Shape{30});
  for (size_t i = 0; i < 30; ++i) tensor.data<int64_t>()[i] = static_cast<int64_t>(i);
  EXPECT_EQ(FormatValues(tensor),
            "[ 0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16 17 18 19 20 21 22 23\n"
            " 24 25 26 27 28 29]");
}

TEST(TensorFormat, LargeTensorsAreSummarised) {
  Tensor tensor(DType::kFloat32, Shape{1001});
  for (size_t i = 0; i < 1001; ++i) tensor.data<float>()[i] = static_cast<float>(i);
  EXPECT_EQ(FormatValues(tensor), "[   0.    1.    2. ...  998.  999. 1000.]");
  Tensor matrix(DType::kFloat32, Shape{8, 200});
  EXPECT_EQ(FormatValues(matrix),
            "[[0. 0. 0. ... 0. 0. 0.]\n [0. 0. 0. ... 0. 0. 0.]\n [0. 0. 0. ... 0. 0. 0.]\n ...\n"
            " [0. 0. 0. ... 0. 0. 0.]\n [0. 0. 0. ... 0. 0. 0.]\n [0. 0. 0. ... 0. 0. 0.]]");
}

TEST(Variables, PrintAsTensorFlowDoes) {
  Variable bias({.name = "bias", .shape = {3}}, "conv2d");
  EXPECT_EQ(StrCat(bias),
            "<tf.Variable 'conv2d/bias:0' shape=(3,) dtype=float32, numpy=array([0., 0., 0.], dtype=float32)>");
  Variable kernel({.name = "kernel", .shape = {2, 2}, .initializer = "ones"}, "dense");
  EXPECT_EQ(StrCat(kernel),
            "<tf.Variable 'dense/kernel:0' shape=(2, 2) dtype=float32, numpy=\n"
            "array([[1., 1.],\n       [1., 1.]], dtype=float32)>");
}

TEST(Variables, HandedOutValuesNeverChange) {
  Variable variable({.name = "kernel", .shape = {2}, .initializer = "ones"}, "dense");
  const Tensor before = variable.value();
  variable.LockedExclusive().data<float>()[0] = 7;
  EXPECT_EQ(before.at<float>({0}), 1);
  EXPECT_EQ(variable.value().at<float>({0}), 7);
  Tensor mine = Vector({5, 6});
  variable.Assign(mine);
  mine.data<float>()[0] = 9;
  EXPECT_EQ(variable.value().at<float>({0}), 5);
  EXPECT_THROW(variable.Assign(Vector({1, 2, 3})), Error);
}

}  // namespace
}  // namespace weir
