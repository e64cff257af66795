// Depthwise convolutions and their input gradients, one output channel a channel: a tile of neighbouring outputs of a
// row, or of two rows, keeps its sums in registers, and each cell of the source is loaded once for all the taps that
// meet it, or those of a row of the window. The source is read in place.
//
// Tasks are steps: some rows of the output, or, where an input gradient has strides, one of each phase. A long epilogue
// runs over the sums of a step, stored in scratch. Images of one tile share their channels' taps, which stay in
// registers. Where pixels are so far apart that those of a tile share one or two sets of the first-level cache, stores
// of a tile would drive each other out of it, one vector of channels after the other: some vectors' sums are staged in
// scratch, and go to the output pixel by pixel.
#include <algorithm>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "weir/backends/llvm/conv_accept.h"
#include "weir/backends/llvm/depthwise_row.h"
#include "weir/backends/llvm/lowering.h"
#include "weir/backends/llvm/product_ir.h"
#include "weir/core/strings.h"

namespace weir::jit {
namespace {

constexpr int64_t kMostPixels = 8;      // of a tile: enough sums to cover an addition's latency
constexpr int64_t kStraightTaps = 9;    // of more, rows of the window are a loop
constexpr int64_t kPair = 2;            // rows of outputs that share cells and taps, if those and sums are in registers
constexpr int64_t kSpareRegisters = 2;  // for cells
constexpr size_t kMostPieces = 6;       // of code for a row
constexpr size_t kFewClasses = 4;       // of phases; each has code of its own
constexpr double kTaskFlops = 8e5;      // 10 us at the rate of loads
constexpr int64_t kTogether = 4;        // vectors of channels of images of one tile, or of pixels
constexpr int64_t kFewRows = 8;         // if rows are few and
constexpr int64_t kLongRow = 256;       // long, they should be cut
// Bytes that pixels are apart which share few sets of a first-level cache. With strides, rows of outputs have little in
// common, and a pixel's vectors are neighbours.
constexpr int64_t kCrowdedPitch = 1024;
// Bytes that pixels are apart which have one or two sets, of so many lines or more, and what is staged for them.
constexpr int64_t kStagedPitch = 2048;
constexpr int64_t kWays = 8;
constexpr int64_t kStagedVectors = 8;  // of channels
constexpr int64_t kStagedRows = 7;     // 25 KB of outputs

class DepthwiseConv {
 public:
  DepthwiseConv(const Cluster& cluster, const ConvProblem& problem, const TileLimits& limits)
      : cluster_(cluster), p_(problem), b_(Describe(cluster)), short_epilogue_(HasShortEpilogue(cluster)) {
    if (limits.fetches_far) fetch_ = kFetchFar;
    const int64_t floats =
        p_.batch * (p_.axis[0].src * p_.axis[1].src * p_.axis[2].src * p_.src_channels + p_.DstStep(0));
    far_ = floats * BytesOf(Elem::kF32) > limits.far_bytes;
    int64_t most = std::min<int64_t>(kMostPixels, limits.vector_registers / 2);
    const bool wide = limits.vector_registers >= kPair * most + kStraightTaps + kSpareRegisters;
    const bool planar = p_.axis[0].window == 1 && p_.axis[1].dst > 1 && p_.axis[1].phases[0].delta > 0;
    if (wide && planar && p_.classes() == 1 && p_.taps() <= kStraightTaps) {
      const ConvAxis& axis = p_.axis[1];
      const int64_t pitch = channels() * BytesOf(Elem::kF32), live = axis.phases[0].taps;  // rows whose sums are
      if (axis.advance > 1 && pitch % kCrowdedPitch == 0) {
        vectors_ = kTogether;
      } else if (pitch % kStagedPitch == 0 && kPair * std::min(p_.axis[2].dst, most) > kWays && live > 1 &&
                 axis.phases[0].delta == 1 && short_epilogue_) {
        staged_ = kStagedVectors;
        together_ = CeilDiv(axis.dst, CeilDiv(axis.dst, kStagedRows));
        most = std::min(most, (limits.vector_registers - p_.taps() - kSpareRegisters) / live);
      } else {
        together_ = kPair;
      }
    }
    for (const AxisPhase& phase : p_.axis[2].phases) {
      rows_.emplace_back(RowGeometry{.src = p_.axis[2].src,
                                     .dst = phase.count,
                                     .advance = p_.axis[2].advance,
                                     .base = phase.base,
                                     .delta = phase.delta,
                                     .taps = phase.taps},
                         most);
    }
  }

