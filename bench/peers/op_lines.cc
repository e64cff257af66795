// Single ops beside oneDNN's primitives: those of the tutorial's model, and convolutions of other networks.
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weir/bench/peers/session.h"
#include "weir/bench/peers/shapes.h"
#include "weir/core/error.h"
#include "weir/ops/conv_geometry.h"
#include "weir/ops/ops.h"
#include "weir/tests/cases/op_case.h"

namespace weir::peers {
namespace {

constexpr std::string_view kForward = "forward";
constexpr std::string_view kInputGradient = "input_gradient";
constexpr std::string_view kFilterGradient = "filter_gradient";

std::string Spaced(std::string_view name) {
  std::string text(name);
  for (char& c : text) {
    if (c == '_') c = ' ';
  }
  return text;
}

// A graph of one op, compiled, with its tensors: run as any executable is.
Party OpParty(Runtime& runtime, const OpCase& op_case) {
  const std::shared_ptr<Graph> graph = Graph::Create();
  const std::vector<Value> leaves = RecordInputs(op_case, *graph);
  const std::vector<Value> roots = op_case.build(*graph, leaves);
  auto executable = runtime.Compile(leaves, roots);
  ThrowIfError(executable.status());
  return WeirParty([&runtime, executable = *std::move(executable), inputs = MakeInputs(op_case),
                    outputs = std::vector<Tensor>(roots.size())]() mutable {
    ThrowIfError(runtime.Run(*executable, inputs, outputs));
  });
}

Row Compare(Session& session, const OpCase& op_case, const std::string& group, const std::string& name,
            const std::string& words, const Pace& pace) {
  Row row = {.group = group, .name = name};
  std::vector<Party> parties = {OpParty(*session.runtime, op_case)};
  if (!session.onednn.there()) {
    row.way = session.onednn.version();
  } else if (const absl::StatusOr<std::string> way = session.onednn.Task(words); way.ok()) {
    row.way = *way;
    parties.push_back(PeerParty(session.onednn));
  } else {
    row.way = StrCat("oneDNN: ", std::string(way.status().message()));
  }
  const Outcome outcome = Compete(parties, pace);
  row.weir = outcome.seconds[0];
  row.disturbed = outcome.disturbed;
  if (parties.size() > 1) row.peer = outcome.seconds[1];
  return row;
}

Row CompareConvolution(Session& session, const ConvShape& shape, const std::string& group, std::string_view direction,
                       const Pace& pace) {
  // The attributes and the output's shape, from a recording: the default algorithm is chosen by it.
  const auto graph = Graph::Create();
  const Shape x = shape.InputShape(), filter = shape.FilterShape();
  const Value recorded =
      Conv2D(graph->Input({DType::kFloat32, x}), graph->Input({DType::kFloat32, filter}), shape.Options());
  const AttrMap attrs = graph->node(recorded.ref.node).attrs;
  const Shape y = recorded.shape();
  OpCase op_case;
  if (direction == kForward) {
    op_case = {.name = "conv",
               .op = "conv",
               .inputs = {{x}, {filter}},
               .build = [options = shape.Options()](Graph&, std::span<const Value> v) {
                 return std::vector<Value>{Conv2D(v[0], v[1], options)};
               }};
  } else if (direction == kInputGradient) {
    op_case = {.name = "conv_input_gradient",
               .op = "conv_input_gradient",
               .inputs = {{y}, {filter}},
               .build = [attrs, x](Graph&, std::span<const Value> v) {
                 return std::vector<Value>{ConvInputGradient(v[0], v[1], attrs, x)};
               }};
  } else {
    op_case = {.name = "conv_filter_gradient",
               .op = "conv_filter_gradient",
               .inputs = {{x}, {y}},
               .build = [attrs, filter](Graph&, std::span<const Value> v) {
                 return std::vector<Value>{ConvFilterGradient(v[0], v[1], attrs, filter)};
               }};
  }
  Row row = Compare(session, op_case, group, StrCat(shape.Name(), ", ", Spaced(direction)),
                    StrCat("convolution ", direction, " ", shape.PeerWords()), pace);
  const bool winograd = attrs.Int(kAlgorithm) == static_cast<int64_t>(ConvAlgorithm::kWinograd);
  row.way += winograd ? "; weir: winograd" : "; weir: direct";
  return row;
}

OpCase PoolCase(std::string_view direction, int64_t batch) {
  const Shape x = {batch, 32, 32, 32}, y = {batch, 16, 16, 32};
  if (direction == kForward) {
    // As in training: both write down where the maxima are.
    return {.name = "max_pool", .op = "max_pool", .inputs = {{x}}, .build = [](Graph&, std::span<const Value> v) {
              const auto [values, index] = MaxPoolWithIndex(v[0]);
              return std::vector<Value>{values, index};
            }};
  }
  const auto graph = Graph::Create();
  const AttrMap attrs = graph->node(MaxPool(graph->Input({DType::kFloat32, x})).ref.node).attrs;
  return {.name = "max_pool_gradient",
          .op = "max_pool_gradient",
          .inputs = {{y}, {DType::kUint8, y, Fill::kIndices, 4}},
          .build = [x, attrs](Graph&, std::span<const Value> v) {
            return std::vector<Value>{MaxPoolGradient(v[0], v[1], attrs, x)};
          }};
}

// x [batch, inputs] times weights [inputs, outputs], and its two gradients.
OpCase ProductCase(std::string_view direction, int64_t batch, int64_t inputs, int64_t outputs) {
  const Shape x = {batch, inputs}, weights = {inputs, outputs}, y = {batch, outputs};
  const auto make = [](const char* name, const Shape& a, const Shape& b, MatMulOptions options) {
    return OpCase{
        .name = name, .op = "matmul", .inputs = {{a}, {b}}, .build = [options](Graph&, std::span<const Value> v) {
          return std::vector<Value>{MatMul(v[0], v[1], options)};
        }};
  };
  if (direction == kForward) return make("product", x, weights, {});
  if (direction == kInputGradient) return make("product_input_gradient", y, weights, {.transpose_b = true});
  return make("product_filter_gradient", x, y, {.transpose_a = true});
}

// Effective FLOP/s of the direct algorithm over the peak.
void AddWinograd(Session& session, const ConvShape& shape, std::string_view direction, double seconds, double asked) {
  // What other processes take away makes a peak smaller, never larger.
  session.peak.flops = std::max(session.peak.flops, MeasurePeak(session.runtime->threads()).flops);
  const double flops = shape.ForwardFlops() / seconds;
  session.table.Add(Line{.what = StrCat("3x3 32->32 on 32x32, batch ", shape.batch, ", ", Spaced(direction),
                                        ": effective FLOP/s to the FMA peak"),
                         .weir = StrCat(NumberText(flops * 1e-9, 0), " GFLOP/s"),
                         .peer = StrCat(NumberText(session.peak.flops * 1e-9, 0), " GFLOP/s"),
                         .value = flops / session.peak.flops,
                         .asked = asked});
}

// Rows of which the smallest ratio is asked about. In short measurements of many things that one is an outlier as likely
// as not: a row below what is asked is measured a second time, longer and in new memory, after the others, and that
// counts.
class Rows {
 public:
  Rows(Session& session, double asked) : session_(session), asked_(asked) {}

