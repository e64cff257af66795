#include "weir/backends/llvm/winograd_source.h"

#include <algorithm>
#include <vector>

namespace weir::jit {
namespace {

constexpr int kCells = static_cast<int>(kWinogradCells);

}  // namespace

WinogradSource::Place WinogradSource::InPlace(const ConvProblem& problem, int buffer) {
  Place place{.buffer = buffer};
  int64_t stride = problem.src_channels;
  for (int a = 2; a >= 0; --a) {
    place.stride[a] = stride;
    stride *= problem.axis[a].src;
  }
  return place;
}

void WinogradSource::Cells(Val src, Val row, Val unit_row, Val channel) const {
  const int64_t pitch = unit_.pitch, channels = p_.src_channels;
  const Val to = b_.Mul(unit_row, unit_.row_cells() * pitch), from = b_.Add(src, channel);
  const auto transform = [&](Val begin, Val end, const auto& cell) {
    b_.Loop(begin, end, 1, [&](Val x) {
      b_.Loop(b_.I64(0), b_.I64(pitch), kLanes, [&](Val c) {
        const Val at = b_.Add(b_.Add(to, b_.Mul(x, pitch)), c);
        EmitTransform<IrWinograd::Source, kCells, kCells>(
            b_, [&](int i) { return cell(i, x, c); },
            [&](int i, Val v) { b_.Store(cells_, v, b_.Add(at, b_.I64(i * unit_.cells_row()))); });
      });
    });
  };
  const auto index = [&](int i, Val x, Val c) {
    return b_.Add(b_.Add(b_.Add(from, b_.I64(i * place_.stride[1])), b_.Mul(x, place_.stride[2])), c);
  };
  const Val all = b_.I64(unit_.row_cells());
  if (place_.copied) {
    transform(b_.I64(0), all, [&](int i, Val x, Val c) { return b_.Load(place_.buffer, index(i, x, c), kLanes); });
    return;
  }
  // Cells outside of the image are zeros: columns in front and behind, and whole rows, whose loads have no lanes. So have
  // those of vectors behind the last channel.
  const int64_t left = p_.axis[2].phases[0].base, top = p_.axis[1].phases[0].base;
  const int64_t begin = std::clamp<int64_t>(-left, 0, unit_.row_cells());
  const int64_t end = std::clamp<int64_t>(p_.axis[2].src - left, begin, unit_.row_cells());
  const auto zero = [&](int, Val, Val) { return b_.F32(0, kLanes); };
  if (begin > 0) transform(b_.I64(0), b_.I64(begin), zero);
  std::vector<Val> lanes;
  for (int i = 0; i < kCells; ++i) {
    const Val y = b_.Add(b_.Mul(row, kWinogradTile), b_.I64(top + i));
    const Val low = b_.Binary(IrOp::kLe, b_.I64(0), y), high = b_.Binary(IrOp::kLt, y, b_.I64(p_.axis[1].src));
    const Val left_of_channel = b_.Add(b_.I64(channels), b_.Mul(channel, -1));
    lanes.push_back(b_.Select(b_.Binary(IrOp::kAnd, low, high), left_of_channel, b_.I64(0)));
  }
  transform(b_.I64(begin), b_.I64(end), [&](int i, Val x, Val c) {
    Val count = lanes[static_cast<size_t>(i)];
    if (pitch > kLanes) count = b_.Add(count, b_.Mul(c, -1));
    return b_.Load(place_.buffer, index(i, x, c), kLanes, count);
  });
  if (end < unit_.row_cells()) transform(b_.I64(end), all, zero);
}

void WinogradSource::Elements(Val i, Val begin, Val end, Val to) const {
  const int64_t pitch = unit_.pitch;
  b_.Loop(begin, end, 1, [&](Val tile) {
    const Val row = b_.Div(tile, unit_.tile_columns), column = b_.Rem(tile, unit_.tile_columns);
    const Val cell = b_.Add(b_.Mul(row, unit_.row_cells()), b_.Mul(column, kWinogradTile));
    const Val from = b_.Add(b_.Mul(i, unit_.cells_row()), b_.Mul(cell, pitch));
    const Val at = b_.Add(to, b_.Mul(b_.Add(tile, b_.Mul(begin, -1)), pitch));
    b_.Loop(b_.I64(0), b_.I64(pitch), kLanes, [&](Val c) {
      EmitTransform<IrWinograd::Source, kCells, kCells>(
          b_, [&](int j) { return b_.Load(cells_, b_.Add(b_.Add(from, c), b_.I64(j * pitch)), kLanes); },
          [&](int j, Val v) { b_.Store(elements_, v, b_.Add(b_.Add(at, c), b_.I64(j * unit_.element()))); });
    });
  });
}

}  // namespace weir::jit
