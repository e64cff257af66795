// Compiles the elementwise nodes of a cluster into a BlockProgram: one instruction a node (or a pair), then slots by
// last use, then the order-dependent question which outputs may lie over inputs.
#include <algorithm>
#include <bit>
#include <map>
#include <numeric>
#include <utility>

#include "weir/backends/highway/block_program.h"
#include "weir/core/rng.h"
#include "weir/ops/attrs.h"
#include "weir/ops/scalar_float.h"
#include "weir/ops/scalar_math.h"

namespace weir::highway {
namespace {

// Blocks of 4 KiB while few slots are live, so that all of them stay in a first-level cache of 32 KiB; else 2 KiB.
constexpr int64_t kLongBlock = 1024;
constexpr int kFewSlots = 5;
constexpr size_t kFetchingInstructions = 3;

}  // namespace

class BlockCompiler {
 public:
  BlockCompiler(const Cluster& cluster, const KernelTable& kernels)
      : cluster_(cluster), kernels_(kernels.block), program_(std::make_shared<BlockProgram>()) {}

  std::variant<std::shared_ptr<const BlockProgram>, Decline> Compile() {
    if (cluster_.nodes.size() > kMaxBlockNodes || cluster_.inputs.size() > kMaxBlockOperands ||
        cluster_.outputs.size() > kMaxBlockOperands) {
      return Decline{StrCat("more than ", kMaxBlockNodes, " nodes or ", kMaxBlockOperands, " operands")};
    }
    if (cluster_.shape.rank() > kMaxBlockRank) return Decline{StrCat("more than ", kMaxBlockRank, " axes")};
    program_->anchor_output_ = cluster_.anchor ? cluster_.output_index({*cluster_.anchor, 0}) : -1;
    ClassifyInputs();
    if (cluster_.anchor) {
      const Ref ref{*cluster_.anchor, 0};
      values_[ref] = AddValue({.base = AddBase({.kind = BlockProgram::BaseKind::kAnchor, .advance = 4}),
                               .dtype = cluster_.type(ref).dtype});
    }
    for (NodeId id : cluster_.nodes) {
      if (cluster_.anchor == id) continue;
      if (auto decline = BlockNodeDecline(cluster_, cluster_.node(id))) return *std::move(decline);
      Emit(id);
    }
    Fuse();
    Assign();
    FindInPlace();
    return std::shared_ptr<const BlockProgram>(std::move(program_));
  }

 private:
  // A value while compiling. `base` is known for what has its place (inputs, constants, outputs); other values get a
  // slot at the end. Byte operands in memory are `raw` until a conversion brings them to a slot.
  struct Value {
    int base = -1;
    bool splat = false;
    bool raw = false;
    DType dtype = DType::kFloat32;
  };
  struct Step {
    BlockFn run = nullptr;
    std::optional<ScalarOp> op = std::nullopt;  // of a float32 instruction: what Fuse looks at
    int src[3] = {-1, -1, -1};
    int dst = -1;
    ScalarParams params = {};
    uint32_t key[2] = {};
    int counter_input = -1;
    bool dead = false;
  };

  int AddBase(BlockProgram::Base base) {
    program_->bases_.push_back(std::move(base));
    return static_cast<int>(program_->bases_.size()) - 1;
  }
  int AddValue(Value value) {
    all_values_.push_back(value);
    return static_cast<int>(all_values_.size()) - 1;
  }

