// Filter gradients of depthwise convolutions, row by row of x. Pixels of many channels, a power of two of them above
// all, share few sets of the first-level cache: what is read twice comes from the next cache again. So each row of x is
// read once, in place, into registers, and meets all the rows of dy that it has terms with. Those wait in a ring of
// scratch where a vector's pixels are neighbours; a row of dy is copied to it as it meets its first row of x. Sums are
// in memory, but for those of a row of the window at its turn.
//
// Every sum meets its positions in their order, as rows of x ascend, and in a row its columns.
#include <utility>

#include "weir/backends/llvm/depthwise_filter_ir.h"

namespace weir::jit {
namespace {

using Channels = DepthwiseFilterIr::Channels;
using Place = DepthwiseFilterIr::Place;

class Walk : public DepthwiseFilterSums {
 public:
  Walk(KernelBuilder& b, const DepthwiseFilterPlan& plan, DepthwiseFilterIr& task)
      : b_(b),
        p_(plan),
        task_(task),
        rows_(plan.g.axis[1]),
        width_(plan.g.axis[2].output),
        row_(plan.Row(plan.walk_width)),
        sums_{task.scratch().Take(plan.taps() * task.most_channels()), b.I64(0), task.most_channels()},
        ring_(task.scratch().Take(plan.ring_floats())) {}

  // A round brings row `round` of dy, and as many rows of x as rows of dy are apart.
  void Emit(Val first_image, Val images, const Place& sums) override {
    const int64_t last = (rows_.output - 1) * rows_.stride + (rows_.window - 1) * rows_.dilation;
    task_.Clear(sums_);
    b_.Loop(first_image, b_.Add(first_image, images), 1, [&](Val image) {
      b_.Loop(b_.I64(0), b_.I64(last / rows_.stride + 1), 1, [&](Val round) {
        task_.EachVector([&](const Channels& c) {
          for (int64_t step = 0; step < rows_.stride; ++step) SourceRow(image, round, step, c);
        });
      });
    });
    b_.Loop(b_.I64(0), b_.I64(p_.window_rows), 1, [&](Val window_row) {
      task_.EachVector(
          [&](const Channels& c) { task_.StoreTaps(task_.LoadTaps(sums_, window_row, 1, c), sums, window_row, c); });
    });
  }

 private:
  // A row of dy and the row of the window that meet in a row of x.
  struct Meeting {
    int64_t window_row = 0;
    int64_t back = 0;  // rounds since the row of dy came
    bool arrives = false;
    Val row = kNoVal;     // of dy
    Val pixels = kNoVal;  // its first element in memory,
    Val ring = kNoVal;    // and in the ring
  };

  std::vector<Meeting> Meetings(Val image, Val round, int64_t step, const Channels& c) {
    std::vector<Meeting> meetings;
    for (int64_t i = 0; i < rows_.window; ++i) {
      const int64_t distance = i * rows_.dilation - step;
      if (distance < 0 || distance % rows_.stride != 0) continue;
      Meeting m{.window_row = i, .back = distance / rows_.stride, .arrives = distance == 0 && step == 0};
      m.row = b_.Add(round, b_.I64(-m.back));
      m.pixels = b_.Mul(b_.Add(b_.Mul(image, rows_.output), m.row), width_ * p_.g.out_channels);
      const Val slot = b_.Mul(b_.Rem(m.row, p_.ring_rows()), task_.most_channels() * width_);
      m.ring = b_.Add(slot, b_.Mul(c.of_task, width_));
      meetings.push_back(m);
    }
    return meetings;
  }

