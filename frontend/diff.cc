#include "weir/frontend/diff.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "weir/core/error.h"
#include "weir/frontend/model_files.h"
#include "weir/frontend/session.h"

namespace weir {
namespace {

struct NamedTensorValue {
  std::string path;
  Tensor value;
};

// All values of one prediction, in the order of computation.
std::vector<NamedTensorValue> ValuesOf(const Model& model, const std::vector<Tensor>& x) {
  std::vector<NamedTensorValue> values;
  const TapReceiver keep = [&](const TapReading& reading) {
    const size_t slash = reading.path.find('/');
    values.push_back({slash == std::string::npos ? reading.path : reading.path.substr(slash + 1), reading.value});
  };
  const int64_t rows = !x.empty() && x[0].defined() && x[0].shape().rank() > 0 ? x[0].shape()[0] : 0;
  if (rows == 0) ThrowInvalidArgument("Diff: there are no examples");
  model.Predict(x, {.batch_size = rows, .taps = {{"**", {.receive = keep}}}});
  return values;
}

Difference Compare(const std::string& path, const Tensor& a, const Tensor& b) {
  Difference d{.path = path, .elements = a.size()};
  const int64_t element = SizeOf(a.dtype());
  const Tensor left = a.Cast(DType::kFloat64), right = b.Cast(DType::kFloat64);
  for (int64_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(a.raw() + i * element, b.raw() + i * element, static_cast<size_t>(element)) == 0) continue;
    const double l = left.data<double>()[static_cast<size_t>(i)], r = right.data<double>()[static_cast<size_t>(i)];
    if (std::isfinite(l) && std::isfinite(r)) d.largest = std::max(d.largest, std::fabs(l - r));
    if (d.count++ > 0) continue;
    d.a = l;
    d.b = r;
    int64_t rest = i;
    for (int axis = a.shape().rank() - 1; axis >= 0; --axis) {
      d.index.insert(d.index.begin(), rest % a.shape()[axis]);
      rest /= a.shape()[axis];
    }
  }
  char numbers[128];
  std::snprintf(numbers, sizeof(numbers), "%.9g and %.9g", d.a, d.b);
  d.message = StrCat("'", path, "' differs first: ", d.count, " of ", d.elements, " elements, the first at (",
                     StrJoin(d.index, ", "), "): ", numbers, "; largest difference ", d.largest);
  return d;
}

}  // namespace

std::optional<Difference> DiffModels(const Model& a, const Model& b, const std::vector<Tensor>& x) {
  const std::vector<NamedTensorValue> left = ValuesOf(a, x), right = ValuesOf(b, x);
  const auto only = [](const std::string& path, const Tensor& value, const char* side) {
    return Difference{.path = path,
                      .elements = value.size(),
                      .message = StrCat("'", path, "' ", value.type(), " is a value of the ", side, " alone")};
  };
  const auto find = [](const std::vector<NamedTensorValue>& values, const std::string& path) {
    return std::find_if(values.begin(), values.end(), [&](const auto& other) { return other.path == path; });
  };
  for (const auto& [path, value] : left) {
    const auto other = find(right, path);
    if (other == right.end()) return only(path, value, "first");
    if (other->value.type() != value.type()) {
      return Difference{.path = path,
                        .elements = value.size(),
                        .message = StrCat("'", path, "' is ", value.type(), " and ", other->value.type())};
    }
    if (!BitEqual(value, other->value)) return Compare(path, value, other->value);
  }
  for (const auto& [path, value] : right) {
    if (find(left, path) == left.end()) return only(path, value, "second");
  }
  return std::nullopt;
}

std::optional<Difference> DiffModels(const Model& a, const Model& b, const Tensor& x) {
  return DiffModels(a, b, std::vector<Tensor>{x});
}

std::optional<Difference> DiffBackends(const Model& model, const Tensor& x, const std::string& a, const std::string& b) {
  // The same layers and weights, each with a runtime of its own.
  const auto on = [&](const std::string& backend) {
    return Model(model.inputs(), model.outputs(), {.runtime = &RuntimeWithBackend(backend)});
  };
  return DiffModels(on(a), on(b), x);
}

absl::StatusOr<std::optional<Difference>> DiffFiles(const std::string& a, const std::string& b, const Tensor& x) {
  WEIR_ASSIGN_OR_RETURN(const Model first, LoadModel(a, {}, /*compile=*/false));
  WEIR_ASSIGN_OR_RETURN(const Model second, LoadModel(b, {}, /*compile=*/false));
  try {
    return DiffModels(first, second, x);
  } catch (const Error& error) {
    return error.ToStatus();
  }
}

}  // namespace weir
