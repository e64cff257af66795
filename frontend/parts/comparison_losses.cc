// Losses that compare predictions with values of the same shape. All but the divergence, the cosine and the
// categorical hinge are means over the last axis.
#include <cmath>
#include <limits>
#include <vector>

#include "weir/core/error.h"
#include "weir/frontend/parts/labels.h"
#include "weir/frontend/parts/loss_builder.h"
#include "weir/frontend/parts/losses.h"
#include "weir/ops/ops.h"

namespace weir {

using nlohmann::json;

namespace {

constexpr double kLargest = std::numeric_limits<float>::max();

using Formula = Value (*)(const Value& y, const Value& p);

Value MeanOverLast(const Value& x) { return Mean(x, {-1}); }

Value SquaredError(const Value& y, const Value& p) { return MeanOverLast(Square(p - y)); }
Value AbsoluteError(const Value& y, const Value& p) { return MeanOverLast(Abs(p - y)); }

Value PercentageError(const Value& y, const Value& p) {
  return 100 * MeanOverLast(Abs((y - p) / Maximum(Abs(y), kLossEpsilon)));
}

Value LogarithmicError(const Value& y, const Value& p) {
  return MeanOverLast(Square(Log(Maximum(p, kLossEpsilon) + 1) - Log(Maximum(y, kLossEpsilon) + 1)));
}

// log(cosh(d)) = d + softplus(-2 d) - log 2; far below 0 that is -d - log 2, which does not overflow.
Value LogCoshError(const Value& y, const Value& p) {
  constexpr double kFar = -50;
  const Value d = p - y;
  const Value near = Clip(d, kFar, std::numeric_limits<double>::infinity());
  return MeanOverLast(Where(Less(d, kFar), -d, near + Softplus(near * -2)) - std::log(2.0));
}

// Labels that are all 0 or 1 as -1 or 1; others as they are.
Value Signed(const Value& y) {
  if (y.shape().size() == 0) return y;
  const Value zero_or_one = Min(Cast(LogicalOr(Equal(y, 0), Equal(y, 1)), DType::kFloat32));
  return Where(BroadcastTo(Greater(zero_or_one, 0.5), y.shape()), 2 * y - 1, y);
}

Value HingeLoss(const Value& y, const Value& p) { return MeanOverLast(Maximum(1 - Signed(y) * p, 0)); }
Value SquaredHingeLoss(const Value& y, const Value& p) { return MeanOverLast(Square(Maximum(1 - Signed(y) * p, 0))); }

// Shares of predictions, 0 of an infinite one too.
Value Share(const Value& y, const Value& p) { return Where(Equal(y, 0), 0, y * p); }

Value CategoricalHingeLoss(const Value& y, const Value& p) {
  const Value positive = Sum(Share(y, p), {-1});
  const Value negative = Max(Share(1 - y, p), {-1});
  return Maximum(negative - positive + 1, 0);
}

Value Divergence(const Value& y, const Value& p) {
  const Value clipped = Clip(y, kLossEpsilon, 1);
  return Sum(clipped * Log(clipped / Clip(p, kLossEpsilon, 1)), {-1});
}

// The logarithm's slope vanishes at infinity, where p outgrows it whatever y is.
Value PoissonLoss(const Value& y, const Value& p) {
  return MeanOverLast(p - y * Log(Clip(p + kLossEpsilon, -std::numeric_limits<double>::infinity(), kLargest)));
}

// x / max(|x|, 1e-7), the bound inside the root so that a row of zeros has a gradient.
// Rows whose squares would overflow are first divided by their largest number.
Value Unit(const Value& x) {
  const Value largest = StopGradient(Max(Abs(x), {-1}, /*keep_dims=*/true));
  const Value scaled = x / Where(Greater(largest, 1e15), largest, 1);
  return scaled * Rsqrt(Maximum(SumSquares(scaled, {-1}, /*keep_dims=*/true), kLossEpsilon * kLossEpsilon));
}

Value MinusCosine(const Value& y, const Value& p) { return -Sum(Unit(y) * Unit(p), {-1}); }

Loss Compare(const char* name, const char* class_name, const std::string& reduction, Formula formula) {
  return LossBuilder::Make(
      {.name = name,
       .class_name = class_name,
       .config = json::object(),
       .reduction = ParseReduction(reduction),
       .function = [name, formula](
                       const Value& y_true, const Value& y_pred,
                       const std::optional<Logits>&) { return formula(MatchingLabels(name, y_true, y_pred), y_pred); },
       .mask = nullptr});
}

// A loss whose only options are the common ones, from a file.
template <Loss (*make)(const LossOptions&)>
Loss FromConfig(const KerasConfig& config) {
  Loss loss = make({.reduction = config.String("reduction", "sum_over_batch_size")});
  const std::string name = config.String("name", loss.name());
  return name == loss.name() ? loss : LossBuilder::Renamed(loss, name);
}

Loss HuberFromConfig(const KerasConfig& config) {
  return Huber({.delta = config.Number("delta", 1),
                .reduction = config.String("reduction", "sum_over_batch_size"),
                .name = config.String("name", "huber_loss")});
}

}  // namespace

std::span<const KnownPart<Loss>> ComparisonLosses() {
  static const std::vector<KnownPart<Loss>>& known = *new std::vector<KnownPart<Loss>>{
      {"categorical_hinge", "CategoricalHinge", FromConfig<CategoricalHinge>},
      {"cosine_similarity", "CosineSimilarity", FromConfig<CosineSimilarity>},
      {"hinge", "Hinge", FromConfig<Hinge>},
      {"huber", "Huber", HuberFromConfig},
      {"kl_divergence", "KLDivergence", FromConfig<KLDivergence>},
      {"log_cosh", "LogCosh", FromConfig<LogCosh>},
      {"mean_absolute_error", "MeanAbsoluteError", FromConfig<MeanAbsoluteError>},
      {"mean_absolute_percentage_error", "MeanAbsolutePercentageError", FromConfig<MeanAbsolutePercentageError>},
      {"mean_squared_error", "MeanSquaredError", FromConfig<MeanSquaredError>},
      {"mean_squared_logarithmic_error", "MeanSquaredLogarithmicError", FromConfig<MeanSquaredLogarithmicError>},
      {"poisson", "Poisson", FromConfig<Poisson>},
      {"squared_hinge", "SquaredHinge", FromConfig<SquaredHinge>},
      {"mse", "MSE", FromConfig<MeanSquaredError>, true},
      {"mae", "MAE", FromConfig<MeanAbsoluteError>, true},
      {"mape", "MAPE", FromConfig<MeanAbsolutePercentageError>, true},
      {"msle", "MSLE", FromConfig<MeanSquaredLogarithmicError>, true},
      {"kld", "KLD", FromConfig<KLDivergence>, true},
      {"kullback_leibler_divergence", "", FromConfig<KLDivergence>, true},
      {"logcosh", "", FromConfig<LogCosh>, true},
      {"huber_loss", "", HuberFromConfig, true},
  };
  return known;
}

Loss MeanSquaredError(const LossOptions& options) {
  return Compare("mean_squared_error", "MeanSquaredError", options.reduction, SquaredError);
}
Loss MeanAbsoluteError(const LossOptions& options) {
  return Compare("mean_absolute_error", "MeanAbsoluteError", options.reduction, AbsoluteError);
}
Loss MeanAbsolutePercentageError(const LossOptions& options) {
  return Compare("mean_absolute_percentage_error", "MeanAbsolutePercentageError", options.reduction, PercentageError);
}
Loss MeanSquaredLogarithmicError(const LossOptions& options) {
  return Compare("mean_squared_logarithmic_error", "MeanSquaredLogarithmicError", options.reduction, LogarithmicError);
}
Loss LogCosh(const LossOptions& options) { return Compare("log_cosh", "LogCosh", options.reduction, LogCoshError); }
Loss Hinge(const LossOptions& options) { return Compare("hinge", "Hinge", options.reduction, HingeLoss); }
Loss SquaredHinge(const LossOptions& options) {
  return Compare("squared_hinge", "SquaredHinge", options.reduction, SquaredHingeLoss);
}
Loss CategoricalHinge(const LossOptions& options) {
  return Compare("categorical_hinge", "CategoricalHinge", options.reduction, CategoricalHingeLoss);
}
Loss KLDivergence(const LossOptions& options) {
  return Compare("kl_divergence", "KLDivergence", options.reduction, Divergence);
}
Loss Poisson(const LossOptions& options) { return Compare("poisson", "Poisson", options.reduction, PoissonLoss); }
Loss CosineSimilarity(const LossOptions& options) {
  return Compare("cosine_similarity", "CosineSimilarity", options.reduction, MinusCosine);
}

Loss Huber(const HuberOptions& options) {
  const double delta = options.delta;
  if (!(delta > 0)) ThrowInvalidArgument("Huber: delta is ", delta, ", expected above 0");
  return LossBuilder::Make(
      {.name = options.name,
       .class_name = "Huber",
       .config = {{"delta", delta}},
       .reduction = ParseReduction(options.reduction),
       .function =
           [who = options.name, delta](const Value& y_true, const Value& y_pred, const std::optional<Logits>&) {
             const Value error = y_pred - MatchingLabels(who, y_true, y_pred);
             const Value size = Abs(error);
             // The square of a large error is not used; cut off it has a finite slope.
             return MeanOverLast(Where(LessEqual(size, delta), 0.5 * Square(Clip(error, -delta, delta)),
                                       delta * size - 0.5 * delta * delta));
           },
       .mask = nullptr});
}

}  // namespace weir
