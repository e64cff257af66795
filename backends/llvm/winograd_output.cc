#include "weir/backends/llvm/winograd_output.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "weir/backends/llvm/product_ir.h"
#include "weir/backends/llvm/winograd_ir.h"

namespace weir::jit {
namespace {

constexpr int kCells = kWinogradCells, kTile = kWinogradTile;

}  // namespace

WinogradOutput::WinogradOutput(KernelBuilder& builder, const Cluster& cluster, const WinogradPlan& plan,
                               ScratchSpace& scratch)
    : b_(builder),
      plan_(plan),
      p_(plan.problem),
      short_epilogue_(HasShortEpilogue(cluster)),
      epilogue_(builder, cluster) {
  if (cluster.tail) tail_.emplace(b_, cluster, p_, plan.unit_level());
  products_ = scratch.Take(kCells * plan.product_element());
  outputs_ = scratch.Take(kCells * plan.outputs_row());
  if (!short_epilogue_ || (tail_ && tail_->kept())) sums_ = scratch.Take(plan.unit_floats());
}

// Output channels of the task.
WinogradOutput::Range WinogradOutput::Channels() const {
  if (plan_.parts == 1) return {b_.I64(0), b_.I64(p_.dst_channels)};
  const int64_t width = plan_.product.width();
  return {b_.Mul(panels_.begin, width), b_.Min(b_.Mul(panels_.end, width), b_.I64(p_.dst_channels))};
}

void WinogradOutput::Transform(Val i, Val to, Val tiles) const {
  const int64_t width = plan_.product.width();
  const Val row = b_.Add(b_.Mul(i, plan_.outputs_row()), to);
  b_.Loop(b_.I64(0), tiles, 1, [&](Val t) {
    b_.Loop(b_.I64(0), b_.I64(width), kLanes, [&](Val v) {
      const Val from = b_.Add(b_.Mul(t, width), v), at = b_.Add(b_.Add(row, b_.Mul(t, kTile * width)), v);
      EmitTransform<IrWinograd::Output, kCells, kTile>(
          b_, [&](int j) { return b_.Load(products_, b_.Add(from, b_.I64(j * plan_.product_element())), kLanes); },
          [&](int j, Val y) { b_.Store(outputs_, y, b_.Add(at, b_.I64(j * width))); });
    });
  });
}

void WinogradOutput::Images(Range images) {
  Begin(b_.Mul(images.begin, p_.DstStep(0)));
  b_.Loop(images.begin, images.end, 1, [&](Val image) {
    const Val first = b_.Mul(Minus(image, images.begin), plan_.tile_rows);
    b_.Loop(b_.I64(0), b_.I64(plan_.tile_rows), 1, [&](Val row) {
      const Val flat = b_.Add(b_.Mul(image, p_.DstStep(0)), b_.Mul(row, kTile * p_.DstStep(2)));
      StoreRow(b_.Mul(b_.Add(first, row), plan_.tile_columns), row, flat);
    });
  });
  Finish(b_.Mul(images.end, p_.DstStep(0)));
  if (tail_) tail_->Pool(kNoVal, images, Channels(), sums_, unit_begin_);
}

void WinogradOutput::Rows(Val image, Range rows) {
  const Val start = b_.Mul(image, p_.DstStep(0));
  const Range outputs{b_.Mul(rows.begin, kTile), b_.Min(b_.Mul(rows.end, kTile), b_.I64(p_.axis[1].dst))};
  Begin(b_.Add(start, b_.Mul(outputs.begin, p_.DstStep(2))));
  b_.Loop(rows.begin, rows.end, 1, [&](Val row) {
    StoreRow(b_.Mul(Minus(row, rows.begin), plan_.tile_columns), row,
             b_.Add(start, b_.Mul(row, kTile * p_.DstStep(2))));
  });
  Finish(b_.Add(start, b_.Mul(outputs.end, p_.DstStep(2))));
  if (tail_) tail_->Pool(image, outputs, Channels(), sums_, unit_begin_);
}

// Outputs along the first axis of a row of tiles, the unit's from `tile` on, whose first is element `flat` of the
// output. `tile_row` is its row of the image.
void WinogradOutput::StoreRow(Val tile, Val tile_row, Val flat) {
  const int64_t rows = p_.axis[1].dst;
  if (rows % kTile == 0) return StoreRows(tile, kTile, flat);
  const Val last = b_.Binary(IrOp::kEq, tile_row, b_.I64(plan_.tile_rows - 1));
  b_.If(last, [&] { StoreRows(tile, rows % kTile, flat); });
  if (plan_.tile_rows > 1) b_.If(b_.Unary(IrOp::kNot, last), [&] { StoreRows(tile, kTile, flat); });
}

// The first `height` of the tiles' rows, all columns.
void WinogradOutput::StoreRows(Val tile, int64_t height, Val flat) {
  const int64_t channels = p_.dst_channels, width = plan_.product.width();
  b_.Loop(b_.I64(0), b_.I64(p_.axis[2].dst), 1, [&](Val x) {
    const Val within = b_.Add(b_.Mul(tile, kTile * width), b_.Mul(x, width));
    const Val pixel = b_.Add(flat, b_.Mul(x, channels));
    const auto vectors = [&](Val panel) {
      const Val first = b_.Mul(panel, width);
      const Val from = b_.Add(b_.Mul(Minus(panel, panels_.begin), plan_.output_panel()), within);
      // The last panel may have vectors beyond the last channel.
      const int64_t all = CeilDiv(channels, kLanes) * kLanes;
      const Val end = all % width == 0 ? b_.I64(width) : b_.Min(b_.I64(width), Minus(b_.I64(all), first));
      b_.Loop(b_.I64(0), end, kLanes, [&](Val v) { Store(b_.Add(from, v), pixel, b_.Add(first, v), height); });
    };
    if (plan_.panels == 1) {
      vectors(b_.I64(0));
    } else {
      b_.Loop(panels_.begin, panels_.end, 1, vectors);
    }
  });
}

// A column of outputs: to the epilogue, or to the sums that a long one runs over later.
void WinogradOutput::Store(Val from, Val pixel, Val column, int64_t height) {
  const int64_t channels = p_.dst_channels;
  const bool whole = channels % kLanes == 0;
  const Val count = whole ? kNoVal : Minus(b_.I64(channels), column);
  std::vector<Point> points;
  std::vector<Val> values;
  EmitTransform<IrWinograd::Output, kCells, kTile>(
      b_, [&](int i) { return b_.Load(outputs_, b_.Add(from, b_.I64(i * plan_.outputs_row())), kLanes); },
      [&](int i, Val y) {
        if (i >= height) return;
        const Val at = b_.Add(b_.Add(pixel, column), b_.I64(i * p_.DstStep(2)));
        points.push_back({.flat = at, .count = count, .aligned = whole, .in_row = true, .column = column});
        values.push_back(y);
      });
  if (short_epilogue_) {
    epilogue_.Emit(points, values);
    return;
  }
  for (size_t k = 0; k < points.size(); ++k)
    b_.Store(sums_, values[k], Minus(points[k].flat, unit_begin_), points[k].count);
}

// Of a unit whose outputs begin with element `flat`.
void WinogradOutput::Begin(Val flat) {
  unit_begin_ = flat;
  // Over the sums of a long epilogue, which has read them by then.
  if (tail_ && tail_->kept()) epilogue_.Keep(tail_->operand(), sums_, flat);
}

// The long epilogue over the sums of a unit, up to element `end`.
void WinogradOutput::Finish(Val end) {
  if (short_epilogue_) return;
  const int64_t channels = p_.dst_channels;
  EpilogueRange range{.buffer = sums_, .whole = channels % kLanes == 0, .aligned = channels % kLanes == 0};
  if (plan_.parts == 1) {
    range.base = b_.I64(0);
    range.flat = unit_begin_;
    range.count = Minus(end, unit_begin_);
    // Units begin with images, or with rows of tiles of one.
    const int64_t image = p_.DstStep(0);
    range.blocks = (plan_.by_images ? image : std::gcd(image, kTile * p_.DstStep(2))) % kRandomBlock == 0;
    EmitRange(b_, epilogue_, range);
    return;
  }
  const Range task = Channels();
  b_.Loop(unit_begin_, end, channels, [&](Val pixel) {
    range.base = b_.Add(Minus(pixel, unit_begin_), task.begin);
    range.flat = b_.Add(pixel, task.begin);
    range.count = Minus(task.end, task.begin);
    range.column = task.begin;
    EmitRange(b_, epilogue_, range);
  });
}

}  // namespace weir::jit