  bool Fits() const {
    const bool pieces =
        std::all_of(rows_.begin(), rows_.end(), [](const DepthwiseRow& row) { return row.pieces() <= kMostPieces; });
    const int64_t rows = p_.batch * p_.axis[0].dst * CeilDiv(p_.axis[1].dst, p_.axis[1].step);
    const bool few = rows < kFewRows && p_.axis[2].dst > kLongRow;
    return p_.taps() > 1 && p_.classes() <= kFewClasses && p_.axis[0].step == 1 && pieces && !few && steps() > 0;
  }

  Lowering Lower() {
    const double flops = std::max(p_.flops(), 1.0) / static_cast<double>(steps());
    const int64_t per_task = TaskSize(steps(), std::max<int64_t>(1, static_cast<int64_t>(kTaskFlops / flops)), 1);
    EmitKernel(per_task);
    const int64_t tasks = CeilDiv(steps(), per_task);
    Lowering lowering;
    lowering.in_place = PointwisePairs(cluster_);
    lowering.kernel = StrCat("jit, depthwise in place, ", tasks, " tasks");
    lowering.stages.push_back(MakeStage(b_.Take(), tasks, scratch_.bytes()));
    return lowering;
  }

 private:
  // A row of the window for a row of outputs: its first element in the source and in the filter, and whether it is in
  // the image, or none if it always is.
  struct WindowRow {
    Val src = kNoVal, filter = kNoVal, inside = kNoVal;
  };
  // Outputs of one phase of each axis.
  struct Class {
    const AxisPhase* phase[3];
    const DepthwiseRow* row;

    int64_t rows() const { return phase[0]->taps * phase[1]->taps; }
    int64_t taps() const { return rows() * phase[2]->taps; }
  };

  int64_t channels() const { return p_.dst_channels; }
  int64_t row_floats() const { return p_.axis[2].dst * channels(); }
  // Steps of an image along its second axis, and of all. A step's outputs are neighbours.
  int64_t image_steps() const { return CeilDiv(p_.axis[1].dst, step_rows()); }
  int64_t steps() const { return p_.batch * p_.axis[0].dst * image_steps(); }
  int64_t step_floats() const { return std::min(step_rows(), p_.axis[1].dst) * row_floats(); }
  // A step is an output of each phase, or some rows of one.
  int64_t step_rows() const { return p_.axis[1].step * together_; }

  void EmitKernel(int64_t per_task) {
    const Val task = b_.Task();
    ClusterIr epilogue(b_, cluster_);
    epilogue_ = &epilogue;
    src_ = Input(0);
    filter_ = Input(1);
    if (!short_epilogue_) sums_ = scratch_.Take(RoundUp(step_floats(), kLanes));
    if (staged_ > 0) sums_ = scratch_.Take(together_ * rows_[0].most_outputs() * staged_ * kLanes);
    const Val begin = b_.Mul(task, per_task), end = b_.Min(b_.Add(begin, b_.I64(per_task)), b_.I64(steps()));
    if (OneTile()) {
      Images(begin, end);
    } else {
      b_.Loop(begin, end, 1, [&](Val step) { Step(step); });
    }
  }
  int Input(size_t operand) {
    const int index = cluster_.input_index(cluster_.node(*cluster_.anchor).inputs[operand]);
    return b_.Buffer({IrBuffer::Kind::kInput, index, Elem::kF32, 0});
  }

