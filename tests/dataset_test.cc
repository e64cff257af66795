// Data sets in memory, and generated pictures.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "weir/core/error.h"
#include "weir/frontend/data/dataset.h"
#include "weir/frontend/data/generated.h"

namespace weir {
namespace {

TEST(DatasetTest, ImagesLabelsAndSlices) {
  Dataset data{
      Tensor::Of<uint8_t>({3, 1, 2, 1}, {1, 2, 3, 4, 5, 255}), Tensor::Of<int32_t>({3}, {0, 1, 7}), {"a", "b"}, "x"};
  EXPECT_EQ(data.size(), 3);
  EXPECT_TRUE(BitEqual(data.image(1), Tensor::Of<float>({1, 1, 2, 1}, {3, 4})));
  EXPECT_EQ(data.class_name(1), "b");
  EXPECT_EQ(data.class_name(2), "7");
  EXPECT_THROW(data.image(3), Error);
  EXPECT_THROW(data.label(-1), Error);
  const Dataset slice = data.Slice(1, 3);
  EXPECT_EQ(slice.size(), 2);
  EXPECT_EQ(slice.label(0), 1);
  EXPECT_EQ(slice.images.raw(), data.images.raw() + 2) << "slices share the elements";
  EXPECT_EQ(data.Take(2).size(), 2);
  EXPECT_EQ(data.Take(99).size(), 3);
  EXPECT_EQ(data.Take(0).size(), 0);
  EXPECT_THROW(data.Slice(2, 4), Error);
  EXPECT_EQ(Dataset().size(), 0);
}

TEST(DatasetTest, ScalingAgreesWithDivision) {
  std::vector<uint8_t> bytes(256);
  for (int i = 0; i < 256; ++i) bytes[i] = static_cast<uint8_t>(i);
  const Dataset data{Tensor::Of<uint8_t>({1, 16, 16, 1}, bytes), Tensor::Of<int32_t>({1}, {0}), {}, "x"};
  for (const double factor : {1.0 / 255, static_cast<double>(1.0f / 255)}) {
    const Dataset scaled = data.Scaled(factor);
    ASSERT_EQ(scaled.images.dtype(), DType::kFloat32);
    for (int i = 0; i < 256; ++i) {
      const float value = scaled.images.data<float>()[i];
      const float exact = static_cast<float>(i) / 255.0f;
      EXPECT_LE(value, std::nextafter(exact, 2.0f)) << i;
      EXPECT_GE(value, std::nextafter(exact, -1.0f)) << i;
    }
  }
  const Tensor unit = data.Scaled(1.0 / 255).image(0), same = data.Scaled(2).Scaled(0.5).image(0);
  EXPECT_EQ(unit.data<float>()[255], 1.0f);
  EXPECT_EQ(same.data<float>()[7], 7.0f);
}

constexpr uint64_t kTrainHash = 7366855869736245414u;
constexpr uint64_t kTestHash = 8675735256978617114u;

// FNV-1a.
uint64_t Hash(const Tensor& tensor) {
  uint64_t hash = 14695981039346656037u;
  for (int64_t i = 0; i < tensor.bytes(); ++i)
    hash = (hash ^ std::to_integer<uint64_t>(tensor.raw()[i])) * 1099511628211u;
  return hash;
}

TEST(GeneratedTest, FormAndDeterminism) {
  const DatasetPair pair = datasets::GeneratedShapes(1000, 200, 7);
  EXPECT_EQ(pair.train.images.type(), (TensorType{DType::kUint8, {1000, 32, 32, 3}}));
  EXPECT_EQ(pair.test.labels.type(), (TensorType{DType::kInt32, {200}}));
  EXPECT_EQ(pair.train.class_names.size(), 10u);
  EXPECT_EQ(pair.train.name.find("CIFAR"), std::string::npos);
  std::vector<int> counts(10);
  for (const int32_t label : pair.train.labels.data<int32_t>()) ++counts.at(label);
  for (const int count : counts) EXPECT_EQ(count, 100);
  // The bytes are part of the promise: the same on every platform.
  EXPECT_EQ(Hash(pair.train.images), kTrainHash);
  EXPECT_EQ(Hash(pair.test.images), kTestHash);
  const DatasetPair fewer = datasets::GeneratedShapes(10, 0, 7);
  EXPECT_TRUE(BitEqual(fewer.train.images, pair.train.images.Rows(0, 10).Clone()));
  EXPECT_EQ(fewer.test.size(), 0);
  EXPECT_NE(Hash(datasets::GeneratedShapes(10, 0, 8).train.images), Hash(fewer.train.images));
  EXPECT_THROW(datasets::GeneratedShapes(-1, 0), Error);
}

// Softmax regression on the pixels: what a classifier without convolutions can get.
TEST(GeneratedTest, ALinearClassifierDoesBadly) {
  const DatasetPair pair = datasets::GeneratedShapes(3000, 1000, 1);
  constexpr int kFeatures = 3072;
  constexpr int kClasses = 10;
  std::vector<float> weights(kFeatures * kClasses);
  const auto scores = [&](const uint8_t* pixels, float* result) {
    std::fill_n(result, kClasses, 0.0f);
    for (int f = 0; f < kFeatures; ++f) {
      const float x = static_cast<float>(pixels[f]) / 127.5f - 1;
      for (int c = 0; c < kClasses; ++c) result[c] += x * weights[f * kClasses + c];
    }
  };
  for (int epoch = 0; epoch < 5; ++epoch) {
    for (int64_t i = 0; i < pair.train.size(); ++i) {
      const uint8_t* pixels = pair.train.images.data<uint8_t>().data() + i * kFeatures;
      float p[kClasses];
      scores(pixels, p);
      const float most = *std::max_element(p, p + kClasses);
      float sum = 0;
      for (float& value : p) sum += value = std::exp(value - most);
      for (int c = 0; c < kClasses; ++c) p[c] = p[c] / sum - (c == pair.train.label(i) ? 1 : 0);
      for (int f = 0; f < kFeatures; ++f) {
        const float x = static_cast<float>(pixels[f]) / 127.5f - 1;
        for (int c = 0; c < kClasses; ++c) weights[f * kClasses + c] -= 0.0005f * x * p[c];
      }
    }
  }
  int right = 0;
  for (int64_t i = 0; i < pair.test.size(); ++i) {
    float s[kClasses];
    scores(pair.test.images.data<uint8_t>().data() + i * kFeatures, s);
    right += std::max_element(s, s + kClasses) - s == pair.test.label(i) ? 1 : 0;
  }
  EXPECT_LT(right, 300) << "of 1000";
}

}  // namespace
}  // namespace weir