  // ---- Operands ---------------------------------------------------------------------------------
  void ClassifyInputs() {
    using Kind = BlockProgram::BaseKind;
    std::vector<BlockProgram::Base> bases;
    int64_t common = 1;  // of the periods of tiles
    bool long_period = false;
    for (size_t i = 0; i < cluster_.inputs.size(); ++i) {
      const Ref ref = cluster_.inputs[i];
      if (!IsUsedByEpilogue(ref) || !IsBlockType(cluster_.type(ref).dtype)) continue;
      BlockProgram::Base base = BlockProgram::ClassifyOperand(cluster_, static_cast<int>(i));
      long_period |= base.kind == Kind::kPeriodic;
      bases.push_back(std::move(base));
    }
    for (BlockProgram::Base& base : bases) {
      if (base.kind != Kind::kTile) continue;
      const int64_t together = std::lcm(common, base.period);
      // A boundary of a long row may cut a block anywhere; a tile needs whole blocks.
      if (long_period || together > kShortBlockElements) {
        base.kind = Kind::kExpand;
      } else {
        common = together;
      }
    }
    period_ = common;
    for (BlockProgram::Base& base : bases) {
      const Ref ref = cluster_.inputs[static_cast<size_t>(base.index)];
      const Kind kind = base.kind;
      const DType dtype = base.dtype;
      values_[ref] = AddValue({.base = AddBase(std::move(base)),
                               .splat = kind == Kind::kSplat,
                               .raw = kind == Kind::kInput && IsByte(dtype),
                               .dtype = dtype});
    }
  }

  bool IsUsedByEpilogue(Ref ref) const {
    for (NodeId id : cluster_.nodes) {
      if (cluster_.anchor == id) continue;
      const auto& inputs = cluster_.node(id).inputs;
      if (std::find(inputs.begin(), inputs.end(), ref) != inputs.end()) return true;
    }
    return false;
  }

  int ConstantValue(double number, DType dtype) {
    uint32_t bits = 0;
    switch (dtype) {
      case DType::kFloat32: bits = std::bit_cast<uint32_t>(FloatMath::Const(number)); break;
      case DType::kInt32: bits = std::bit_cast<uint32_t>(IntegerMath<int32_t>::Const(number)); break;
      case DType::kBool: bits = number != 0 ? ~uint32_t{0} : 0; break;
      default: bits = IntegerMath<uint8_t>::Const(number); break;
    }
    const auto [found, added] = constants_.try_emplace({bits, dtype}, -1);
    if (added) {
      BlockProgram::Splat splat;
      std::fill_n(splat.copies, kSplat, bits);
      program_->constants_.push_back(splat);
      found->second = AddValue({.base = AddBase({.kind = BlockProgram::BaseKind::kConstant,
                                                 .index = static_cast<int>(program_->constants_.size()) - 1}),
                                .splat = true,
                                .dtype = dtype});
    }
    return found->second;
  }

  // ---- Instructions -----------------------------------------------------------------------------
  int Append(Step step, DType dtype, int dst_base = -1) {
    step.dst = AddValue({.base = dst_base, .dtype = dtype});
    steps_.push_back(step);
    return steps_.back().dst;
  }
  int Convert(BlockFn run, int src, DType dtype) { return Append({.run = run, .src = {src, -1, -1}}, dtype); }

  // The value in slot form.
  int Loaded(int value) {
    const Value& v = all_values_[static_cast<size_t>(value)];
    if (!v.raw) return value;
    const auto [found, added] = loaded_.try_emplace(value, -1);
    if (added) {
      found->second = Convert(v.dtype == DType::kBool ? kernels_.u8_to_mask : kernels_.u8_to_i32, value, v.dtype);
    }
    return found->second;
  }
  int ValueOf(Ref ref) { return Loaded(values_.at(ref)); }

  int CastOf(int value, DType to) {
    const DType from = all_values_[static_cast<size_t>(value)].dtype;
    if (from == to) return value;
    if (to == DType::kBool)
      return Convert(from == DType::kFloat32 ? kernels_.f32_to_mask : kernels_.i32_to_mask, value, to);
    if (to == DType::kFloat32) {
      return Convert(from == DType::kBool ? kernels_.mask_to_f32 : kernels_.i32_to_f32, value, to);
    }
    if (from == DType::kBool) return Convert(kernels_.mask_to_i32, value, to);
    if (to == DType::kInt32) return Convert(from == DType::kFloat32 ? kernels_.f32_to_i32 : kernels_.copy, value, to);
    return Convert(from == DType::kFloat32 ? kernels_.f32_to_byte : kernels_.low_byte, value, to);
  }