  Class FirstClass() const {
    return {{&p_.axis[0].phases[0], &p_.axis[1].phases[0], &p_.axis[2].phases[0]}, &rows_[0]};
  }
  // Whether an image's outputs are a tile, whose taps are few enough for registers.
  bool OneTile() const {
    return steps() == p_.batch && together_ == 1 && p_.classes() == 1 && rows_[0].one_tile() &&
           FirstClass().taps() <= kStraightTaps && short_epilogue_;
  }
  // Some vectors of channels at a time, so that an image's are neighbours in memory.
  void Images(Val begin, Val end) {
    const Class one = FirstClass();
    const int64_t together = channels() % (kTogether * kLanes) == 0 ? kTogether : 1;
    one.row->ForTiles(b_, {}, [&](const DepthwiseRow::Tile& tile, Val first, const std::vector<Val>& none) {
      b_.Loop(b_.I64(0), b_.I64(channels()), together * kLanes,
              [&](Val c) { ImagesOfChannels(one, tile, first, c, together, begin, end); });
      return none;
    });
  }
  void ImagesOfChannels(const Class& one, const DepthwiseRow::Tile& tile, Val first, Val channel, int64_t vectors,
                        Val begin, Val end) {
    struct Vector {
      Val channel = kNoVal, left = kNoVal;
      std::vector<std::vector<Val>> weights = {};  // of each row of the window
    };
    const auto row = [&](Val image, int64_t w) { return RowOfWindow(one, image, b_.I64(0), b_.I64(0), b_.I64(w)); };
    std::vector<Vector> all;
    for (int64_t v = 0; v < vectors; ++v) {
      Vector vector{.channel = b_.Add(channel, b_.I64(v * kLanes))};
      if (channels() % kLanes != 0) vector.left = b_.Add(b_.I64(channels()), b_.Mul(vector.channel, -1));
      for (int64_t w = 0; w < one.rows(); ++w)
        vector.weights.push_back(Weights(one, row(b_.I64(0), w), vector.channel, vector.left));
      all.push_back(std::move(vector));
    }
    b_.Loop(begin, end, 1, [&](Val image) {
      const Val dst = b_.Mul(image, row_floats());
      for (const Vector& v : all) {
        std::vector<Val> sums(static_cast<size_t>(tile.size), b_.F32(0, kLanes));
        for (int64_t w = 0; w < one.rows(); ++w) {
          const std::vector<Val>& weights = v.weights[static_cast<size_t>(w)];
          sums = Cells(one, tile, first, row(image, w), weights, v.channel, v.left, std::move(sums));
        }
        Hand(b_.Add(dst, v.channel), channels(), v.channel, v.left, dst, sums);
      }
    });
  }

  void Step(Val step) {
    const Val row = b_.Div(step, image_steps()), j1 = b_.Rem(step, image_steps());
    const Val image = b_.Div(row, p_.axis[0].dst), j0 = b_.Rem(row, p_.axis[0].dst);
    const ConvAxis& axis = p_.axis[1];
    const Val first = b_.Mul(b_.Add(b_.Mul(row, axis.dst), b_.Mul(j1, step_rows())), row_floats());
    for (const AxisPhase& phase : axis.phases) {
      const auto rows = [&](int64_t count = 1) {
        Rows(phase, image, j0, b_.Mul(j1, together_), count, b_.Add(first, b_.I64(phase.first * row_floats())), first);
      };
      if (together_ > 1) {
        const int64_t rest = axis.dst % together_;
        const Val whole = b_.Binary(IrOp::kLt, j1, b_.I64(axis.dst / together_));
        if (rest == 0) {
          rows(together_);
        } else {
          b_.If(whole, [&] { rows(together_); });
          b_.If(b_.Unary(IrOp::kNot, whole), [&] { rows(rest); });
        }
      } else if (phase.count == image_steps()) {
        rows();
      } else {
        b_.If(b_.Binary(IrOp::kLt, j1, b_.I64(phase.count)), [&] { rows(); });
      }
    }
    if (short_epilogue_) return;
    Val count = b_.I64(step_floats());
    if (axis.dst % step_rows() != 0) {
      const Val left = b_.Add(b_.I64(axis.dst), b_.Mul(j1, -step_rows()));
      count = b_.Min(count, b_.Mul(left, row_floats()));
    }
    EmitRange(b_, *epilogue_,
              {.buffer = sums_,
               .base = b_.I64(0),
               .flat = first,
               .count = count,
               .whole = row_floats() % kLanes == 0,
               .aligned = row_floats() % kLanes == 0,
               .blocks = row_floats() % kRandomBlock == 0});
  }