  void SourceRow(Val image, Val round, int64_t step, const Channels& c) {
    const std::vector<Meeting> meetings = Meetings(image, round, step, c);
    if (meetings.empty()) return;
    const SpatialAxis& outer = p_.g.axis[0];
    const Val y = b_.Add(b_.Mul(round, rows_.stride), b_.I64(step - rows_.pad_before));
    const Val inside =
        b_.Binary(IrOp::kAnd, b_.Binary(IrOp::kLe, b_.I64(0), y), b_.Binary(IrOp::kLt, y, b_.I64(rows_.input)));
    // A row outside has no lanes; it takes the address of the first that there is.
    const Val count = b_.Select(inside, c.left == kNoVal ? b_.I64(kLanes) : c.left, b_.I64(0));
    const Val line = b_.Select(inside, b_.Add(b_.Mul(image, outer.input * rows_.input), y), b_.I64(0));
    const Val at = b_.Add(b_.Mul(line, p_.g.axis[2].input * p_.g.in_channels), c.first);
    row_.ForTiles(b_, {}, [&](const DepthwiseRow::Tile& tile, Val first, const std::vector<Val>& none) {
      const std::vector<Val> x = LoadCells(tile, first, at, count);
      for (const Meeting& m : meetings) {
        Val exists = b_.Binary(IrOp::kLt, m.row, b_.I64(rows_.output));
        if (m.back > 0) exists = b_.Binary(IrOp::kAnd, exists, b_.Binary(IrOp::kLe, b_.I64(0), m.row));
        b_.If(exists, [&] { Meet(m, tile, first, x, c); });
      }
      return none;
    });
  }

  std::vector<Val> LoadCells(const DepthwiseRow::Tile& tile, Val first, Val at, Val count) {
    std::vector<Val> x;
    for (size_t k = 0; k < tile.cells.size(); ++k) {
      const Val column = b_.Mul(row_.Column(b_, first, tile.cells[k]), p_.g.in_channels);
      if (tile.inside[k] && p_.fetch_next) b_.Prefetch(task_.x(), b_.Add(b_.Add(at, column), b_.I64(kLanes)));
      x.push_back(tile.inside[k] ? b_.Load(task_.x(), b_.Add(at, column), kLanes, count) : b_.F32(0, kLanes));
    }
    return x;
  }

  void Meet(const Meeting& m, const DepthwiseRow::Tile& tile, Val first, const std::vector<Val>& x, const Channels& c) {
    // The cell and the tap of each output's terms.
    std::vector<std::vector<std::pair<size_t, size_t>>> terms(static_cast<size_t>(tile.size));
    for (size_t k = 0; k < tile.cells.size(); ++k) {
      for (const auto& [output, tap] : tile.cells[k].uses)
        terms[static_cast<size_t>(output)].emplace_back(k, static_cast<size_t>(tap));
    }
    const Val window_row = b_.I64(m.window_row);
    std::vector<Val> sums = task_.LoadTaps(sums_, window_row, 1, c);
    for (int64_t j = 0; j < tile.size; ++j) {
      const Val dy = LoadDy(m, b_.Add(first, b_.I64(j)), c);
      for (const auto& [cell, tap] : terms[static_cast<size_t>(j)]) sums[tap] = b_.Fma(x[cell], dy, sums[tap]);
    }
    task_.StoreTaps(sums, sums_, window_row, c);
  }

  Val LoadDy(const Meeting& m, Val column, const Channels& c) {
    const Val kept = b_.Add(m.ring, b_.Mul(column, kLanes));
    if (!m.arrives) return b_.Load(ring_, kept, kLanes);
    const Val at = b_.Add(b_.Add(m.pixels, b_.Mul(column, p_.g.out_channels)), c.first);
    if (p_.fetch_next) b_.Prefetch(task_.dy(), b_.Add(at, b_.I64(kLanes)));
    const Val dy = b_.Load(task_.dy(), at, kLanes, c.left);
    if (rows_.window > 1) b_.Store(ring_, dy, kept);
    return dy;
  }

  KernelBuilder& b_;
  const DepthwiseFilterPlan& p_;
  const DepthwiseFilterIr& task_;
  const SpatialAxis& rows_;
  const int64_t width_;  // outputs in a row
  const DepthwiseRow row_;
  const Place sums_;
  const int ring_;
};

}  // namespace

std::unique_ptr<DepthwiseFilterSums> SumsByWalk(KernelBuilder& b, const DepthwiseFilterPlan& plan,
                                                DepthwiseFilterIr& task) {
  return std::make_unique<Walk>(b, plan, task);
}

}  // namespace weir::jit