  void Emit(NodeId id) {
    const Node& node = cluster_.node(id);
    const Ref ref{id, 0};
    const DType dtype = node.outputs[0].dtype;
    const int output = cluster_.output_index(ref);
    int value = -1;
    if (node.op->kind == OpKind::kConstant) {
      value = ConstantValue(node.attrs.Double(kValue), dtype);
    } else if (node.op->kind == OpKind::kCounter) {
      value = EmitRandom(node);
    } else {
      value = EmitScalar(node, *ScalarOpFromName(node.op->name));
    }
    if (output >= 0) value = Store(value, output, dtype);
    values_[ref] = value;
  }

  int EmitRandom(const Node& node) {
    const auto key =
        PhiloxKey(static_cast<uint64_t>(node.attrs.Int(kSeed)), static_cast<uint64_t>(node.attrs.Int(kStream)));
    return Append({.run = kernels_.random_uniform,
                   .key = {key[0], key[1]},
                   .counter_input = cluster_.input_index(node.inputs[0])},
                  DType::kFloat32);
  }

  int EmitScalar(const Node& node, ScalarOp op) {
    const ScalarOpInfo& info = Info(op);
    const DType dtype = node.outputs[0].dtype;
    if (info.form == ScalarForm::kIdentity) return CastOf(ValueOf(node.inputs[0]), dtype);
    Step step;
    const DType operand = all_values_[static_cast<size_t>(values_.at(node.inputs.back()))].dtype;
    const bool floating = operand == DType::kFloat32;
    // Truth values are moved and combined as int32, but compared as 0 and 1.
    step.run = floating ? kernels_.f32[static_cast<int>(op)] : kernels_.i32[static_cast<int>(op)];
    if (floating) step.op = op;
    step.params = ScalarParamsOf(op, node.attrs);
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      int value = ValueOf(node.inputs[i]);
      if (info.form == ScalarForm::kCompare && operand == DType::kBool) value = CastOf(value, DType::kInt32);
      step.src[i] = value;
    }
    return Append(step, dtype);
  }

  // Brings a value to its output; later instructions read it from there if it has slot form.
  int Store(int value, int output, DType dtype) {
    const int base = AddBase({.kind = BlockProgram::BaseKind::kOutput, .index = output, .advance = SizeOf(dtype)});
    if (IsByte(dtype)) {
      Append({.run = dtype == DType::kBool ? kernels_.mask_to_u8 : kernels_.i32_to_u8, .src = {value, -1, -1}}, dtype,
             base);
      return value;
    }
    Value& v = all_values_[static_cast<size_t>(value)];
    const bool just_made = !steps_.empty() && steps_.back().dst == value && v.base < 0;
    if (just_made) {
      v.base = base;
      return value;
    }
    return Append({.run = kernels_.copy, .src = {value, -1, -1}}, dtype, base);
  }

  // ---- Pairs ------------------------------------------------------------------------------------
  static std::optional<FusedFirst> FirstOf(const Step& step) {
    if (!step.op) return std::nullopt;
    switch (*step.op) {
      case ScalarOp::kAdd: return FusedFirst::kAdd;
      case ScalarOp::kSub: return FusedFirst::kSub;
      case ScalarOp::kMul:
      case ScalarOp::kSquare: return FusedFirst::kMul;
      default: return std::nullopt;
    }
  }

  // What an instruction is as the second of a pair whose first gives its operand `side`; nullopt if it is none.
  static std::optional<FusedSecond> SecondOf(const Step& step, int side) {
    if (!step.op) return std::nullopt;
    switch (*step.op) {
      case ScalarOp::kAdd: return FusedSecond::kAdd;
      case ScalarOp::kMul: return FusedSecond::kMul;
      case ScalarOp::kSub: return side == 0 ? FusedSecond::kSub : FusedSecond::kRsub;
      case ScalarOp::kRelu:
      case ScalarOp::kMaximum: return side == 0 ? std::optional(FusedSecond::kMaximum) : std::nullopt;
      default: return std::nullopt;
    }
  }

