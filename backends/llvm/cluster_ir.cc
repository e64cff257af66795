#include "weir/backends/llvm/cluster_ir.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>

#include "weir/core/rng.h"
#include "weir/ops/attrs.h"

namespace weir::jit {
namespace {

constexpr int64_t kMaxIndex = std::numeric_limits<int32_t>::max();
// Elements ahead that a pass past the caches fetches: a page, where what the processor fetches by itself ends. A relu of
// 200 MB gains 40 %.
constexpr int64_t kStreamAhead = 1024;

// Axes of a broadcast operand over the cluster's shape, those of size 1 dropped, neighbours merged.
void MergeAxes(const Shape& from, const Shape& to, std::vector<int64_t>& dims, std::vector<int64_t>& merged) {
  const Dims strides = BroadcastStrides(from, to);
  for (size_t axis = 0; axis < strides.size(); ++axis) {
    const int64_t dim = to.dim(static_cast<int>(axis)), stride = strides[axis];
    if (dim == 1) continue;
    if (!dims.empty() && merged.back() == stride * dim) {
      dims.back() *= dim;
      merged.back() = stride;
    } else {
      dims.push_back(dim);
      merged.push_back(stride);
    }
  }
}

}  // namespace

bool IsIrType(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kInt32 || dtype == DType::kInt64 || dtype == DType::kBool ||
         dtype == DType::kUint8;
}
Elem ElemOf(DType dtype) {
  switch (dtype) {
    case DType::kBool: return Elem::kBool;
    case DType::kUint8: return Elem::kU8;
    case DType::kInt32: return Elem::kI32;
    case DType::kInt64: return Elem::kI64;
    default: return Elem::kF32;
  }
}

std::optional<Decline> ClusterIr::NodeDecline(const Cluster& cluster, const Node& node) {
  const OpDef& op = *node.op;
  const TensorType& type = node.outputs[0];
  if (!IsIrType(type.dtype)) return Decline{StrCat(op.name, " of ", type.dtype, " is the reference's")};
  if (op.kind == OpKind::kConstant) return std::nullopt;
  if (op.kind == OpKind::kCounter) {
    if (op.name != "random_uniform") return Decline{StrCat("no lowering for ", op.name)};
    if (type.shape.size() > kMaxIndex) return Decline{"more random numbers than an index has bits for"};
    const Node& step = cluster.node(node.inputs[0].node);
    if (cluster.contains(node.inputs[0].node) && step.op->kind != OpKind::kConstant) {
      return Decline{"the step of random numbers is computed in the same cluster"};
    }
    return std::nullopt;
  }
  if (op.kind != OpKind::kElementwise || !ScalarOpFromName(op.name))
    return Decline{StrCat("no lowering for ", op.name)};
  for (Ref input : node.inputs) {
    const DType dtype = cluster.type(input).dtype;
    if (!IsIrType(dtype)) return Decline{StrCat(op.name, " of ", dtype, " is the reference's")};
    const Shape& shape = cluster.type(input).shape;
    if (shape.size() != 1 && shape.size() != type.shape.size() && type.shape.size() > kMaxIndex) {
      return Decline{"a broadcast beyond 32 bits of index"};
    }
  }
  return std::nullopt;
}

std::optional<Decline> ClusterIr::ClusterDecline(const Cluster& cluster) {
  for (NodeId id : cluster.nodes) {
    if (cluster.anchor == id || cluster.tail == id) continue;
    if (auto decline = NodeDecline(cluster, cluster.node(id))) return decline;
  }
  return std::nullopt;
}

ClusterIr::ClusterIr(KernelBuilder& builder, const Cluster& cluster, Part part)
    : b_(builder),
      cluster_(cluster),
      shape_(part == Part::kEpilogue ? cluster.shape : cluster.type(cluster.node(*cluster.anchor).inputs[0]).shape) {
  CollectNodes(part);
}

void ClusterIr::CollectNodes(Part part) {
  const auto recomputed = [&](Ref ref) {
    const OpKind kind = cluster_.node(ref.node).op->kind;
    return (kind == OpKind::kConstant || kind == OpKind::kCounter) && cluster_.contains(ref.node);
  };
  const std::function<void(Ref)> prepare = [&](Ref ref) {
    if (recomputed(ref)) {
      has_counter_ |= cluster_.node(ref.node).op->kind == OpKind::kCounter;
      for (Ref inner : cluster_.node(ref.node).inputs) prepare(inner);
      return;
    }
    const int input = cluster_.input_index(ref);
    if (input >= 0 && !sources_.contains(ref)) sources_[ref] = DescribeInput(input);
  };
  for (size_t i = 0; i < cluster_.nodes.size(); ++i) {
    const NodeId id = cluster_.nodes[i];
    if (cluster_.anchor == id || (i < cluster_.prologue) != (part == Part::kPrologue)) continue;
    if (cluster_.node(id).op->kind != OpKind::kElementwise) continue;
    nodes_.push_back(id);
    for (Ref ref : cluster_.node(id).inputs) prepare(ref);
  }
  for (size_t o = 0; o < cluster_.outputs.size(); ++o) {
    const Ref ref = cluster_.outputs[o];
    if (cluster_.in_prologue(ref.node) != (part == Part::kPrologue)) continue;
    if (cluster_.tail == ref.node || ref.output > 0) continue;  // stored by whoever computes them
    outputs_.push_back(o);
    if (recomputed(ref)) prepare(ref);  // random numbers by themselves
  }
  elementwise_nodes_ = static_cast<int64_t>(nodes_.size());
}

ClusterIr::Source ClusterIr::DescribeInput(int input) {
  const TensorType& type = cluster_.type(cluster_.inputs[static_cast<size_t>(input)]);
  Source source;
  source.dtype = type.dtype;
  const Elem elem = type.dtype == DType::kBool ? Elem::kU8 : ElemOf(type.dtype);
  source.buffer = b_.Buffer({IrBuffer::Kind::kInput, input, elem, 0});
  source.full = type.shape.size() == shape_.size();
  if (type.shape.size() == 1) {
    source.full = false;
    source.scalar = FromMemory(b_.Load(source.buffer, b_.I64(0), 1), type.dtype);
  } else if (!source.full) {
    MergeAxes(type.shape, shape_, source.dims, source.strides);
  }
  return source;
}

std::vector<int> ClusterIr::FullOperands() const {
  std::vector<int> buffers;
  for (const auto& [ref, source] : sources_) {
    if (source.full && source.dtype == DType::kFloat32) buffers.push_back(source.buffer);
  }
  return buffers;
}

Val ClusterIr::FromMemory(Val loaded, DType dtype) {
  if (dtype != DType::kBool) return loaded;
  return b_.Unary(IrOp::kNot, b_.Binary(IrOp::kEq, loaded, b_.Const(b_.type(loaded), 0)));
}

Val ClusterIr::ScalarOffset(const Source& source, const Point& point) {
  Val offset = b_.I64(0), flat = point.flat;
  for (size_t axis = source.dims.size(); axis-- > 0;) {
    const bool last = axis + 1 == source.dims.size() && source.dims[axis] == shape_.dim(-1);
    const Val index = last && point.column != kNoVal ? point.column
                      : axis == 0                    ? flat
                                                     : b_.Rem(flat, source.dims[axis]);
    if (source.strides[axis] != 0) offset = b_.Add(offset, b_.Mul(index, source.strides[axis]));
    if (axis > 0) flat = b_.Div(flat, source.dims[axis]);
  }
  return offset;
}

// i32 offsets of the lanes of a point.
Val ClusterIr::VectorOffset(const std::vector<int64_t>& dims, const std::vector<int64_t>& strides, const Point& point) {
  const IrType type{Elem::kI32, point.lanes};
  Val flat = b_.Splat(b_.Convert(point.flat, Elem::kI32), point.lanes);
  if (point.lanes > 1) flat = b_.Binary(IrOp::kAdd, flat, b_.Iota(type));
  Val offset = b_.Const(type, 0);
  for (size_t axis = dims.size(); axis-- > 0;) {
    const Val dim = b_.Const(type, dims[axis]);
    const Val index = axis == 0 ? flat : b_.Binary(IrOp::kRem, flat, dim);
    if (strides[axis] != 0) {
      offset = b_.Binary(IrOp::kAdd, offset, b_.Binary(IrOp::kMul, index, b_.Const(type, strides[axis])));
    }
    if (axis > 0) flat = b_.Binary(IrOp::kDiv, flat, dim);
  }
  return offset;
}

Val ClusterIr::Read(const Source& source, const Point& point) {
  if (source.scalar != kNoVal) return b_.Splat(source.scalar, point.lanes);
  if (source.full && streaming_) {
    b_.Prefetch(source.buffer, b_.Add(point.flat, b_.I64(kStreamAhead)), /*to_first=*/false);
  }
  if (source.full) return FromMemory(b_.Load(source.buffer, point.flat, point.lanes, point.count), source.dtype);
  if (point.lanes == 1) return FromMemory(b_.Load(source.buffer, ScalarOffset(source, point), 1), source.dtype);
  const int64_t inner = source.dims.back();
  const int64_t last = shape_.dim(-1);
  const bool one_row = (point.aligned && inner % kLanes == 0) || (point.in_row && inner % last == 0);
  if (!one_row) {
    return FromMemory(b_.Gather(source.buffer, VectorOffset(source.dims, source.strides, point), point.count),
                      source.dtype);
  }
  const Val offset = ScalarOffset(source, point);
  if (source.strides.back() == 0) {
    return b_.Splat(FromMemory(b_.Load(source.buffer, offset, 1), source.dtype), point.lanes);
  }
  return FromMemory(b_.Load(source.buffer, offset, point.lanes, point.count), source.dtype);
}

Val ClusterIr::ValueOf(Ref ref, const Point& point) {
  const auto known = values_.find(ref);
  if (known != values_.end()) return known->second;
  const OpKind kind = cluster_.node(ref.node).op->kind;
  if ((kind == OpKind::kConstant || kind == OpKind::kCounter) && cluster_.contains(ref.node)) {
    return values_[ref] = Compute(ref.node, point);
  }
  const auto source = sources_.find(ref);
  WEIR_CHECK(source != sources_.end(), ref, " is neither computed nor an input");
  return values_[ref] = Read(source->second, point);
}

Val ClusterIr::Compute(NodeId id, const Point& point) {
  const Node& node = cluster_.node(id);
  const DType dtype = node.outputs[0].dtype;
  if (node.op->kind == OpKind::kConstant) {
    return IrMath{&b_, ElemOf(dtype), point.lanes}.Const(node.attrs.Double(kValue));
  }
  if (node.op->kind == OpKind::kCounter) return Random(id, point, word_);
  const ScalarOp op = *ScalarOpFromName(node.op->name);
  if (op == ScalarOp::kGreaterEqual && IsDraw(node.inputs[0]) && IsConstant(node.inputs[1])) return IsKept(node, point);
  Val args[3] = {kNoVal, kNoVal, kNoVal};
  for (size_t i = 0; i < node.inputs.size(); ++i) args[i] = ValueOf(node.inputs[i], point);
  if (op == ScalarOp::kCast) {
    if (dtype == DType::kBool && b_.type(args[0]).elem != Elem::kBool) return FromMemory(args[0], DType::kBool);
    return b_.Convert(args[0], ElemOf(dtype));
  }
  // The type computed in: a select's is that of its branches.
  const Elem elem = ElemOf(cluster_.type(node.inputs.back()).dtype);
  const IrMath math{&b_, elem, point.lanes};
  if (op == ScalarOp::kSelect && elem == Elem::kBool) {
    return math.Or(math.And(args[0], args[1]), math.And(math.Not(args[0]), args[2]));
  }
  return ApplyScalarOp(math, op, ScalarParamsOf(op, node.attrs), args);
}

// ---- Random numbers --------------------------------------------------------------------------------------------------
Val ClusterIr::Step(const Node& node) const {
  const Ref step = node.inputs[0];
  if (!cluster_.contains(step.node)) return sources_.at(step).scalar;
  return b_.I64(IntegerMath<int64_t>::Const(cluster_.node(step.node).attrs.Double(kValue)));
}

// Each number of a counter stands in the lower half of a 64-bit lane, whatever the upper half holds: a product is then
// its own lower half, and one shift away from its upper one. Two vectors hold the counters of the even and odd lanes.
std::vector<Val> ClusterIr::Words(const Node& node, std::span<const Val> lows, int lanes) {
  if (packed_draws_ && lanes > 1) return PackedWords(node, lows, lanes);
  const auto key =
      PhiloxKey(static_cast<uint64_t>(node.attrs.Int(kSeed)), static_cast<uint64_t>(node.attrs.Int(kStream)));
  const int pairs = std::max(1, lanes / 2);
  const auto constant = [&](uint32_t number) { return b_.Const({Elem::kI64, pairs}, int64_t{number}); };
  const Val half = constant(0xFFFFFFFF);
  const Val steps = b_.Splat(Step(node), pairs), zero = constant(0);
  std::vector<std::array<Val, 4>> counters;
  const auto add = [&](Val first) { counters.push_back({first, zero, steps, b_.Unary(IrOp::kShr, steps, 32)}); };
  for (Val low : lows) {
    if (lanes == 1) {
      add(b_.Convert(low, Elem::kI64));
      continue;
    }
    const Val both = b_.Bits(low, Elem::kI64);
    add(both);
    add(b_.Unary(IrOp::kShr, both, 32));
  }
  // Round by round of all counters: a processor looks ahead over a few rounds only, and each waits for the one before.
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < kPhiloxRounds; ++round) {
    for (std::array<Val, 4>& c : counters) {
      const auto product = [&](Val number, uint32_t factor) {
        return b_.Binary(IrOp::kMul, b_.Binary(IrOp::kBitAnd, number, half), constant(factor));
      };
      const auto mixed = [&](Val wide, Val other, uint32_t k) {
        return b_.Binary(IrOp::kBitXor, b_.Binary(IrOp::kBitXor, b_.Unary(IrOp::kShr, wide, 32), other), constant(k));
      };
      const Val p0 = product(c[0], kPhiloxM0), p1 = product(c[2], kPhiloxM1);
      c = {mixed(p1, c[1], k0), p1, mixed(p0, c[3], k1), p0};
    }
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  std::vector<Val> words;
  for (size_t i = 0; i < counters.size(); i += lanes == 1 ? 1 : 2) {
    for (size_t w = 0; w < 4; ++w) {
      words.push_back(lanes == 1
                          ? b_.Convert(counters[i][w], Elem::kI32)
                          : b_.ZipEven(b_.Bits(counters[i][w], Elem::kI32), b_.Bits(counters[i + 1][w], Elem::kI32)));
    }
  }
  return words;
}

// The same where registers are few: every lane holds a number of a counter of its own, which halves the vectors. Upper
// halves of products are those of even and of odd lanes, blended; lower halves cost a product more.
std::vector<Val> ClusterIr::PackedWords(const Node& node, std::span<const Val> lows, int lanes) {
  const auto key =
      PhiloxKey(static_cast<uint64_t>(node.attrs.Int(kSeed)), static_cast<uint64_t>(node.attrs.Int(kStream)));
  const auto constant = [&](uint32_t number) { return b_.Const({Elem::kI32, lanes}, static_cast<int32_t>(number)); };
  const auto wide = [&](uint32_t number) { return b_.Const({Elem::kI64, lanes / 2}, int64_t{number}); };
  const Val step = Step(node);
  const auto splat = [&](Val number) { return b_.Splat(b_.Convert(number, Elem::kI32), lanes); };
  std::vector<std::array<Val, 4>> counters;
  for (Val low : lows) {
    counters.push_back({low, constant(0), splat(step), splat(b_.Unary(IrOp::kShr, step, 32))});
  }
  const auto upper = [&](Val numbers, uint32_t factor) {
    const Val pairs = b_.Bits(numbers, Elem::kI64);
    const Val even = b_.Binary(IrOp::kMul, b_.Binary(IrOp::kBitAnd, pairs, wide(0xFFFFFFFF)), wide(factor));
    const Val odd = b_.Binary(IrOp::kMul, b_.Unary(IrOp::kShr, pairs, 32), wide(factor));
    return b_.Blend(b_.Bits(b_.Unary(IrOp::kShr, even, 32), Elem::kI32), b_.Bits(odd, Elem::kI32));
  };
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < kPhiloxRounds; ++round) {
    for (std::array<Val, 4>& c : counters) {
      const auto mixed = [&](Val product, Val other, uint32_t k) {
        return b_.Binary(IrOp::kBitXor, b_.Binary(IrOp::kBitXor, product, other), constant(k));
      };
      c = {mixed(upper(c[2], kPhiloxM1), c[1], k0), b_.Binary(IrOp::kMul, c[2], constant(kPhiloxM1)),
           mixed(upper(c[0], kPhiloxM0), c[3], k1), b_.Binary(IrOp::kMul, c[0], constant(kPhiloxM0))};
    }
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  std::vector<Val> words;
  for (const std::array<Val, 4>& c : counters) words.insert(words.end(), c.begin(), c.end());
  return words;
}

bool ClusterIr::IsDraw(Ref ref) const {
  return cluster_.contains(ref.node) && cluster_.node(ref.node).op->kind == OpKind::kCounter;
}
bool ClusterIr::IsConstant(Ref ref) const {
  return cluster_.contains(ref.node) && cluster_.node(ref.node).op->kind == OpKind::kConstant;
}

// draw >= rate, dropout's question. A draw is a whole number of 2^-24: it need not become a float to be compared.
Val ClusterIr::IsKept(const Node& node, const Point& point) {
  const auto rate = static_cast<double>(static_cast<float>(cluster_.node(node.inputs[1].node).attrs.Double(kValue)));
  // Beyond the ends, and for a NaN, nothing or everything is kept all the same.
  const double least = std::isnan(rate) ? 0x1p24 : std::clamp(std::ceil(rate * 0x1p24), 0.0, 0x1p24);
  const Val bound = b_.Const({Elem::kI32, point.lanes}, static_cast<int64_t>(least));
  return b_.Binary(IrOp::kLe, bound, RandomInteger(node.inputs[0].node, point, word_));
}

Val ClusterIr::Random(NodeId id, const Point& point, int word) {
  const Val number = b_.Convert(RandomInteger(id, point, word), Elem::kF32);
  return b_.Binary(IrOp::kMul, number, b_.F32(0x1p-24f, point.lanes));
}

// The upper 24 bits.
Val ClusterIr::RandomInteger(NodeId id, const Point& point, int word) {
  const Node& node = cluster_.node(id);
  const Shape& shape = node.outputs[0].shape;
  const bool full = shape.size() == shape_.size();
  const int lanes = point.lanes;
  const IrType type{Elem::kI32, lanes};
  Val bits;
  if (full && block_) {
    // Counters of the whole block: flat / 64 * 16 + lane.
    auto [words, added] = words_.try_emplace(id);
    if (added) {
      const Val base = b_.Mul(b_.Div(point.flat, kPhiloxGroup), kPhiloxLanes);
      std::vector<Val> lows;
      for (int64_t group = 0; group < groups_; ++group) {
        const Val first = b_.Convert(b_.Add(base, b_.I64(group * kPhiloxLanes)), Elem::kI32);
        lows.push_back(b_.Binary(IrOp::kAdd, b_.Splat(first, lanes), b_.Iota(type)));
      }
      words->second = Words(node, lows, lanes);
    }
    bits = words->second[static_cast<size_t>(word)];
  } else {
    std::vector<int64_t> dims, strides;
    MergeAxes(shape, shape_, dims, strides);
    const Val index = VectorOffset(dims, strides, point);
    const auto constant = [&](int64_t number) { return b_.Const(type, number); };
    const Val group = b_.Unary(IrOp::kShr, index, 6);
    const Val low =
        b_.Binary(IrOp::kAdd, b_.Unary(IrOp::kShl, group, 4), b_.Binary(IrOp::kBitAnd, index, constant(15)));
    const std::vector<Val> words = Words(node, {&low, 1}, lanes);
    const Val which = b_.Binary(IrOp::kBitAnd, b_.Unary(IrOp::kShr, index, 4), constant(3));
    bits = words[0];
    for (int w = 1; w < 4; ++w) {
      bits = b_.Select(b_.Binary(IrOp::kEq, which, constant(w)), words[static_cast<size_t>(w)], bits);
    }
  }
  return b_.Unary(IrOp::kShr, bits, 8);
}

// ---- Points ----------------------------------------------------------------------------------------------------------
void ClusterIr::StoreOutputs(const Point& point) {
  for (size_t o : outputs_) {
    const Ref ref = cluster_.outputs[o];
    const DType dtype = cluster_.type(ref).dtype;
    Val value = ValueOf(ref, point);
    if (dtype == DType::kBool) value = b_.Convert(value, Elem::kU8);
    const int buffer = OutputBuffer(o);
    if (streaming_) {
      b_.Stream(buffer, value, point.flat);
    } else {
      b_.Store(buffer, value, point.flat, point.count);
    }
  }
  if (kept_) {
    b_.Store(kept_->buffer, ValueOf(kept_->ref, point), b_.Add(point.flat, b_.Mul(kept_->base, -1)), point.count);
  }
}

int ClusterIr::OutputBuffer(size_t output) {
  const DType dtype = cluster_.type(cluster_.outputs[output]).dtype;
  const Elem elem = dtype == DType::kBool ? Elem::kU8 : ElemOf(dtype);
  return b_.Buffer({IrBuffer::Kind::kOutput, static_cast<int>(output), elem, 0});
}

std::vector<int> ClusterIr::FullOutputs() {
  std::vector<int> buffers;
  for (size_t o : outputs_) {
    const TensorType& type = cluster_.type(cluster_.outputs[o]);
    if (type.dtype == DType::kFloat32 && type.shape.size() == shape_.size()) buffers.push_back(OutputBuffer(o));
  }
  return buffers;
}

Val ClusterIr::MayStream() {
  const IrMath math{&b_, Elem::kF32, 1};
  Val may = b_.Const({Elem::kBool, 1}, 1);
  for (size_t o : outputs_) may = math.And(may, b_.MayStream(OutputBuffer(o)));
  return may;
}

void ClusterIr::BeginPoints(size_t points, bool block) {
  block_ = block;
  groups_ = static_cast<int64_t>(points) * kLanes / kRandomBlock;
  words_.clear();
}

void ClusterIr::Emit(std::span<const Point> points, std::span<const Val> anchor, bool block) {
  BeginPoints(points.size(), block);
  for (size_t p = 0; p < points.size(); ++p) {
    values_.clear();
    word_ = static_cast<int>(p);
    if (cluster_.anchor) values_[{*cluster_.anchor, 0}] = anchor[p];
    for (NodeId id : nodes_) values_[{id, 0}] = Compute(id, points[p]);
    StoreOutputs(points[p]);
  }
}

std::vector<Val> ClusterIr::Operands(std::span<const Point> points, bool block, bool again) {
  BeginPoints(points.size(), block);
  std::vector<Val> operands;
  for (size_t p = 0; p < points.size(); ++p) {
    values_.clear();
    word_ = static_cast<int>(p);
    for (NodeId id : nodes_) values_[{id, 0}] = Compute(id, points[p]);
    if (!again) StoreOutputs(points[p]);
    operands.push_back(values_.at(cluster_.node(*cluster_.anchor).inputs[0]));
  }
  return operands;
}

// ---- Operands of anchors ---------------------------------------------------------------------------------------------
AnchorOperand::AnchorOperand(KernelBuilder& builder, const Cluster& cluster) : b_(builder) {
  if (cluster.prologue > 0) {
    prologue_.emplace(builder, cluster, ClusterIr::Part::kPrologue);
  } else {
    const int input = cluster.input_index(cluster.node(*cluster.anchor).inputs[0]);
    buffer_ = b_.Buffer({IrBuffer::Kind::kInput, input, Elem::kF32, 0});
  }
}

void AnchorOperand::Fetch(Val flat) {
  if (!prologue_) b_.Prefetch(buffer_, flat, /*to_first=*/false);
}

Val AnchorOperand::At(const Point& point, bool again) { return At({&point, 1}, /*block=*/false, again)[0]; }

std::vector<Val> AnchorOperand::At(std::span<const Point> points, bool block, bool again) {
  if (prologue_) return prologue_->Operands(points, block, again);
  std::vector<Val> loaded;
  for (const Point& point : points) loaded.push_back(b_.Load(buffer_, point.flat, point.lanes, point.count));
  return loaded;
}

}  // namespace weir::jit
