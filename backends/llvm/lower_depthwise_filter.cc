// Filter gradients of depthwise convolutions, one output channel a channel. A vector of channels keeps the sums of some
// rows of the window in registers while it walks over the positions of dy, two rows of them at a time, so that each cell
// of x is loaded once for all the taps that it meets in a tile. x is read in place.
//
// Tasks are channels, which pass over all chunks; or, of large problems, chunks, whose sums a second kernel adds.
// Memory is to be read in order: what lies far apart comes slowly.
#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "weir/backends/llvm/depthwise_row.h"
#include "weir/backends/llvm/lowering.h"
#include "weir/backends/llvm/product_ir.h"
#include "weir/core/strings.h"
#include "weir/ops/canonical_order.h"
#include "weir/ops/conv_geometry.h"

namespace weir::jit {
namespace {

constexpr int64_t kMostSums = 15;        // of 32 registers: three rows of three or five taps
constexpr int64_t kMostPixels = 8;       // of a tile of a part of a row: their dy are in registers as well
constexpr int64_t kSpareRegisters = 7;   // for x, and what is loaded ahead of its use
constexpr size_t kMostPieces = 6;        // of code for a row
constexpr int64_t kBandPixels = 8;       // that all vectors of a task pass over, so that memory is read in order
constexpr int64_t kLongRow = 14;         // outputs; the same for tiles of longer rows
constexpr int64_t kTileRows = 2;         // of dy in a tile
constexpr int64_t kManyRegisters = 32;   // vectors; with fewer, a tile is of one row
constexpr double kTaskFlops = 4e5;       // 5 us at the rate of loads
constexpr int64_t kTasks = 16;           // enough for eight threads
constexpr int64_t kNearBytes = 1 << 20;  // of operands that the second-level cache holds. Larger ones are to be read in
constexpr int64_t kNearVectors = 8;      // pieces of a pixel of so many vectors at least,
constexpr int64_t kNearOfOneChunk = 4;   // or of so many if there is no other way to make tasks
constexpr double kLongTask = 8e6;        // flops; instead of longer tasks, rows of the window are tasks too

class DepthwiseFilter {
 public:
  DepthwiseFilter(const Cluster& cluster, const ConvGeometry& g, const TileLimits& limits)
      : cluster_(cluster),
        g_(g),
        registers_(limits.vector_registers),
        window_rows_(g.axis[0].window * g.axis[1].window),
        columns_(g.axis[2].window),
        group_rows_(std::clamp<int64_t>(MostSums() / columns_, 1, window_rows_)),
        row_({.src = g.axis[2].input,
              .dst = g.axis[2].output,
              .advance = g.axis[2].stride,
              .base = -g.axis[2].pad_before,
              .delta = g.axis[2].dilation,
              .taps = columns_},
             TileWidth(TileRows())),
        b_(StrCat(Describe(cluster), ", depthwise")) {}

  bool Fits() const { return columns_ <= MostSums() && row_.pieces() <= kMostPieces; }

  Lowering Lower() {
    Split();
    Lowering lowering;
    lowering.in_place = PointwisePairs(cluster_);
    lowering.kernel = StrCat("jit, depthwise filter gradient in place, ", group_rows_, "x", columns_, " taps, ",
                             by_chunks_ ? StrCat("by ", chunks_, " chunks, ") : "", tasks(), " tasks");
    EmitKernel();
    lowering.stages.push_back(MakeStage(b_.Take(), tasks(), scratch_bytes_));
    if (by_chunks_) {
      lowering.workspace_bytes = chunks_ * dw_floats() * BytesOf(Elem::kF32);
      lowering.stages.push_back(CombineParts(cluster_, chunks_, dw_floats()));
    }
    return lowering;
  }

 private:
  // Where sums of a task lie: tap after tap, from its first channel on.
  struct Place {
    int buffer = -1;
    Val at = kNoVal;
    int64_t pitch = 0;
  };
  // A vector of channels.
  struct Channels {
    Val first = kNoVal;    // channel
    Val of_task = kNoVal;  // relative to the task's first
    Val left = kNoVal;     // lanes that exist, or none if all do
  };