  // Joins arithmetic instructions with the one that alone reads their result.
  void Fuse() {
    const int zero = ConstantValue(0, DType::kFloat32);
    std::vector<int> uses(all_values_.size(), 0), maker(all_values_.size(), -1);
    for (size_t s = 0; s < steps_.size(); ++s) {
      for (int src : steps_[s].src) {
        if (src >= 0) ++uses[static_cast<size_t>(src)];
      }
      maker[static_cast<size_t>(steps_[s].dst)] = static_cast<int>(s);
    }
    for (Step& second : steps_) {
      for (int side = 0; side < 2; ++side) {
        const auto second_kind = SecondOf(second, side);
        const int value = second.src[side];
        if (!second_kind || value < 0) continue;
        const int from = maker[static_cast<size_t>(value)];
        if (from < 0 || uses[static_cast<size_t>(value)] != 1 || all_values_[static_cast<size_t>(value)].base >= 0) {
          continue;
        }
        Step& first = steps_[static_cast<size_t>(from)];
        const auto first_kind = FirstOf(first);
        if (!first_kind) continue;
        const int other = *second.op == ScalarOp::kRelu ? zero : second.src[1 - side];
        second.run = kernels_.fused[static_cast<int>(*first_kind)][static_cast<int>(*second_kind)];
        second.src[0] = first.src[0];
        second.src[1] = *first.op == ScalarOp::kSquare ? first.src[0] : first.src[1];
        second.src[2] = other;
        second.op.reset();
        first.dead = true;
        break;
      }
    }
    std::erase_if(steps_, [](const Step& step) { return step.dead; });
  }

  // ---- Slots ------------------------------------------------------------------------------------
  void Assign() {
    std::vector<int> last(all_values_.size(), -1);
    for (size_t s = 0; s < steps_.size(); ++s) {
      for (int src : steps_[s].src) {
        if (src >= 0) last[static_cast<size_t>(src)] = static_cast<int>(s);
      }
    }
    std::vector<int> free, slots;  // bases
    for (size_t s = 0; s < steps_.size(); ++s) {
      const Step& step = steps_[s];
      // A result may take the slot of an operand that is read here for the last time: loops load before they store.
      for (int i = 0; i < 3; ++i) {
        const int src = step.src[i];
        if (src < 0 || last[static_cast<size_t>(src)] != static_cast<int>(s)) continue;
        const int base = all_values_[static_cast<size_t>(src)].base;
        if (program_->bases_[static_cast<size_t>(base)].kind != BlockProgram::BaseKind::kSlot) continue;
        if (std::find(free.begin(), free.end(), base) == free.end()) free.push_back(base);
      }
      Value& dst = all_values_[static_cast<size_t>(step.dst)];
      if (dst.base < 0) {
        if (free.empty()) {
          slots.push_back(AddBase({.kind = BlockProgram::BaseKind::kSlot}));
          free.push_back(slots.back());
        }
        dst.base = free.back();
        free.pop_back();
        if (last[static_cast<size_t>(step.dst)] < 0) free.push_back(dst.base);  // nobody reads it
      }
      BlockProgram::Instruction instruction{.run = step.run, .dst = dst.base, .counter_input = step.counter_input};
      for (int i = 0; i < 3; ++i) {
        if (step.src[i] < 0) continue;
        const Value& src = all_values_[static_cast<size_t>(step.src[i])];
        instruction.src[i] = src.base;
        instruction.args.step[i] = src.splat ? 0 : 1;
      }
      instruction.args.params = step.params;
      instruction.args.key[0] = step.key[0];
      instruction.args.key[1] = step.key[1];
      program_->instructions_.push_back(instruction);
    }
    Layout(static_cast<int>(slots.size()));
    AssignFetches();
  }

  // While a block is computed, the next one's operands come from memory: one operand an instruction, in the order of
  // the instructions that wait for them; then outputs, which have to be in a cache to be written.
  void AssignFetches() {
    auto& instructions = program_->instructions_;
    if (instructions.size() < kFetchingInstructions) return;  // the hardware follows so few streams by itself
    std::vector<int> bases;
    const auto add = [&](int base, BlockProgram::BaseKind kind) {
      if (base < 0) return;
      const BlockProgram::Base& b = program_->bases_[static_cast<size_t>(base)];
      if (b.kind == kind && b.advance == 4 && std::find(bases.begin(), bases.end(), base) == bases.end()) {
        bases.push_back(base);
      }
    };
    for (const auto& instruction : instructions) {
      for (int src : instruction.src) add(src, BlockProgram::BaseKind::kInput);
    }
    for (const auto& instruction : instructions) add(instruction.dst, BlockProgram::BaseKind::kOutput);
    for (size_t i = 0; i < std::min(bases.size(), instructions.size()); ++i) instructions[i].fetch = bases[i];
  }