  // `count` rows of outputs, the first of which is `j1`, from element `dst` on, of a step from `first` on.
  void Rows(const AxisPhase& phase, Val image, Val j0, Val j1, int64_t count, Val dst, Val first) {
    for (size_t k = 0; k < rows_.size(); ++k) {
      const Class one{{&p_.axis[0].phases[0], &phase, &p_.axis[2].phases[k]}, &rows_[k]};
      const auto window_row = [&](Val w, int64_t r) { return RowOfWindow(one, image, j0, b_.Add(j1, b_.I64(r)), w); };
      if (one.taps() > kStraightTaps) {
        LoopedRow(
            one, [&](Val w) { return window_row(w, 0); }, dst, first);
      } else {
        StraightRows(one, window_row, count, dst, first);
      }
    }
  }

  WindowRow RowOfWindow(const Class& one, Val image, Val j0, Val j1, Val w) {
    Val inside = kNoVal, at = image, position = b_.I64(0);
    const auto coordinate = [&](int a, Val j, Val tap) {
      const ConvAxis& axis = p_.axis[a];
      const AxisPhase& phase = *one.phase[a];
      const Val x = b_.Add(b_.Add(b_.Mul(j, axis.advance), b_.Mul(tap, phase.delta)), b_.I64(phase.base));
      at = b_.Add(b_.Mul(at, axis.src), x);
      position = b_.Add(b_.Mul(position, axis.window), b_.Add(b_.Mul(tap, phase.period), b_.I64(phase.position)));
      const auto check = [&](Val in) { inside = inside == kNoVal ? in : b_.Binary(IrOp::kAnd, inside, in); };
      const bool known = b_.IsConst(tap);
      const int64_t low = phase.base + (known ? b_.ConstBits(tap) * phase.delta : 0);
      const int64_t high =
          phase.base + (known ? b_.ConstBits(tap) : phase.taps - 1) * phase.delta + (phase.count - 1) * axis.advance;
      if (low < 0) check(b_.Binary(IrOp::kLe, b_.I64(0), x));
      if (high >= axis.src) check(b_.Binary(IrOp::kLt, x, b_.I64(axis.src)));
    };
    coordinate(0, j0, b_.Div(w, one.phase[1]->taps));
    coordinate(1, j1, b_.Rem(w, one.phase[1]->taps));
    // A row outside has no lanes; it takes the address of the first that there is.
    if (inside != kNoVal) at = b_.Select(inside, at, b_.I64(0));
    // The filter of an input gradient lies backwards.
    Val tap = b_.Add(b_.Mul(position, p_.axis[2].window), b_.I64(one.phase[2]->position));
    if (p_.transposed) tap = b_.Add(b_.I64(p_.taps() - 1), b_.Mul(tap, -1));
    return {.src = b_.Mul(at, p_.axis[2].src * channels()), .filter = b_.Mul(tap, channels()), .inside = inside};
  }

  // All channels of a tile before the next tile, so that memory is read in order. body(tile, its first output, its
  // element, channel, lanes that exist) for every `vectors` vectors of channels.
  template <class Body>
  void EachTile(const Class& one, Val dst, int64_t vectors, const Body& body) {
    one.row->ForTiles(b_, {}, [&](const DepthwiseRow::Tile& tile, Val begin, const std::vector<Val>& none) {
      const Val to = b_.Add(b_.Add(dst, b_.I64(one.phase[2]->first * channels())), b_.Mul(begin, tile_step()));
      const auto vector = [&](Val c) {
        body(tile, begin, to, c, channels() % kLanes == 0 ? kNoVal : b_.Add(b_.I64(channels()), b_.Mul(c, -1)));
      };
      if (channels() <= vectors * kLanes) {
        vector(b_.I64(0));
      } else {
        b_.Loop(b_.I64(0), b_.I64(channels()), vectors * kLanes, vector);
      }
      return none;
    });
  }
  int64_t tile_step() const { return p_.axis[2].step * channels(); }  // from output to output
  std::vector<Val> Zeros(int64_t count) { return std::vector<Val>(static_cast<size_t>(count), b_.F32(0, kLanes)); }

