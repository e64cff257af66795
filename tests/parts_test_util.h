// What the tests of the parts share: golden files, leaves, comparisons.
#ifndef WEIR_TESTS_PARTS_TEST_UTIL_H_
#define WEIR_TESTS_PARTS_TEST_UTIL_H_

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "weir/core/error.h"
#include "weir/core/graph.h"
#include "weir/frontend/session.h"

namespace weir {

inline nlohmann::json Golden(const std::string& name) {
  std::ifstream file(std::string(WEIR_TEST_DATA_DIR) + "/goldens/" + name);
  EXPECT_TRUE(file.good()) << name;
  return nlohmann::json::parse(file);
}

// {"shape": [...], "data": [...]} as float32.
inline Tensor GoldenTensor(const nlohmann::json& json) {
  const std::vector<int64_t> dims = json.at("shape").get<std::vector<int64_t>>();
  return Tensor::Of<float>(Shape(std::span<const int64_t>(dims)), json.at("data").get<std::vector<float>>());
}

inline Tensor Vector(const std::vector<float>& values) {
  return Tensor::Of<float>(Shape{static_cast<int64_t>(values.size())}, values);
}

inline std::vector<float> Floats(const Tensor& tensor) {
  return {tensor.data<float>().begin(), tensor.data<float>().end()};
}

// Each element within `tolerance`, relative above 1 and absolute below.
inline void ExpectNear(const Tensor& got, const std::vector<float>& expected, double tolerance,
                       const std::string& what) {
  ASSERT_EQ(static_cast<size_t>(got.size()), expected.size()) << what << " " << got.type();
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(got.data<float>()[i], expected[i], tolerance * std::max(1.0, std::abs(double{expected[i]})))
        << what << " at " << i;
  }
}

// The message of the Error that `call` throws.
template <class Call>
std::string MessageOf(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.message();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace weir

#endif  // WEIR_TESTS_PARTS_TEST_UTIL_H_
