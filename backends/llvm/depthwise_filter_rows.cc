// Filter gradients of depthwise convolutions, row by row of dy, for processors with few registers: half a vector of
// channels keeps the sums of the whole window in them as it passes over a row. Rows of x that several rows of dy meet,
// and what the second half needs, are kept in scratch as they come, where a half's pixels are neighbours. So each line
// of memory is read once, and what is read again comes from the first-level cache, however far apart pixels lie.
//
// Every sum meets its positions in their order, as rows of dy ascend, and in a row its columns.
#include <algorithm>
#include <span>
#include <utility>

#include "weir/backends/llvm/depthwise_filter_ir.h"

namespace weir::jit {
namespace {

using Channels = DepthwiseFilterIr::Channels;
using Place = DepthwiseFilterIr::Place;

constexpr int kHalf = kLanes / 2;

class Rows : public DepthwiseFilterSums {
 public:
  Rows(KernelBuilder& b, const DepthwiseFilterPlan& plan, DepthwiseFilterIr& task)
      : b_(b),
        p_(plan),
        task_(task),
        rows_(plan.g.axis[1]),
        in_width_(plan.g.axis[2].input),
        out_width_(plan.g.axis[2].output),
        row_(plan.Row(plan.tile_width)),
        sums_{task.scratch().Take(plan.taps() * task.most_channels()), b.I64(0), task.most_channels()},
        kept_x_(task.scratch().Take(plan.kept_floats())),
        kept_dy_(task.scratch().Take(out_width_ * kLanes)) {}

  void Emit(Val first_image, Val images, const Place& sums) override {
    task_.Clear(sums_);
    b_.Loop(first_image, b_.Add(first_image, images), 1, [&](Val image) {
      KeepEarly(image);
      b_.Loop(b_.I64(0), b_.I64(rows_.output), 1,
              [&](Val row) { task_.EachVector([&](const Channels& c) { OutputRow(image, row, c); }); });
    });
    b_.Loop(b_.I64(0), b_.I64(p_.window_rows), 1, [&](Val window_row) {
      task_.EachVector(
          [&](const Channels& c) { task_.StoreTaps(task_.LoadTaps(sums_, window_row, 1, c), sums, window_row, c); });
    });
  }

 private:
  // A row of x, of a vector of channels.
  struct SourceRow {
    bool arrives = true;  // it is in memory, or else kept
    bool again = false;   // a later row of dy meets it
    Val at = kNoVal;      // its first element in memory,
    Val count = kNoVal;   // lanes that it has there, or none if it has all,
    Val kept = kNoVal;    // and where it is kept
    Val next = kNoVal;    // the task's first element of the row that arrives in its place with the next row of dy
  };

  // Whether a row of x at row `i` of the window is at a later one, or at an earlier, for another row of dy.
  bool Met(int64_t i, int direction) const {
    for (int64_t other = i + direction; 0 <= other && other < p_.window_rows; other += direction) {
      if ((other - i) * rows_.dilation % rows_.stride == 0) return true;
    }
    return false;
  }
  // Whether a row of x, by its distance from the first of the padding, is to be there before the first row of dy:
  // later rows meet it, and so would have earlier ones.
  bool Early(int64_t distance) const {
    bool earlier = false, later = false;
    for (int64_t i = 0; i < p_.window_rows; ++i) {
      const int64_t left = distance - i * rows_.dilation;
      if (left % rows_.stride == 0) (left < 0 ? earlier : later) = true;
    }
    return earlier && later;
  }