  // A row of outputs, whose window's rows are a loop.
  template <class RowOf>
  void LoopedRow(const Class& one, const RowOf& window_row, Val dst, Val first) {
    EachTile(one, dst, 1, [&](const DepthwiseRow::Tile& tile, Val begin, Val to, Val c, Val left) {
      const std::vector<Val> sums =
          b_.For(b_.I64(0), b_.I64(one.rows()), 1, Zeros(tile.size), [&](Val w, const std::vector<Val>& acc) {
            const WindowRow row = window_row(w);
            return Cells(one, tile, begin, row, Weights(one, row, c, left), c, left, acc);
          });
      Hand(b_.Add(to, c), tile_step(), c, left, first, sums);
    });
  }

  // Some rows of outputs, and what they read.
  struct Band {
    struct SourceRow {
      WindowRow row;
      std::vector<std::pair<int64_t, int64_t>> uses;  // row of outputs, row of the window
    };
    int64_t count = 0;              // rows of outputs
    std::vector<WindowRow> window;  // of the first
    std::vector<SourceRow> source;  // from the first on
    std::vector<size_t> last;       // of each row of outputs, the row of the source that completes it
  };
  template <class RowOf>
  Band BandOf(const Class& one, const RowOf& window_row, int64_t count) {
    Band band{.count = count, .window = {}, .source = {}, .last = std::vector<size_t>(static_cast<size_t>(count))};
    std::map<int64_t, Band::SourceRow> source;  // by distance from the first
    for (int64_t w = 0; w < one.rows(); ++w) band.window.push_back(window_row(b_.I64(w), 0));
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t w = 0; w < one.rows(); ++w) {
        const int64_t distance = count == 1 ? w : r * p_.axis[1].advance + w * one.phase[1]->delta;
        Band::SourceRow& s = source[distance];
        if (s.uses.empty()) s.row = r == 0 ? band.window[static_cast<size_t>(w)] : window_row(b_.I64(w), r);
        s.uses.emplace_back(r, w);
      }
    }
    for (auto& [distance, s] : source) {
      for (const auto& [r, w] : s.uses) band.last[static_cast<size_t>(r)] = band.source.size();
      band.source.push_back(std::move(s));
    }
    return band;
  }

  // Some rows of outputs: each row of the source that they meet is read once.
  template <class RowOf>
  void StraightRows(const Class& one, const RowOf& window_row, int64_t count, Val dst, Val first) {
    const Band band = BandOf(one, window_row, count);
    if (staged_ > 0) return StagedRows(one, band, dst);
    EachTile(one, dst, vectors_, [&](const DepthwiseRow::Tile& tile, Val begin, Val to, Val c, Val left) {
      std::vector<Val> channel;
      for (int64_t v = 0; v < vectors_; ++v) channel.push_back(b_.Add(c, b_.I64(v * kLanes)));
      TileOfBand(one, band, tile, begin, channel, left, [&](int64_t r, size_t v, const std::vector<Val>& sums) {
        const Val row = b_.Add(to, b_.I64(r * row_floats()));
        Hand(b_.Add(row, channel[v]), tile_step(), channel[v], left, first, sums);
      });
    });
  }