  // Outputs that a tile of so many rows of dy may be wide.
  int64_t TileWidth(int64_t height) const {
    const int64_t most = (registers_ - group_rows_ * columns_ - kSpareRegisters) / height;
    return g_.axis[2].output <= most ? most : std::clamp<int64_t>(most, 2, kMostPixels);
  }
  // Rows of dy in a tile, where an image has as many: several if they are whole rows, so that each follows the one before,
  // and neighbours on one axis, which share rows of x.
  int64_t TileRows() const {
    const bool whole = g_.axis[2].output <= TileWidth(kTileRows) && g_.axis[1].output >= kTileRows;
    return whole && g_.axis[0].window == 1 && group_rows_ > 1 && registers_ >= kManyRegisters ? kTileRows : 1;
  }
  int64_t MostSums() const { return std::min(kMostSums, registers_ / 2); }
  int64_t vectors() const { return CeilDiv(g_.out_channels, kLanes); }
  int64_t dw_floats() const { return window_rows_ * columns_ * g_.out_channels; }
  int64_t x_floats() const { return g_.in_positions() * g_.in_channels; }
  int64_t dy_floats() const { return g_.out_positions() * g_.out_channels; }
  int64_t groups() const { return CeilDiv(window_rows_, group_rows_); }
  int64_t image_rows() const { return g_.axis[0].output * g_.axis[1].output; }
  int64_t channel_tasks() const { return CeilDiv(vectors(), task_vectors_); }
  int64_t group_tasks() const { return by_groups_ ? groups() : 1; }
  int64_t tasks() const { return (by_chunks_ ? chunks_ : 1) * channel_tasks() * group_tasks(); }

  void Split() {
    chunk_images_ = std::min(FilterGradientImages(g_.out_positions()), std::max<int64_t>(1, g_.batch));
    chunks_ = CeilDiv(g_.batch, chunk_images_);
    const double flops = 2.0 * static_cast<double>(g_.batch * g_.out_positions()) * static_cast<double>(dw_floats());
    const bool far = BytesOf(Elem::kF32) * g_.batch * (x_floats() + dy_floats()) > kNearBytes;
    by_chunks_ = chunks_ > 1 && far;
    const int64_t wanted = std::clamp<int64_t>(static_cast<int64_t>(flops / kTaskFlops), 1, kTasks);
    const int64_t near = !far ? 1 : by_chunks_ ? kNearVectors : kNearOfOneChunk;
    const int64_t parts = std::min(CeilDiv(vectors(), near), by_chunks_ ? CeilDiv(wanted, chunks_) : wanted);
    task_vectors_ = CeilDiv(vectors(), parts);
    by_groups_ = flops > kLongTask * static_cast<double>(tasks()) && window_rows_ > 1;
    if (by_groups_) group_rows_ = 1;
  }

  int Scratch(int64_t floats) {
    const int buffer = b_.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, scratch_bytes_});
    scratch_bytes_ += floats * BytesOf(Elem::kF32);
    return buffer;
  }
  Val Sub(Val a, Val c) { return b_.Add(a, b_.Mul(c, -1)); }
  // A loop, or its body if it has one round.
  template <class Body>
  void Loop(int64_t count, int64_t step, const Body& body) {
    if (count <= step) {
      body(b_.I64(0));
    } else {
      b_.Loop(b_.I64(0), b_.I64(count), step, body);
    }
  }