  Row Add(std::function<Row(const Pace&)> measure, const Pace& pace) { return Add(std::move(measure), pace, asked_); }
  // Another ratio is asked of this one.
  Row Add(std::function<Row(const Pace&)> measure, const Pace& pace, double asked) {
    Row row = measure(pace);
    if (row.ratio() < asked) below_.push_back(std::move(measure));
    session_.table.Add(row);
    return row;
  }
  void MeasureAgain() {
    for (const auto& measure : below_) {
      Row row = measure(session_.again_pace());
      row.again = true;
      session_.table.Add(std::move(row));
    }
    below_.clear();
  }

 private:
  Session& session_;
  const double asked_;
  std::vector<std::function<Row(const Pace&)>> below_;
};

constexpr const char* kTutorialGroup = "The tutorial's ops beside oneDNN";
constexpr double kTutorialAsked = 1.0, kHeavyAsked = 1.8, kNetworksAsked = 0.7;

// A row of the 3x3 32->32 convolutions.
struct Heavy {
  ConvShape shape;
  std::string_view direction;
  std::string row;
};

void TutorialOps(Session& session, int64_t batch, Rows& rows, std::vector<Heavy>& heavy) {
  const Pace pace = session.op_pace();
  for (const ConvShape& shape : TutorialConvolutions(batch)) {
    for (std::string_view direction : {kForward, kInputGradient, kFilterGradient}) {
      if (shape.first && direction == kInputGradient) continue;
      if (!session.Wants(StrCat("tutorial/conv", shape.ic, "/", direction, "/batch", batch))) continue;
      const auto measure = [&session, shape, direction](const Pace& p) {
        return CompareConvolution(session, shape, kTutorialGroup, direction, p);
      };
      const Row row = rows.Add(measure, pace, shape.first ? kTutorialAsked : kHeavyAsked);
      if (!shape.first) heavy.push_back({shape, direction, row.name});
    }
  }
  const auto add = [&](const std::string& wanted, const OpCase& op_case, const std::string& name,
                       const std::string& words) {
    if (!session.Wants(StrCat("tutorial/", wanted, "/batch", batch))) return;
    rows.Add([&session, op_case, name,
              words](const Pace& p) { return Compare(session, op_case, kTutorialGroup, name, words, p); },
             pace);
  };
  for (std::string_view direction : {kForward, kInputGradient}) {
    add(StrCat("pool/", direction), PoolCase(direction, batch),
        StrCat("max pool 2x2 32 on 32x32, batch ", batch, ", ", Spaced(direction)),
        StrCat("pool ", direction, " ", batch, " 32 32 32"));
  }
  for (const auto& [inputs, outputs] : {std::pair<int64_t, int64_t>{8192, 512}, {512, 10}}) {
    for (std::string_view direction : {kForward, kInputGradient, kFilterGradient}) {
      add(StrCat("dense", inputs, "/", direction), ProductCase(direction, batch, inputs, outputs),
          StrCat("dense ", inputs, "->", outputs, ", batch ", batch, ", ", Spaced(direction)),
          StrCat("product ", direction, " ", batch, " ", inputs, " ", outputs));
    }
  }
}

// The smallest ratio of some rows must reach what is asked.
void AddWorst(Session& session, const std::string& what, const std::vector<const Row*>& rows, double asked) {
  if (rows.empty() && session.options.filter) return;
  Line line = {.what = what, .asked = asked};
  if (const Row* worst = Worst(rows)) {
    line.weir = TimeText(worst->weir);
    line.peer = TimeText(worst->peer);
    line.value = worst->ratio();
    line.note = StrCat(worst->name, worst->disturbed ? ", disturbed by other processes" : "");
  } else {
    line.note = session.onednn.there() ? "none was run" : session.onednn.version();
  }
  session.table.Add(std::move(line));
}

void Networks(Session& session) {
  std::vector<std::string> groups;
  Rows rows(session, kNetworksAsked);
  for (const auto& [picture, batch] : {std::pair<int64_t, int64_t>{32, 32}, {224, 4}}) {
    for (std::string_view direction : {kForward, kInputGradient, kFilterGradient}) {
      groups.push_back(StrCat("Networks on ", picture, "x", picture, ", ", Spaced(direction)));
      for (const ConvShape& shape : NetworkConvolutions(picture, batch)) {
        if (shape.first && direction == kInputGradient) continue;
        if (!session.Wants(StrCat("networks", picture, "/", shape.network, "/", shape.Name(), "/", direction)))
          continue;
        const auto measure = [&session, shape, direction, group = groups.back()](const Pace& pace) {
          Row row = CompareConvolution(session, shape, group, direction, pace);
          row.name = StrCat(shape.network, ": ", row.name);
          return row;
        };
        rows.Add(measure, session.shape_pace());
        // One executable a shape is enough: their code is not needed again.
        session.runtime->cache().Clear();
      }
    }
  }
  rows.MeasureAgain();
  std::vector<const Row*> all;
  for (const std::string& group : groups) {
    for (const Row* row : session.table.Complete(group)) all.push_back(row);
  }
  if (all.empty() && session.options.filter) return;
  session.table.Add(Line{.what = StrCat("other networks' ", all.size(), " convolutions, to oneDNN: geometric mean"),
                         .value = GeometricMean(all),
                         .asked = 1.0,
                         .note = session.onednn.there() ? DisturbedText(all) : session.onednn.version()});
  AddWorst(session, "other networks' convolutions, to oneDNN: the worst", all, kNetworksAsked);
}

}  // namespace

void MeasureOps(Session& session) {
  Rows tutorial(session, kTutorialAsked);
  std::vector<Heavy> heavy;
  for (int64_t batch : {32, 128}) TutorialOps(session, batch, tutorial, heavy);
  tutorial.MeasureAgain();
  for (const Heavy& h : heavy) {
    const Row& row = *session.table.Find(kTutorialGroup, h.row);
    const double asked = h.direction == kFilterGradient ? 1.5 : 2.0;
    if (h.shape.batch == 32) AddWinograd(session, h.shape, h.direction, row.weir, asked);
  }
  std::vector<const Row*> rows = session.table.Complete(kTutorialGroup);
  AddWorst(session, "each op of the tutorial, to oneDNN: the worst", rows, kTutorialAsked);
  std::erase_if(rows, [&](const Row* row) {
    return std::none_of(heavy.begin(), heavy.end(), [&](const Heavy& h) { return h.row == row->name; });
  });
  AddWorst(session, "3x3 32->32 convolutions of the tutorial, to oneDNN: the worst", rows, kHeavyAsked);
  Networks(session);
}

}  // namespace weir::peers