  void StagedRows(const Class& one, const Band& band, Val dst) {
    EachTile(one, dst, staged_, [&](const DepthwiseRow::Tile& tile, Val begin, Val to, Val c, Val left) {
      const int64_t pixel = staged_ * kLanes, row = tile.size * pixel;
      b_.Loop(b_.I64(0), b_.I64(pixel), kLanes, [&](Val v) {
        const std::vector<Val> channel = {b_.Add(c, v)};
        TileOfBand(one, band, tile, begin, channel, left, [&](int64_t r, size_t, const std::vector<Val>& sums) {
          for (size_t j = 0; j < sums.size(); ++j)
            b_.Store(sums_, sums[j], b_.Add(v, b_.I64(r * row + static_cast<int64_t>(j) * pixel)));
        });
      });
      for (int64_t r = 0; r < band.count; ++r) {
        b_.Loop(b_.I64(0), b_.I64(tile.size), 1, [&](Val j) {
          const Val stage = b_.Add(b_.Mul(j, pixel), b_.I64(r * row));
          const Val pixel_dst = b_.Add(b_.Add(to, b_.I64(r * row_floats())), b_.Add(b_.Mul(j, tile_step()), c));
          std::vector<Val> sums;
          std::vector<Point> points;
          for (int64_t v = 0; v < staged_; ++v) {
            const Val vector = b_.I64(v * kLanes);
            sums.push_back(b_.Load(sums_, b_.Add(stage, vector), kLanes));
            points.push_back(PointAt(b_.Add(pixel_dst, vector), b_.Add(c, vector), left));
          }
          epilogue_->Emit(points, sums);
        });
      }
    });
  }

  // A tile of a band's outputs, of vectors of channels: hand(row, vector, sums) as soon as a row of them is complete.
  template <class HandRow>
  void TileOfBand(const Class& one, const Band& band, const DepthwiseRow::Tile& tile, Val begin,
                  const std::vector<Val>& channel, Val left, const HandRow& hand) {
    if (far_) {
      for (Val vector : channel) FetchAhead(one, tile, begin, band, vector);
    }
    // By rows of the window, and of outputs; then by vectors. No tap at all meets some phases' outputs.
    std::vector<std::vector<Val>> weights(band.window.size() * channel.size());
    std::vector<std::vector<Val>> sums(static_cast<size_t>(band.count) * channel.size(), Zeros(tile.size));
    const auto at = [&](int64_t row, size_t v) { return static_cast<size_t>(row) * channel.size() + v; };
    for (size_t k = 0; k < band.source.size(); ++k) {
      const Band::SourceRow& s = band.source[k];
      for (size_t v = 0; v < channel.size(); ++v) {
        for (const auto& [r, w] : s.uses) {
          if (weights[at(w, v)].empty())
            weights[at(w, v)] = Weights(one, band.window[static_cast<size_t>(w)], channel[v], left);
        }
      }
      EachCell(one, tile, begin, s.row, channel, left, [&](const DepthwiseRow::Cell& cell, size_t v, Val x) {
        for (const auto& [r, w] : s.uses) AddTerms(cell, x, weights[at(w, v)], sums[at(r, v)]);
      });
      for (const auto& [r, w] : s.uses) {
        if (band.last[static_cast<size_t>(r)] != k) continue;
        for (size_t v = 0; v < channel.size(); ++v) hand(r, v, sums[at(r, v)]);
      }
    }
    if (!band.source.empty()) return;
    for (int64_t r = 0; r < band.count; ++r) {
      for (size_t v = 0; v < channel.size(); ++v) hand(r, v, sums[at(r, v)]);
    }
  }

  // Of the source's rows the last ones, which the outputs before did not read.
  void FetchAhead(const Class& one, const DepthwiseRow::Tile& tile, Val begin, const Band& band, Val c) {
    const auto rows = static_cast<int64_t>(band.source.size()), cells = static_cast<int64_t>(tile.cells.size());
    for (int64_t s = std::max<int64_t>(0, rows - band.count * p_.axis[1].advance); s < rows; ++s) {
      const Val src = b_.Add(band.source[static_cast<size_t>(s)].row.src, c);
      for (int64_t k = std::max<int64_t>(0, cells - tile.size * p_.axis[2].advance); k < cells; ++k) {
        const Val column = b_.Mul(one.row->Column(b_, begin, tile.cells[static_cast<size_t>(k)]), channels());
        b_.Prefetch(src_, b_.Add(b_.Add(src, column), b_.I64(fetch_.ahead)), fetch_.to_first);
      }
    }
  }

