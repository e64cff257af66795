// Filter gradients of depthwise convolutions, tile by tile of dy: a vector of channels keeps the sums of some rows of
// the window in registers while it passes over the positions of dy, up to two rows of them at a time, so that each cell
// of x is loaded once for all the taps that it meets in a tile. x is read in place.
#include <map>
#include <utility>

#include "weir/backends/llvm/depthwise_filter_ir.h"

namespace weir::jit {
namespace {

using Channels = DepthwiseFilterIr::Channels;
using Place = DepthwiseFilterIr::Place;

constexpr int64_t kBandPixels = 8;  // that all vectors of a task pass over, so that memory is read in order
constexpr int64_t kLongRow = 14;    // outputs; the same for tiles of longer rows

class Tiles : public DepthwiseFilterSums {
 public:
  Tiles(KernelBuilder& b, const DepthwiseFilterPlan& plan, const DepthwiseFilterIr& task)
      : b_(b), p_(plan), task_(task), row_(plan.Row(plan.tile_width)) {}

  void Emit(Val first_image, Val images, const Place& sums) override {
    const int64_t height = p_.tile_rows, rows = p_.image_rows();
    if (height == 1 && !long_rows() && BandRows(1) >= p_.chunk_images * rows) {
      const Val begin = b_.Mul(first_image, rows), end = b_.Add(begin, b_.Mul(images, rows));
      task_.EachVector([&](const Channels& c) {
        EachGroup([&](Val window_row, int64_t n) { Band(begin, end, 1, window_row, n, c, sums, true); });
      });
      return;
    }
    task_.Clear(sums);
    if (height == 1) return Stretch(b_.Mul(first_image, rows), b_.Mul(images, rows), 1, sums);
    b_.Loop(first_image, b_.Add(first_image, images), 1, [&](Val image) {
      const Val begin = b_.Mul(image, rows);
      const int64_t whole = rows / height * height;
      Stretch(begin, b_.I64(whole), height, sums);
      if (whole < rows) Stretch(b_.Add(begin, b_.I64(whole)), b_.I64(rows - whole), 1, sums);
    });
  }

 private:
  bool long_rows() const { return p_.g.axis[2].output >= kLongRow; }
  int64_t BandRows(int64_t height) const { return RoundUp(CeilDiv(kBandPixels, p_.g.axis[2].output), height); }

  // `count` rows of dy, `height` of which make a tile: band after band, in which all vectors and rows of the window
  // take their turns. Long rows, and what is as many pixels, are bands of their own, tile after tile.
  void Stretch(Val first, Val count, int64_t height, const Place& sums) {
    if (long_rows() || BandRows(height) <= height) {
      b_.Loop(first, b_.Add(first, count), height, [&](Val row) {
        EachGroup([&](Val window_row, int64_t n) { LongRow(row, height, window_row, n, sums); });
      });
      return;
    }
    const int64_t band = BandRows(height);
    b_.Loop(b_.I64(0), count, band, [&](Val begin) {
      const Val from = b_.Add(first, begin), to = b_.Add(first, b_.Min(count, b_.Add(begin, b_.I64(band))));
      task_.EachVector([&](const Channels& c) {
        EachGroup([&](Val window_row, int64_t n) { Band(from, to, height, window_row, n, c, sums, false); });
      });
    });
  }
  // body(first row, number of rows) for the task's groups of rows of the window.
  template <class Body>
  void EachGroup(const Body& body) {
    if (p_.by_groups) return body(task_.group(), 1);
    const int64_t whole = p_.window_rows / p_.group_rows, left = p_.window_rows % p_.group_rows;
    Loop(whole, 1, [&](Val g) { body(b_.Mul(g, p_.group_rows), p_.group_rows); });
    if (left > 0) body(b_.I64(whole * p_.group_rows), left);
  }

  // Rows [from, to) of dy. Sums begin with zeros if `start`.
  void Band(Val from, Val to, int64_t height, Val window_row, int64_t rows, const Channels& c, const Place& place,
            bool start) {
    std::vector<Val> sums(static_cast<size_t>(rows * p_.columns), b_.F32(0, kLanes));
    if (!start) sums = task_.LoadTaps(place, window_row, rows, c);
    sums = b_.For(from, to, height, sums, [&](Val row, const std::vector<Val>& acc) {
      const std::vector<SourceRow> source = SourceRows(row, height, window_row, rows);
      return row_.ForTiles(b_, acc, [&](const DepthwiseRow::Tile& tile, Val first, const std::vector<Val>& carried) {
        return Cells(row, height, tile, first, source, c, carried);
      });
    });
    task_.StoreTaps(sums, place, window_row, c);
  }
  void LongRow(Val row, int64_t height, Val window_row, int64_t rows, const Place& place) {
    const std::vector<SourceRow> source = SourceRows(row, height, window_row, rows);
    row_.ForTiles(b_, {}, [&](const DepthwiseRow::Tile& tile, Val first, const std::vector<Val>& none) {
      task_.EachVector([&](const Channels& c) {
        const std::vector<Val> sums = task_.LoadTaps(place, window_row, rows, c);
        task_.StoreTaps(Cells(row, height, tile, first, source, c, sums), place, window_row, c);
      });
      return none;
    });
  }