  // A row of x by its distance from the first of the padding, which is in [least, most].
  SourceRow RowOfX(Val image, Val distance, int64_t least, int64_t most, const Channels& c) const {
    SourceRow source{.count = c.left};
    const Val y = b_.Add(distance, b_.I64(-rows_.pad_before));
    Val line = b_.Add(b_.Mul(image, rows_.input), y);
    const int64_t floats = in_width_ * p_.g.in_channels;
    source.next = b_.Add(b_.Mul(b_.Add(line, b_.I64(rows_.stride)), floats), task_.first());
    if (least < rows_.pad_before || most >= rows_.pad_before + rows_.input) {
      const Val inside =
          b_.Binary(IrOp::kAnd, b_.Binary(IrOp::kLe, b_.I64(0), y), b_.Binary(IrOp::kLt, y, b_.I64(rows_.input)));
      // A row outside has no lanes; it takes the address of the first that there is.
      source.count = b_.Select(inside, c.left == kNoVal ? b_.I64(kLanes) : c.left, b_.I64(0));
      line = b_.Select(inside, line, b_.I64(0));
    }
    source.at = b_.Add(b_.Mul(line, floats), c.first);
    const Val slot = b_.Mul(b_.Rem(distance, p_.kept_rows()), task_.most_channels());
    source.kept = b_.Mul(b_.Add(slot, c.of_task), in_width_);
    return source;
  }
  SourceRow RowOfWindow(Val image, Val row, int64_t i, const Channels& c) const {
    const int64_t least = i * rows_.dilation, most = least + (rows_.output - 1) * rows_.stride;
    SourceRow source = RowOfX(image, b_.Add(b_.Mul(row, rows_.stride), b_.I64(least)), least, most, c);
    source.arrives = !Met(i, 1);
    source.again = Met(i, -1);
    return source;
  }

  // Of a vector kept: where a half's pixel is.
  Val Kept(Val row, int64_t pixels, Val column, int half) const {
    return b_.Add(b_.Add(row, b_.Mul(column, kHalf)), b_.I64(half * pixels * kHalf));
  }

  void KeepEarly(Val image) const {
    for (int64_t distance = 0; distance < p_.kept_rows(); ++distance) {
      if (!Early(distance)) continue;
      task_.EachVector([&](const Channels& c) {
        const SourceRow source = RowOfX(image, b_.I64(distance), distance, distance, c);
        b_.Loop(b_.I64(0), b_.I64(in_width_), 1, [&](Val column) {
          const Val at = b_.Add(source.at, b_.Mul(column, p_.g.in_channels));
          const Val x = b_.Load(task_.x(), at, kLanes, source.count);
          for (int half : {0, 1}) b_.Store(kept_x_, b_.Half(x, half == 1), Kept(source.kept, in_width_, column, half));
        });
      });
    }
  }

  void OutputRow(Val image, Val row, const Channels& c) {
    std::vector<SourceRow> window;
    for (int64_t i = 0; i < p_.window_rows; ++i) window.push_back(RowOfWindow(image, row, i, c));
    const Val line = b_.Mul(b_.Add(b_.Mul(image, rows_.output), row), out_width_ * p_.g.out_channels);
    for (int half : {0, 1}) {
      const Channels part{.of_task = b_.Add(c.of_task, b_.I64(half * kHalf)), .lanes = kHalf};
      for (int64_t i = 0; i < p_.window_rows; i += p_.group_rows) {
        const int64_t rows = std::min(p_.group_rows, p_.window_rows - i);
        const auto group = std::span(window).subspan(static_cast<size_t>(i), static_cast<size_t>(rows));
        std::vector<Val> sums = task_.LoadTaps(sums_, b_.I64(i), rows, part);
        const auto tiles = [&](const DepthwiseRow::Tile& tile, Val first, const std::vector<Val>& carried) {
          const std::vector<Val> dy = LoadDy(b_.Add(line, c.first), tile, first, c, half, i == 0);
          if (half == 1 && p_.ahead) Ahead(group, b_.Add(line, task_.first()), tile, first, c, i == 0);
          return Cells(group, tile, first, half, dy, carried);
        };
        task_.StoreTaps(row_.ForTiles(b_, std::move(sums), tiles), sums_, b_.I64(i), part);
      }
    }
  }

