#include "weir/backends/llvm/depthwise_filter_ir.h"

namespace weir::jit {

DepthwiseFilterIr::DepthwiseFilterIr(KernelBuilder& builder, const DepthwiseFilterPlan& plan, int x_input, int dy_input)
    : b_(builder),
      p_(plan),
      x_(b_.Buffer({IrBuffer::Kind::kInput, x_input, Elem::kF32, 0})),
      dy_(b_.Buffer({IrBuffer::Kind::kInput, dy_input, Elem::kF32, 0})) {
  const Val task = b_.Task();
  if (p_.by_groups) group_ = b_.Rem(task, p_.group_tasks());
  const Val rest = b_.Div(task, p_.group_tasks());
  const Val channels = b_.I64(p_.g.out_channels);
  first_ = b_.Mul(b_.Rem(rest, p_.channel_tasks()), most_channels());
  end_ = p_.channel_tasks() == 1 ? channels : b_.Min(b_.Add(first_, b_.I64(most_channels())), channels);
  if (p_.by_chunks) chunk_ = b_.Div(rest, p_.channel_tasks());
}

void DepthwiseFilterIr::Clear(const Place& sums) const {
  EachTap([&](Val tap) {
    b_.Loop(b_.I64(0), channels(), kLanes, [&](Val c) {
      const Val left = p_.g.out_channels % kLanes == 0 ? kNoVal : Sub(channels(), c);
      b_.Store(sums.buffer, b_.F32(0, kLanes), b_.Add(b_.Add(sums.at, b_.Mul(tap, sums.pitch)), c), left);
    });
  });
}

Val DepthwiseFilterIr::At(const Place& place, Val window_row, int64_t tap, const Channels& c) const {
  const Val row = b_.Add(place.at, b_.Mul(window_row, p_.columns * place.pitch));
  return b_.Add(b_.Add(row, b_.I64(tap * place.pitch)), c.of_task);
}

std::vector<Val> DepthwiseFilterIr::LoadTaps(const Place& place, Val window_row, int64_t rows,
                                             const Channels& c) const {
  std::vector<Val> sums;
  for (int64_t tap = 0; tap < rows * p_.columns; ++tap)
    sums.push_back(b_.Load(place.buffer, At(place, window_row, tap, c), c.lanes, c.left));
  return sums;
}

void DepthwiseFilterIr::StoreTaps(const std::vector<Val>& sums, const Place& place, Val window_row,
                                  const Channels& c) const {
  for (size_t tap = 0; tap < sums.size(); ++tap)
    b_.Store(place.buffer, sums[tap], At(place, window_row, static_cast<int64_t>(tap), c), c.left);
}

}  // namespace weir::jit