  // A row of x: its first element, whether it is in the image, or none if it always is, and the (row of dy, row of the
  // window) pairs that meet in it.
  struct SourceRow {
    Val at = kNoVal, inside = kNoVal;
    std::vector<std::pair<int64_t, int64_t>> uses;
  };
  // What `rows` rows of the window read for `height` rows of dy, in order of x.
  std::vector<SourceRow> SourceRows(Val row, int64_t height, Val window_row, int64_t rows) {
    const SpatialAxis& outer = p_.g.axis[0];
    const SpatialAxis& inner = p_.g.axis[1];
    std::map<int64_t, SourceRow> result;  // by distance from the first; not of neighbours if rows are on two axes
    for (int64_t r = 0; r < height; ++r) {
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t distance = r * inner.stride + i * inner.dilation;
        SourceRow& source = result[distance];
        source.uses.emplace_back(r, i);
        if (source.uses.size() > 1) continue;
        const Val image = b_.Div(row, p_.image_rows()), of_image = b_.Add(b_.Rem(row, p_.image_rows()), b_.I64(r));
        source.at = image;
        const auto coordinate = [&](const SpatialAxis& axis, Val out, Val k) {
          const Val x = b_.Add(b_.Add(b_.Mul(out, axis.stride), b_.Mul(k, axis.dilation)), b_.I64(-axis.pad_before));
          source.at = b_.Add(b_.Mul(source.at, axis.input), x);
          const auto check = [&](Val in) {
            source.inside = source.inside == kNoVal ? in : b_.Binary(IrOp::kAnd, source.inside, in);
          };
          if (axis.pad_before > 0) check(b_.Binary(IrOp::kLe, b_.I64(0), x));
          const int64_t last = (axis.output - 1) * axis.stride + (axis.window - 1) * axis.dilation - axis.pad_before;
          if (last >= axis.input) check(b_.Binary(IrOp::kLt, x, b_.I64(axis.input)));
        };
        const Val w = b_.Add(window_row, b_.I64(i));
        coordinate(outer, b_.Div(of_image, inner.output), b_.Div(w, inner.window));
        coordinate(inner, b_.Rem(of_image, inner.output), b_.Rem(w, inner.window));
        // A row outside has no lanes; it takes the address of the first that there is.
        if (source.inside != kNoVal) source.at = b_.Select(source.inside, source.at, b_.I64(0));
        source.at = b_.Mul(source.at, p_.g.axis[2].input * p_.g.in_channels);
      }
    }
    std::vector<SourceRow> in_order;
    for (auto& [distance, source] : result) in_order.push_back(std::move(source));
    return in_order;
  }

  // A tile of `height` rows of dy, for one vector: sums of the rows of the window that read `source`. Every sum meets
  // its positions in their order, as both rows and columns of x ascend with them.
  std::vector<Val> Cells(Val row, int64_t height, const DepthwiseRow::Tile& tile, Val first,
                         const std::vector<SourceRow>& source, const Channels& c, std::vector<Val> sums) {
    const Val pixel = b_.Add(b_.Mul(row, p_.g.axis[2].output), first);
    const Val dy_at = b_.Add(b_.Mul(pixel, p_.g.out_channels), c.first);
    std::vector<Val> dy;
    for (int64_t r = 0; r < height; ++r) {
      for (int64_t j = 0; j < tile.size; ++j) {
        const int64_t distance = (r * p_.g.axis[2].output + j) * p_.g.out_channels;
        if (p_.ahead) b_.Prefetch(task_.dy(), b_.Add(dy_at, b_.I64(distance + p_.fetch.ahead)), p_.fetch.to_first);
        dy.push_back(b_.Load(task_.dy(), b_.Add(dy_at, b_.I64(distance)), kLanes, c.left));
      }
    }
    const Val lanes = c.left == kNoVal ? b_.I64(kLanes) : c.left;
    for (const SourceRow& s : source) {
      const Val count = s.inside == kNoVal ? c.left : b_.Select(s.inside, lanes, b_.I64(0));
      for (size_t k = 0; k < tile.cells.size(); ++k) {
        const DepthwiseRow::Cell& cell = tile.cells[k];
        const Val column = b_.Add(b_.Mul(row_.Column(b_, first, cell), p_.g.in_channels), c.first);
        const Val x = tile.inside[k] ? b_.Load(task_.x(), b_.Add(s.at, column), kLanes, count) : b_.F32(0, kLanes);
        // Cells that the tile before had not.
        if (p_.ahead && static_cast<int64_t>(tile.cells.size() - k) <= tile.size * p_.g.axis[2].stride)
          b_.Prefetch(task_.x(), b_.Add(b_.Add(s.at, column), b_.I64(p_.fetch.ahead)), p_.fetch.to_first);
        for (const auto& [r, i] : s.uses) {
          for (const auto& [output, tap] : cell.uses) {
            Val& sum = sums[static_cast<size_t>(i * p_.columns + tap)];
            sum = b_.Fma(x, dy[static_cast<size_t>(r * tile.size + output)], sum);
          }
        }
      }
    }
    return sums;
  }

  // A loop, or its body if it has one round.
  template <class Body>
  void Loop(int64_t count, int64_t step, const Body& body) {
    if (count <= step) {
      body(b_.I64(0));
    } else {
      b_.Loop(b_.I64(0), b_.I64(count), step, body);
    }
  }

  KernelBuilder& b_;
  const DepthwiseFilterPlan& p_;
  const DepthwiseFilterIr& task_;
  const DepthwiseRow row_;
};

}  // namespace

std::unique_ptr<DepthwiseFilterSums> SumsByTiles(KernelBuilder& b, const DepthwiseFilterPlan& plan,
                                                 const DepthwiseFilterIr& task) {
  return std::make_unique<Tiles>(b, plan, task);
}

}  // namespace weir::jit
