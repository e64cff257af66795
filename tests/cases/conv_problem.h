// A convolution problem, from which the cases of its three partials are made.
#ifndef WEIR_TESTS_CASES_CONV_PROBLEM_H_
#define WEIR_TESTS_CASES_CONV_PROBLEM_H_

#include <string>
#include <vector>

#include "weir/ops/ops.h"
#include "weir/tests/cases/op_case.h"

namespace weir {

enum class ConvPartial : uint8_t { kForward, kInputGradient, kFilterGradient };

struct ConvProblem {
  int64_t batch = 1;
  std::vector<int64_t> in;
  int64_t ic = 1, oc = 1;
  std::vector<int64_t> window;
  ConvOptions options = {};  // kAuto is kDirect here

  Shape InputShape() const;
  Shape FilterShape() const;
  std::string Name() const;
  OpCase Case(ConvPartial partial) const;

  // Variants of it, whose gradients are not checked:
  // of zeros of both signs, infinities and NaN,
  OpCase OfSpecials(ConvPartial partial) const;
  // and of what a relu and a dropout make of the first operand, which somebody else may want too.
  OpCase AfterDropout(ConvPartial partial, bool tapped = false) const;
};

}  // namespace weir

#endif  // WEIR_TESTS_CASES_CONV_PROBLEM_H_