  void EmitKernel() {
    const Val task = b_.Task();
    x_ = Input(0);
    dy_ = Input(1);
    const Val group = by_groups_ ? b_.Rem(task, group_tasks()) : kNoVal;
    const Val rest = b_.Div(task, group_tasks());
    first_ = b_.Mul(b_.Rem(rest, channel_tasks()), task_vectors_ * kLanes);
    const int64_t width = task_vectors_ * kLanes;
    end_ =
        channel_tasks() == 1 ? b_.I64(g_.out_channels) : b_.Min(b_.Add(first_, b_.I64(width)), b_.I64(g_.out_channels));
    if (by_chunks_) {
      const Val chunk = b_.Div(rest, channel_tasks());
      const int workspace = b_.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0});
      const Val at = b_.Add(b_.Mul(chunk, dw_floats()), first_);
      Chunk(chunk, group, {workspace, at, g_.out_channels});
      return;
    }
    ClusterIr epilogue(b_, cluster_);
    const int64_t floats = window_rows_ * columns_ * width;
    const int totals = Scratch(floats), later = chunks_ > 1 ? Scratch(floats) : -1;
    if (chunks_ == 0) {
      EachTap(group, [&](Val tap) { Clear({totals, b_.I64(0), width}, tap); });
    } else {
      Chunk(b_.I64(0), group, {totals, b_.I64(0), width});
    }
    if (chunks_ > 1) {
      b_.Loop(b_.I64(1), b_.I64(chunks_), 1, [&](Val chunk) {
        Chunk(chunk, group, {later, b_.I64(0), width});
        EachTap(group, [&](Val tap) {
          b_.Loop(b_.I64(0), Sub(end_, first_), kLanes, [&](Val c) {
            const Val at = b_.Add(b_.Mul(tap, width), c);
            b_.Store(totals, b_.Binary(IrOp::kAdd, b_.Load(totals, at, kLanes), b_.Load(later, at, kLanes)), at);
          });
        });
      });
    }
    const auto multiple = [&](int64_t n) { return g_.out_channels % n == 0 && width % n == 0; };
    EachTap(group, [&](Val tap) {
      EmitRange(b_, epilogue,
                {.buffer = totals,
                 .base = b_.Mul(tap, width),
                 .flat = b_.Add(b_.Mul(tap, g_.out_channels), first_),
                 .count = Sub(end_, first_),
                 .whole = multiple(kLanes),
                 .aligned = multiple(kLanes),
                 .blocks = multiple(kRandomBlock),
                 .column = first_});
    });
  }
  int Input(size_t operand) {
    const int index = cluster_.input_index(cluster_.node(*cluster_.anchor).inputs[operand]);
    return b_.Buffer({IrBuffer::Kind::kInput, index, Elem::kF32, 0});
  }

  // The taps of the task.
  template <class Body>
  void EachTap(Val group, const Body& body) {
    const int64_t taps = by_groups_ ? columns_ : window_rows_ * columns_;
    b_.Loop(b_.I64(0), b_.I64(taps), 1,
            [&](Val tap) { body(by_groups_ ? b_.Add(tap, b_.Mul(group, columns_)) : tap); });
  }
  template <class Body>
  void EachVector(const Body& body) {
    const bool masked = g_.out_channels % kLanes != 0;
    const auto vector = [&](Val c) {
      body(Channels{c, Sub(c, first_), masked ? Sub(b_.I64(g_.out_channels), c) : kNoVal});
    };
    if (vectors() == 1) {
      vector(b_.I64(0));
    } else {
      b_.Loop(first_, end_, kLanes, vector);
    }
  }
  void Clear(const Place& sums, Val tap) {
    b_.Loop(b_.I64(0), Sub(end_, first_), kLanes, [&](Val c) {
      const Val left = g_.out_channels % kLanes == 0 ? kNoVal : Sub(Sub(end_, first_), c);
      b_.Store(sums.buffer, b_.F32(0, kLanes), b_.Add(b_.Add(sums.at, b_.Mul(tap, sums.pitch)), c), left);
    });
  }

  // Sums of a chunk.
  void Chunk(Val chunk, Val group, const Place& sums) {
    const int64_t height = TileRows(), rows = image_rows();
    const Val first = b_.Mul(chunk, chunk_images_);
    Val images = b_.I64(chunk_images_);
    if (g_.batch % chunk_images_ != 0) images = b_.Min(images, Sub(b_.I64(g_.batch), first));
    if (height == 1 && !long_rows() && BandRows(1) >= chunk_images_ * rows) {
      const Val begin = b_.Mul(first, rows), end = b_.Add(begin, b_.Mul(images, rows));
      EachVector([&](const Channels& c) {
        EachGroup(group, [&](Val window_row, int64_t n) { Band(begin, end, 1, window_row, n, c, sums, true); });
      });
      return;
    }
    EachTap(group, [&](Val tap) { Clear(sums, tap); });
    if (height == 1) return Stretch(b_.Mul(first, rows), b_.Mul(images, rows), 1, group, sums);
    b_.Loop(first, b_.Add(first, images), 1, [&](Val image) {
      const Val begin = b_.Mul(image, rows);
      const int64_t whole = rows / height * height;
      Stretch(begin, b_.I64(whole), height, group, sums);
      if (whole < rows) Stretch(b_.Add(begin, b_.I64(whole)), b_.I64(rows - whole), 1, group, sums);
    });
  }
  bool long_rows() const { return g_.axis[2].output >= kLongRow; }
  int64_t BandRows(int64_t height) const { return RoundUp(CeilDiv(kBandPixels, g_.axis[2].output), height); }

  // `count` rows of dy, `height` of which make a tile: band after band, in which all vectors and rows of the window take
  // their turns. Long rows, and what is as many pixels, are bands of their own, tile after tile.
  void Stretch(Val first, Val count, int64_t height, Val group, const Place& sums) {
    if (long_rows() || BandRows(height) <= height) {
      b_.Loop(first, b_.Add(first, count), height, [&](Val row) {
        EachGroup(group, [&](Val window_row, int64_t n) { LongRow(row, height, window_row, n, sums); });
      });
      return;
    }
    const int64_t band = BandRows(height);
    b_.Loop(b_.I64(0), count, band, [&](Val begin) {
      const Val from = b_.Add(first, begin), to = b_.Add(first, b_.Min(count, b_.Add(begin, b_.I64(band))));
      EachVector([&](const Channels& c) {
        EachGroup(group, [&](Val window_row, int64_t n) { Band(from, to, height, window_row, n, c, sums, false); });
      });
    });
  }
  // body(first row, number of rows) for the task's groups of rows of the window.
  template <class Body>
  void EachGroup(Val group, const Body& body) {
    if (by_groups_) return body(group, 1);
    const int64_t whole = window_rows_ / group_rows_, left = window_rows_ % group_rows_;
    Loop(whole, 1, [&](Val g) { body(b_.Mul(g, group_rows_), group_rows_); });
    if (left > 0) body(b_.I64(whole * group_rows_), left);
  }

  // The sums of `rows` rows of the window from `window_row` on, for one vector.
  Val At(const Place& place, Val window_row, int64_t tap, const Channels& c) {
    const Val row = b_.Add(place.at, b_.Mul(window_row, columns_ * place.pitch));
    return b_.Add(b_.Add(row, b_.I64(tap * place.pitch)), c.of_task);
  }
  std::vector<Val> LoadTaps(const Place& place, Val window_row, int64_t rows, const Channels& c) {
    std::vector<Val> sums;
    for (int64_t tap = 0; tap < rows * columns_; ++tap)
      sums.push_back(b_.Load(place.buffer, At(place, window_row, tap, c), kLanes, c.left));
    return sums;
  }
  void StoreTaps(const std::vector<Val>& sums, const Place& place, Val window_row, const Channels& c) {
    for (size_t tap = 0; tap < sums.size(); ++tap)
      b_.Store(place.buffer, sums[tap], At(place, window_row, static_cast<int64_t>(tap), c), c.left);
  }

  // Rows [from, to) of dy. Sums begin with zeros if `start`.
  void Band(Val from, Val to, int64_t height, Val window_row, int64_t rows, const Channels& c, const Place& place,
            bool start) {
    std::vector<Val> sums(static_cast<size_t>(rows * columns_), b_.F32(0, kLanes));
    if (!start) sums = LoadTaps(place, window_row, rows, c);
    sums = b_.For(from, to, height, sums, [&](Val row, const std::vector<Val>& acc) {
      const std::vector<SourceRow> source = SourceRows(row, height, window_row, rows);
      return row_.ForTiles(b_, acc, [&](const DepthwiseRow::Tile& tile, Val first, const std::vector<Val>& carried) {
        return Cells(row, height, tile, first, source, c, carried);
      });
    });
    StoreTaps(sums, place, window_row, c);
  }
  void LongRow(Val row, int64_t height, Val window_row, int64_t rows, const Place& place) {
    const std::vector<SourceRow> source = SourceRows(row, height, window_row, rows);
    row_.ForTiles(b_, {}, [&](const DepthwiseRow::Tile& tile, Val first, const std::vector<Val>& none) {
      EachVector([&](const Channels& c) {
        const std::vector<Val> sums = LoadTaps(place, window_row, rows, c);
        StoreTaps(Cells(row, height, tile, first, source, c, sums), place, window_row, c);
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
    const SpatialAxis& outer = g_.axis[0];
    const SpatialAxis& inner = g_.axis[1];
    std::map<int64_t, SourceRow> result;  // by distance from the first; not of neighbours if rows are on two axes
    for (int64_t r = 0; r < height; ++r) {
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t distance = r * inner.stride + i * inner.dilation;
        SourceRow& source = result[distance];
        source.uses.emplace_back(r, i);
        if (source.uses.size() > 1) continue;
        const Val image = b_.Div(row, image_rows()), of_image = b_.Add(b_.Rem(row, image_rows()), b_.I64(r));
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
        source.at = b_.Mul(source.at, g_.axis[2].input * g_.in_channels);
      }
    }
    std::vector<SourceRow> in_order;
    for (auto& [distance, source] : result) in_order.push_back(std::move(source));
    return in_order;
  }

  // A tile of `height` rows of dy, for one vector: sums of the rows of the window that read `source`. Every sum meets its
  // positions in their order, as both rows and columns of x ascend with them.
  std::vector<Val> Cells(Val row, int64_t height, const DepthwiseRow::Tile& tile, Val first,
                         const std::vector<SourceRow>& source, const Channels& c, std::vector<Val> sums) {
    const Val pixel = b_.Add(b_.Mul(row, g_.axis[2].output), first);
    const Val dy_at = b_.Add(b_.Mul(pixel, g_.out_channels), c.first);
    std::vector<Val> dy;
    for (int64_t r = 0; r < height; ++r) {
      for (int64_t j = 0; j < tile.size; ++j) {
        const int64_t distance = (r * g_.axis[2].output + j) * g_.out_channels;
        dy.push_back(b_.Load(dy_, b_.Add(dy_at, b_.I64(distance)), kLanes, c.left));
      }
    }
    const Val lanes = c.left == kNoVal ? b_.I64(kLanes) : c.left;
    for (const SourceRow& s : source) {
      const Val count = s.inside == kNoVal ? c.left : b_.Select(s.inside, lanes, b_.I64(0));
      for (size_t k = 0; k < tile.cells.size(); ++k) {
        const DepthwiseRow::Cell& cell = tile.cells[k];
        const Val column = b_.Add(b_.Mul(row_.Column(b_, first, cell), g_.in_channels), c.first);
        const Val x = tile.inside[k] ? b_.Load(x_, b_.Add(s.at, column), kLanes, count) : b_.F32(0, kLanes);
        for (const auto& [r, i] : s.uses) {
          for (const auto& [output, tap] : cell.uses) {
            Val& sum = sums[static_cast<size_t>(i * columns_ + tap)];
            sum = b_.Fma(x, dy[static_cast<size_t>(r * tile.size + output)], sum);
          }
        }
      }
    }
    return sums;
  }

  const Cluster& cluster_;
  const ConvGeometry& g_;
  const int64_t registers_, window_rows_, columns_;
  int64_t group_rows_;  // of the window, whose sums are in registers
  const DepthwiseRow row_;
  KernelBuilder b_;
  int64_t chunk_images_ = 1, chunks_ = 0, task_vectors_ = 1;
  bool by_chunks_ = false, by_groups_ = false;
  int64_t scratch_bytes_ = 0;
  int x_ = -1, dy_ = -1;
  Val first_ = kNoVal, end_ = kNoVal;  // channels of the task
};

}  // namespace

std::optional<Lowering> LowerDepthwiseFilterGradient(const Cluster& cluster, const TileLimits& limits) {
  const Node& anchor = cluster.node(*cluster.anchor);
  const ConvGeometry g = ConvGeometryOf(anchor.attrs, cluster.type(anchor.inputs[0]).shape, anchor.outputs[0].shape);
  if (g.groups == 1 || g.group_in() != 1 || g.group_out() != 1) return std::nullopt;
  DepthwiseFilter filter(cluster, g, limits);
  if (!filter.Fits()) return std::nullopt;
  return filter.Lower();
}

}  // namespace weir::jit
