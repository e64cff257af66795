#include "weir/bench/floors.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "weir/bench/tutorial_model.h"
#include "weir/core/executable.h"
#include "weir/core/profiler.h"
#include "weir/ops/conv_geometry.h"
#include "weir/ops/winograd.h"

namespace weir::bench {
namespace {

constexpr int kWarmUp = 20, kSteps = 200;
constexpr double kOwnRow = 0.01;  // of a step's time

// Winograd's products are fewer than the direct sum's, which ClusterFlops counts.
double FlopsOf(const Cluster& cluster) {
  double flops = ClusterFlops(cluster);
  if (!cluster.anchor) return flops;
  const Node& node = cluster.node(*cluster.anchor);
  if (node.attrs.Find(kAlgorithm) == nullptr || !UsesWinograd(node.attrs)) return flops;
  const auto shape = [&](size_t input) { return cluster.type(node.inputs[input]).shape; };
  const Shape& out = node.outputs[0].shape;
  const ConvGeometry g = node.op->name == "conv"                  ? ConvGeometryOf(node.attrs, shape(0), shape(1))
                         : node.op->name == "conv_input_gradient" ? ConvGeometryOf(node.attrs, out, shape(1))
                                                                  : ConvGeometryOf(node.attrs, shape(0), out);
  const auto each = static_cast<double>(2 * g.batch * g.in_channels * g.out_channels);
  const double direct = each * static_cast<double>(g.taps() * g.out_positions());
  return flops - direct + each * static_cast<double>(kWinogradElements * WinogradForward(g).tiles());
}

struct Part {
  std::string name, kernel;
  double arithmetic = 0, memory = 0;  // floors in seconds
  double seconds = 0;

  double floor() const { return std::max(arithmetic, memory); }
};

// "conv2d_1, backward: conv_filter_gradient": the anchor stands for what is fused with it.
std::string NameOf(const ProfileEvent& event, const Cluster& cluster) {
  const std::string layer = event.layer.substr(event.layer.rfind('/') + 1);
  const std::string op = cluster.anchor ? std::string(cluster.node(*cluster.anchor).op->name) : "elementwise";
  const size_t others = cluster.nodes.size() - 1;
  return StrCat(layer.empty() ? "loss and metrics" : layer, ": ", op,
                others > 0 ? StrCat(" and ", others, " more") : "");
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

std::string Row(const std::string& name, const Part& part, double step, const std::string& limit) {
  char numbers[160];
  std::snprintf(numbers, sizeof(numbers), " | %.3f | %.3f | %.3f | %.0f %% | %.0f %% | ", 1e3 * part.arithmetic,
                1e3 * part.memory, 1e3 * part.seconds, 100 * part.floor() / part.seconds, 100 * part.seconds / step);
  return StrCat("| ", name, numbers, limit, " |\n");
}

}  // namespace

std::string FloorsTable(Runtime& runtime, int64_t batch, const MachinePeak& peak) {
  const Sequential model = TutorialModel(&runtime);
  const Examples data = TutorialBatch(batch);
  for (int i = 0; i < kWarmUp; ++i) model.TrainOnBatch(data);
  const auto profiler = std::make_shared<Profiler>();
  runtime.SetProfiler(profiler);
  for (int i = 0; i < kSteps; ++i) model.TrainOnBatch(data);
  runtime.SetProfiler(nullptr);
  const std::vector<ProfileEvent> events = profiler->events();
  const std::shared_ptr<const Executable> executable = runtime.cache().Executables().front();
  const std::vector<PlanStep>& steps = executable->plan().steps;

  std::vector<Part> parts;
  double step = 0;
  for (size_t s = 0; s < steps.size(); ++s) {
    std::vector<double> seconds;
    for (size_t i = s; i < events.size(); i += steps.size()) {
      seconds.push_back(std::chrono::duration<double>(events[i].duration).count());
    }
    const Cluster& cluster = steps[s].cluster;
    parts.push_back({NameOf(events[s], cluster), steps[s].lowering.kernel, FlopsOf(cluster) / peak.flops,
                     ClusterBytes(cluster) / peak.triad_bytes, Median(std::move(seconds))});
    step += parts.back().seconds;
  }
  std::string table = StrCat("Training step of ", batch, " pictures; ", ProcessorName(), ", ", peak.threads,
                             " threads, ", peak.instructions);
  char ceilings[160];
  std::snprintf(ceilings, sizeof(ceilings),
                ", peak %.0f GFLOP/s, triad %.1f GB/s. Medians of %d steps, milliseconds.\n\n", 1e-9 * peak.flops,
                1e-9 * peak.triad_bytes, kSteps);
  table += ceilings;
  table +=
      "| part | arithmetic | memory | time | floor of time | of the step | limited by "
      "|\n|---|--:|--:|--:|--:|--:|---|\n";
  std::stable_sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.seconds > b.seconds; });
  Part rest, all;
  int count = 0;
  for (const Part& part : parts) {
    // The floor of all is the sum of the parts' floors: they run one after the other.
    all.arithmetic += part.floor() == part.arithmetic ? part.arithmetic : 0;
    all.memory += part.floor() == part.arithmetic ? 0 : part.memory;
    all.seconds += part.seconds;
    if (part.seconds >= kOwnRow * step) {
      table += Row(part.name, part, step, part.arithmetic > part.memory ? "arithmetic" : "memory");
    } else {
      rest.arithmetic += part.arithmetic, rest.memory += part.memory, rest.seconds += part.seconds, ++count;
    }
  }
  table += Row(StrCat(count, " small parts"), rest, step, "starting them, and memory");
  char total[160];
  std::snprintf(total, sizeof(total), "| **all** | %.3f | %.3f | %.3f | %.0f %% | 100 %% | |\n", 1e3 * all.arithmetic,
                1e3 * all.memory, 1e3 * all.seconds, 100 * (all.arithmetic + all.memory) / all.seconds);
  return table + total;
}

}  // namespace weir::bench