  // A row of the window, of channels `c` on.
  std::vector<Val> Weights(const Class& one, const WindowRow& row, Val c, Val left) {
    std::vector<Val> weights;
    const int64_t step = one.phase[2]->period * (p_.transposed ? -channels() : channels());
    for (int64_t k = 0; k < one.phase[2]->taps; ++k)
      weights.push_back(b_.Load(filter_, b_.Add(b_.Add(row.filter, c), b_.I64(k * step)), kLanes, left));
    return weights;
  }

  // body(cell, vector, its value) for the cells that a tile reads of a row, of vectors of channels.
  template <class Body>
  void EachCell(const Class& one, const DepthwiseRow::Tile& tile, Val begin, const WindowRow& row,
                std::span<const Val> channel, Val left, const Body& body) {
    const Val lanes = left == kNoVal ? b_.I64(kLanes) : left;
    const Val count = row.inside == kNoVal ? left : b_.Select(row.inside, lanes, b_.I64(0));
    for (size_t k = 0; k < tile.cells.size(); ++k) {
      const DepthwiseRow::Cell& cell = tile.cells[k];
      const Val column = b_.Mul(one.row->Column(b_, begin, cell), channels());
      for (size_t v = 0; v < channel.size(); ++v) {
        const Val at = b_.Add(b_.Add(row.src, channel[v]), column);
        body(cell, v, tile.inside[k] ? b_.Load(src_, at, kLanes, count) : b_.F32(0, kLanes));
      }
    }
  }
  void AddTerms(const DepthwiseRow::Cell& cell, Val x, const std::vector<Val>& weights, std::vector<Val>& sums) {
    for (const auto& [output, tap] : cell.uses) {
      Val& sum = sums[static_cast<size_t>(output)];
      sum = b_.Fma(x, weights[static_cast<size_t>(tap)], sum);
    }
  }
  std::vector<Val> Cells(const Class& one, const DepthwiseRow::Tile& tile, Val begin, const WindowRow& row,
                         const std::vector<Val>& weights, Val c, Val left, std::vector<Val> sums) {
    EachCell(one, tile, begin, row, std::span(&c, 1), left,
             [&](const DepthwiseRow::Cell& cell, size_t, Val x) { AddTerms(cell, x, weights, sums); });
    return sums;
  }

  Point PointAt(Val flat, Val c, Val left) const {
    return {.flat = flat, .count = left, .aligned = channels() % kLanes == 0, .in_row = true, .column = c};
  }
  // Sums of outputs `step` floats apart from `dst` on.
  void Hand(Val dst, int64_t step, Val c, Val left, Val first, const std::vector<Val>& sums) {
    std::vector<Point> points;
    for (size_t j = 0; j < sums.size(); ++j)
      points.push_back(PointAt(b_.Add(dst, b_.I64(static_cast<int64_t>(j) * step)), c, left));
    if (short_epilogue_) {
      epilogue_->Emit(points, sums);
      return;
    }
    for (size_t j = 0; j < sums.size(); ++j) b_.Store(sums_, sums[j], b_.Add(points[j].flat, b_.Mul(first, -1)), left);
  }

  const Cluster& cluster_;
  const ConvProblem& p_;
  KernelBuilder b_;
  const bool short_epilogue_;
  std::vector<DepthwiseRow> rows_;  // of each phase of the last axis
  int64_t together_ = 1;            // rows of outputs of one phase in a step
  int64_t vectors_ = 1;             // of channels at a time
  int64_t staged_ = 0;              // vectors of channels whose sums are staged, if any
  ClusterIr* epilogue_ = nullptr;
  ScratchSpace scratch_{b_};
  int src_ = -1, filter_ = -1, sums_ = -1;
  RowFetch fetch_;
  bool far_ = false;
};

}  // namespace

std::optional<Lowering> LowerDepthwiseConv(const Cluster& cluster, const TileLimits& limits) {
  if (cluster.prologue > 0 || cluster.tail) return std::nullopt;
  const ConvProblem problem = ConvProblemOf(*cluster.graph, cluster.node(*cluster.anchor), nullptr);
  if (!problem.depthwise || problem.multiplier > 1) return std::nullopt;
  DepthwiseConv conv(cluster, problem, limits);
  if (!conv.Fits()) return std::nullopt;
  return conv.Lower();
}

}  // namespace weir::jit