  void Layout(int slots) {
    using Kind = BlockProgram::BaseKind;
    int long_lived = slots;
    for (const BlockProgram::Base& base : program_->bases_) {
      long_lived += base.kind == Kind::kTile || base.kind == Kind::kExpand ? 1 : 0;
    }
    const int64_t target = long_lived <= kFewSlots ? kLongBlock : kShortBlockElements;
    program_->block_ = std::max<int64_t>(1, target / period_) * period_;
    int64_t offset = 0;
    const auto take = [&](int64_t bytes) {
      const int64_t at = offset;
      offset += (bytes + 63) / 64 * 64;
      return at;
    };
    for (size_t i = 0; i < program_->bases_.size(); ++i) {
      BlockProgram::Base& base = program_->bases_[i];
      if (base.kind == Kind::kSlot || base.kind == Kind::kTile || base.kind == Kind::kExpand) {
        base.offset = take(program_->block_ * 4);
      } else if (base.kind == Kind::kSplat) {
        base.offset = take(kSplat * 4);
      }
      if (base.kind == Kind::kPeriodic) program_->periodic_.push_back(static_cast<int>(i));
      if (base.kind == Kind::kExpand) program_->expand_.push_back(static_cast<int>(i));
    }
    program_->scratch_bytes_ = offset;
  }

  // ---- In place ---------------------------------------------------------------------------------
  static Ref Resolved(const Graph& graph, Ref ref) {
    while (graph.node(ref.node).op->kind == OpKind::kAlias) ref = graph.node(ref.node).inputs[0];
    return ref;
  }

  // An output may lie over an input that nobody reads after the instruction that writes it.
  void FindInPlace() {
    for (const InPlacePair& pair : PointwisePairs(cluster_)) {
      if (pair.output == program_->anchor_output_) continue;  // written before the epilogue reads
      // Another view of the same bytes is not followed.
      const Ref source = Resolved(*cluster_.graph, cluster_.inputs[static_cast<size_t>(pair.input)]);
      const auto views = std::count_if(cluster_.inputs.begin(), cluster_.inputs.end(),
                                       [&](Ref ref) { return Resolved(*cluster_.graph, ref) == source; });
      if (views != 1) continue;
      int last_read = -1, write = -1;
      for (size_t s = 0; s < program_->instructions_.size(); ++s) {
        const BlockProgram::Instruction& instruction = program_->instructions_[s];
        for (int src : instruction.src) {
          if (src >= 0 && Is(src, BlockProgram::BaseKind::kInput, pair.input)) last_read = static_cast<int>(s);
        }
        if (Is(instruction.dst, BlockProgram::BaseKind::kOutput, pair.output)) write = static_cast<int>(s);
      }
      if (write >= 0 && last_read <= write) program_->in_place_.push_back(pair);
    }
  }
  bool Is(int base, BlockProgram::BaseKind kind, int index) const {
    const BlockProgram::Base& b = program_->bases_[static_cast<size_t>(base)];
    return b.kind == kind && b.index == index;
  }

  const Cluster& cluster_;
  const BlockKernels& kernels_;
  std::shared_ptr<BlockProgram> program_;
  std::vector<Value> all_values_;
  std::vector<Step> steps_;
  std::map<Ref, int> values_;
  std::map<int, int> loaded_;
  std::map<std::pair<uint32_t, DType>, int> constants_;
  int64_t period_ = 1;
};

std::variant<std::shared_ptr<const BlockProgram>, Decline> BlockProgram::Compile(const Cluster& cluster,
                                                                                 const KernelTable& kernels) {
  return BlockCompiler(cluster, kernels).Compile();
}

}  // namespace weir::highway
