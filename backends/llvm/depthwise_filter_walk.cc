// Filter gradients of depthwise convolutions, row by row of x. Pixels of many channels, a power of two of them above
// all, share few sets of the first-level cache: what is read twice comes from the next cache again. So each row of x is
// read once, in place, and meets all the rows of dy that it has terms with. Those wait in a ring of scratch where a
// vector's pixels are neighbours; a row of dy is copied to it as it meets its first row of x. Of long rows all vectors
// take their turns at a tile, with the sums of all taps in registers, so that memory is read in order; of short ones a
// vector has the whole row in registers, and the sums of a row of the window at its turn.
//
// Every sum meets its positions in their order, as rows of x ascend, and in a row its columns.
#include <algorithm>
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
    const auto of_round = [&](const Round& round) {
      for (int64_t step = 0; step < rows_.stride; ++step) SourceRow(image, round, step, sums);
    };
    if (!p_.held_sums) {
      b_.Loop(b_.I64(0), b_.I64(rounds), 1, [&](Val round) { of_round({round, 0, rounds - 1}); });
      return;
    }
    // Each round before the first and after the last that all rows of the window meet rows of dy in has its own code.
    for (int64_t round = 0; round < std::min(first, rounds); ++round) of_round({b_.I64(round), round, round});
    if (first < rows) b_.Loop(b_.I64(first), b_.I64(rows), 1, [&](Val round) { of_round({round, first, rows - 1}); });
    for (int64_t round = std::max(first, rows); round < rounds; ++round) of_round({b_.I64(round), round, round});
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

  // A row of x, for one vector: its first element, the lanes that it has, or none if it has all, and what it meets.
  struct Source {
    Is inside = Is::kAlways;
    Val at = kNoVal, count = kNoVal;
    std::vector<Meeting> meetings;
  };
  Source SourceOf(Val image, const Round& round, int64_t step, const Channels& c) {
    Source source{.inside = Within(round, rows_.stride, step - rows_.pad_before, rows_.input),
                  .count = c.left,
                  .meetings = Meetings(image, round, step, c)};
    const Val y = b_.Add(b_.Mul(round.number, rows_.stride), b_.I64(step - rows_.pad_before));
    Val line = b_.Add(b_.Mul(image, p_.g.axis[0].input * rows_.input), y);
    if (source.inside != Is::kAlways) {
      // A row outside has no lanes; it takes the address of the first that there is.
      const Val is = IsWithin(y, rows_.input);
      source.count = b_.Select(is, c.left == kNoVal ? b_.I64(kLanes) : c.left, b_.I64(0));
      line = b_.Select(is, line, b_.I64(0));
    }
    source.at = b_.Add(b_.Mul(line, p_.g.axis[2].input * p_.g.in_channels), c.first);
    return source;
  }

  void SourceRow(Val image, const Round& round, int64_t step, const Place& sums) {
    const auto each_tile = [&](const auto& body) {
      row_.ForTiles(b_, {}, [&](const DepthwiseRow::Tile& tile, Val first, const std::vector<Val>& none) {
        body(tile, first);
        return none;
      });
    };
    if (p_.held_sums) {
      each_tile([&](const DepthwiseRow::Tile& tile, Val first) {
        task_.EachVector([&](const Channels& c) {
          const Source source = SourceOf(image, round, step, c);
          if (source.meetings.empty()) return;
          const auto load = [&](size_t cell) { return LoadX(source, first, tile, cell); };
          std::vector<Val> taps = task_.LoadTaps(sums, b_.I64(0), p_.window_rows, c);
          taps = AddTerms(source.meetings, tile, first, load, c, std::move(taps));
          task_.StoreTaps(taps, sums, b_.I64(0), c);
        });
      });
      return;
    }
    task_.EachVector([&](const Channels& c) {
      const Source source = SourceOf(image, round, step, c);
      if (source.meetings.empty()) return;
      each_tile([&](const DepthwiseRow::Tile& tile, Val first) { MeetInTurn(source, tile, first, c, sums); });
    });
  }

  // Rows of the window one after the other, whose cells of x are in registers.
  void MeetInTurn(const Source& source, const DepthwiseRow::Tile& tile, Val first, const Channels& c,
                  const Place& sums) {
    std::vector<Val> x;
    for (size_t k = 0; k < tile.cells.size(); ++k) x.push_back(LoadX(source, first, tile, k));
    for (const Meeting& m : source.meetings) {
      const auto meet = [&] {
        Meeting only = m;
        only.window_row = 0;
        std::vector<Val> taps = task_.LoadTaps(sums, b_.I64(m.window_row), 1, c);
        taps = AddTerms(
            {only}, tile, first, [&](size_t cell) { return x[cell]; }, c, std::move(taps));
        task_.StoreTaps(taps, sums, b_.I64(m.window_row), c);
      };
      if (m.exists == Is::kAlways) {
        meet();
      } else {
        b_.If(IsWithin(m.row, rows_.output), meet);
      }
    }
  }

  Val LoadX(const Source& source, Val first, const DepthwiseRow::Tile& tile, size_t cell) {
    if (source.inside == Is::kNever || !tile.inside[cell]) return b_.F32(0, kLanes);
    const Val column = b_.Mul(row_.Column(b_, first, tile.cells[cell]), p_.g.in_channels);
    const Val at = b_.Add(source.at, column);
    if (p_.fetch_next) b_.Prefetch(task_.x(), b_.Add(at, b_.I64(kLanes)));
    return b_.Load(task_.x(), at, kLanes, source.count);
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