  std::vector<Val> LoadDy(Val at, const DepthwiseRow::Tile& tile, Val first, const Channels& c, int half,
                          bool arrives) const {
    std::vector<Val> dy;
    for (int64_t j = 0; j < tile.size; ++j) {
      const Val column = b_.Add(first, b_.I64(j));
      const auto kept = [&](int h) { return Kept(b_.I64(0), out_width_, column, h); };
      if (half == 1 || !arrives) {
        dy.push_back(b_.Load(kept_dy_, kept(half), kHalf));
        continue;
      }
      const Val whole = b_.Load(task_.dy(), b_.Add(at, b_.Mul(column, p_.g.out_channels)), kLanes, c.left);
      dy.push_back(b_.Half(whole, false));
      if (p_.groups() > 1) b_.Store(kept_dy_, dy.back(), kept(0));
      b_.Store(kept_dy_, b_.Half(whole, true), kept(1));
    }
    return dy;
  }

  Val LoadX(const SourceRow& source, Val column, int half) const {
    const auto kept = [&](int h) { return Kept(source.kept, in_width_, column, h); };
    if (half == 1 || !source.arrives) return b_.Load(kept_x_, kept(half), kHalf);
    const Val whole = b_.Load(task_.x(), b_.Add(source.at, b_.Mul(column, p_.g.in_channels)), kLanes, source.count);
    const Val x = b_.Half(whole, false);
    if (source.again) b_.Store(kept_x_, x, kept(0));
    b_.Store(kept_x_, b_.Half(whole, true), kept(1));
    return x;
  }

  // Brings to the second-level cache what arrives with the next row of dy. Vectors take equal shares of it in the order
  // of memory, as far as a task has all channels: only so is memory fast.
  void Ahead(std::span<const SourceRow> window, Val dy_line, const DepthwiseRow::Tile& tile, Val first,
             const Channels& c, bool with_dy) const {
    const auto prefetch = [&](int buffer, Val line, int64_t width, Val begin, int64_t count) {
      const Val share = b_.Add(line, b_.Mul(c.of_task, width));
      for (int64_t j = 0; j < count; ++j)
        b_.Prefetch(buffer, b_.Add(share, b_.Mul(b_.Add(begin, b_.I64(j)), kLanes)), false);
    };
    const int64_t stride = p_.g.axis[2].stride;
    if (with_dy)
      prefetch(task_.dy(), b_.Add(dy_line, b_.I64(out_width_ * p_.g.out_channels)), out_width_, first, tile.size);
    for (const SourceRow& source : window) {
      if (source.arrives) prefetch(task_.x(), source.next, in_width_, b_.Mul(first, stride), tile.size * stride);
    }
  }

  // Rows take turns, so that what follows each other are terms of different sums.
  std::vector<Val> Cells(std::span<const SourceRow> window, const DepthwiseRow::Tile& tile, Val first, int half,
                         const std::vector<Val>& dy, std::vector<Val> sums) const {
    for (size_t k = 0; k < tile.cells.size(); ++k) {
      const Val column = row_.Column(b_, first, tile.cells[k]);
      for (size_t i = 0; i < window.size(); ++i) {
        const Val x = tile.inside[k] ? LoadX(window[i], column, half) : b_.F32(0, kHalf);
        for (const auto& [output, tap] : tile.cells[k].uses) {
          Val& sum = sums[i * static_cast<size_t>(p_.columns) + static_cast<size_t>(tap)];
          sum = b_.Fma(x, dy[static_cast<size_t>(output)], sum);
        }
      }
    }
    return sums;
  }

  KernelBuilder& b_;
  const DepthwiseFilterPlan& p_;
  const DepthwiseFilterIr& task_;
  const SpatialAxis& rows_;
  const int64_t in_width_, out_width_;
  const DepthwiseRow row_;
  const Place sums_;
  const int kept_x_, kept_dy_;
};

}  // namespace

std::unique_ptr<DepthwiseFilterSums> SumsByRows(KernelBuilder& b, const DepthwiseFilterPlan& plan,
                                                DepthwiseFilterIr& task) {
  return std::make_unique<Rows>(b, plan, task);
}

}  // namespace weir::jit
