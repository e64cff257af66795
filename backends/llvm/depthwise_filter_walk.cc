// Filter gradients of depthwise convolutions, row by row of x. Pixels of many channels, a power of two of them above
// all, share few sets of the first-level cache: what is read twice comes from the next cache again. So each row of x is
// read once, in place, and meets all the rows of dy that it has terms with. Those wait in a ring of scratch where a
// vector's pixels are neighbours; a row of dy is copied to it as it meets its first row of x. Sums of all taps are held
// in registers for some rows where these are long; else only those of a row of the window at its turn, for which the
// row of x is in registers.
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
    const Place& near = p_.held_sums ? sums : sums_;
    task_.Clear(near);
    b_.Loop(first_image, b_.Add(first_image, images), 1, [&](Val image) { Image(image, near); });
    if (p_.held_sums) return;
    b_.Loop(b_.I64(0), b_.I64(p_.window_rows), 1, [&](Val window_row) {
      task_.EachVector(
          [&](const Channels& c) { task_.StoreTaps(task_.LoadTaps(near, window_row, 1, c), sums, window_row, c); });
    });
  }

 private:
  // A number that is in [least, most].
  struct Round {
    Val number = kNoVal;
    int64_t least = 0, most = 0;
  };
  enum class Is : uint8_t { kNever, kSometimes, kAlways };
  // Whether number * factor + add is in [0, size).
  static Is Within(const Round& round, int64_t factor, int64_t add, int64_t size) {
    const int64_t least = round.least * factor + add, most = round.most * factor + add;
    if (most < 0 || least >= size) return Is::kNever;
    return least >= 0 && most < size ? Is::kAlways : Is::kSometimes;
  }
  Val IsWithin(Val value, int64_t size) {
    return b_.Binary(IrOp::kAnd, b_.Binary(IrOp::kLe, b_.I64(0), value), b_.Binary(IrOp::kLt, value, b_.I64(size)));
  }

  // A row of dy and the row of the window that meet in a row of x.
  struct Meeting {
    int64_t window_row = 0;
    bool arrives = false;  // with this round
    Is exists = Is::kAlways;
    Val row = kNoVal;     // of dy
    Val pixels = kNoVal;  // its first element in memory,
    Val ring = kNoVal;    // and in the ring
  };

  void Image(Val image, const Place& sums) {
    const int64_t first = p_.ring_rows() - 1, rows = rows_.output, rounds = rows + first;
    if (!p_.held_sums) {
      b_.Loop(b_.I64(0), b_.I64(rounds), 1, [&](Val round) {
        task_.EachVector([&](const Channels& c) { OfRound(image, {round, 0, rounds - 1}, c, {}); });
      });
      return;
    }
    // Each round before the first and after the last that all rows of the window meet rows of dy in has its own code.
    const auto single = [&](int64_t begin, int64_t end) {
      Held(sums, [&](const Channels& c, std::vector<Val> taps) {
        for (int64_t round = begin; round < end; ++round)
          taps = OfRound(image, {b_.I64(round), round, round}, c, std::move(taps));
        return taps;
      });
    };
    if (first >= rows) return single(0, rounds);
    if (first > 0) single(0, first);
    b_.Loop(b_.I64(first), b_.I64(rows), p_.band_rows, [&](Val from) {
      const Val to = b_.Min(b_.I64(rows), b_.Add(from, b_.I64(p_.band_rows)));
      Held(sums, [&](const Channels& c, const std::vector<Val>& taps) {
        return b_.For(from, to, 1, taps, [&](Val round, const std::vector<Val>& carried) {
          return OfRound(image, {round, first, rows - 1}, c, carried);
        });
      });
    });
    if (first > 0) single(rows, rounds);
  }
  // body(vector, its sums of all taps) returns the sums with what it adds.
  template <class Body>
  void Held(const Place& sums, const Body& body) {
    task_.EachVector([&](const Channels& c) {
      task_.StoreTaps(body(c, task_.LoadTaps(sums, b_.I64(0), p_.window_rows, c)), sums, b_.I64(0), c);
    });
  }

  // Returns the sums of all taps if those are held.
  std::vector<Val> OfRound(Val image, const Round& round, const Channels& c, std::vector<Val> sums) {
    for (int64_t step = 0; step < rows_.stride; ++step) sums = SourceRow(image, round, step, c, std::move(sums));
    return sums;
  }

  std::vector<Meeting> Meetings(Val image, const Round& round, int64_t step, const Channels& c) {
    std::vector<Meeting> meetings;
    for (int64_t i = 0; i < rows_.window; ++i) {
      const int64_t distance = i * rows_.dilation - step;
      if (distance < 0 || distance % rows_.stride != 0) continue;
      const int64_t back = distance / rows_.stride;  // rounds since the row of dy came
      Meeting m{.window_row = i, .arrives = distance == 0 && step == 0};
      m.exists = Within(round, 1, -back, rows_.output);
      if (m.exists == Is::kNever) continue;
      m.row = b_.Add(round.number, b_.I64(-back));
      m.pixels = b_.Mul(b_.Add(b_.Mul(image, rows_.output), m.row), width_ * p_.g.out_channels);
      const Val slot = b_.Mul(b_.Rem(m.row, p_.ring_rows()), task_.most_channels() * width_);
      m.ring = b_.Add(slot, b_.Mul(c.of_task, width_));
      meetings.push_back(m);
    }
    return meetings;
  }

  std::vector<Val> SourceRow(Val image, const Round& round, int64_t step, const Channels& c, std::vector<Val> sums) {
    const std::vector<Meeting> meetings = Meetings(image, round, step, c);
    if (meetings.empty()) return sums;
    const Val y = b_.Add(b_.Mul(round.number, rows_.stride), b_.I64(step - rows_.pad_before));
    const Is inside = Within(round, rows_.stride, step - rows_.pad_before, rows_.input);
    Val count = c.left, line = b_.Add(b_.Mul(image, p_.g.axis[0].input * rows_.input), y);
    if (inside != Is::kAlways) {
      // A row outside has no lanes; it takes the address of the first that there is.
      const Val is = IsWithin(y, rows_.input);
      count = b_.Select(is, c.left == kNoVal ? b_.I64(kLanes) : c.left, b_.I64(0));
      line = b_.Select(is, line, b_.I64(0));
    }
    const Val at = b_.Add(b_.Mul(line, p_.g.axis[2].input * p_.g.in_channels), c.first);
    return row_.ForTiles(
        b_, std::move(sums), [&](const DepthwiseRow::Tile& tile, Val first, const std::vector<Val>& carried) {
          const auto load = [&](size_t cell) {
            return inside == Is::kNever || !tile.inside[cell] ? b_.F32(0, kLanes) : LoadX(at, first, tile, cell, count);
          };
          if (p_.held_sums) return AddTerms(meetings, tile, first, load, c, carried);
          std::vector<Val> x;
          for (size_t k = 0; k < tile.cells.size(); ++k) x.push_back(load(k));
          for (const Meeting& m : meetings) {
            const auto meet = [&] {
              Meeting only = m;
              only.window_row = 0;
              std::vector<Val> taps = task_.LoadTaps(sums_, b_.I64(m.window_row), 1, c);
              taps = AddTerms({only}, tile, first, [&](size_t cell) { return x[cell]; }, c, std::move(taps));
              task_.StoreTaps(taps, sums_, b_.I64(m.window_row), c);
            };
            if (m.exists == Is::kAlways) {
              meet();
            } else {
              b_.If(IsWithin(m.row, rows_.output), meet);
            }
          }
          return carried;
        });
  }

  Val LoadX(Val at, Val first, const DepthwiseRow::Tile& tile, size_t cell, Val count) {
    const Val column = b_.Mul(row_.Column(b_, first, tile.cells[cell]), p_.g.in_channels);
    if (p_.fetch_next) b_.Prefetch(task_.x(), b_.Add(b_.Add(at, column), b_.I64(kLanes)));
    return b_.Load(task_.x(), b_.Add(at, column), kLanes, count);
  }

  // The terms of some rows of the window, whose sums are `sums`, output by output.
  template <class LoadCell>
  std::vector<Val> AddTerms(const std::vector<Meeting>& meetings, const DepthwiseRow::Tile& tile, Val first,
                            const LoadCell& load, const Channels& c, std::vector<Val> sums) {
    // The cell and the tap of each output's terms.
    std::vector<std::vector<std::pair<size_t, size_t>>> terms(static_cast<size_t>(tile.size));
    for (size_t k = 0; k < tile.cells.size(); ++k) {
      for (const auto& [output, tap] : tile.cells[k].uses)
        terms[static_cast<size_t>(output)].emplace_back(k, static_cast<size_t>(tap));
    }
    std::vector<Val> x(tile.cells.size(), kNoVal);
    for (int64_t j = 0; j < tile.size; ++j) {
      for (const auto& [cell, tap] : terms[static_cast<size_t>(j)]) {
        if (x[cell] == kNoVal) x[cell] = load(cell);
      }
      for (const Meeting& m : meetings) {
        const Val dy = LoadDy(m, b_.Add(first, b_.I64(j)), c);
        for (const auto& [cell, tap] : terms[static_cast<size_t>(j)]) {
          Val& sum = sums[static_cast<size_t>(m.window_row * p_.columns) + tap];
          sum = b_.Fma(x[cell], dy, sum);
        }
      }
    }
    return sums;
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
