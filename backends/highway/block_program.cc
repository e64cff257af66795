// Running a block program; compiling it is block_compiler.cc's.
#include "weir/backends/highway/block_program.h"

#include <algorithm>
#include <cstring>

namespace weir::highway {
namespace {

constexpr size_t kMaxBases = 512;

uint32_t SlotBits(DType dtype, const std::byte* src) {
  switch (dtype) {
    case DType::kBool: return *reinterpret_cast<const uint8_t*>(src) != 0 ? ~uint32_t{0} : 0;
    case DType::kUint8: return *reinterpret_cast<const uint8_t*>(src);
    default: {
      uint32_t bits;
      std::memcpy(&bits, src, sizeof(bits));
      return bits;
    }
  }
}

}  // namespace

// Lays out elements [begin, begin + count) of a broadcast operand, converted to slot form.
void BlockProgram::Expand(const Base& base, const std::byte* src, int64_t begin, int64_t count, uint32_t* dst) {
  const int rank = static_cast<int>(base.dims.size());
  int64_t index[kMaxBlockRank];
  int64_t offset = 0, rest = begin;
  for (int axis = rank - 1; axis >= 0; --axis) {
    index[axis] = rest % base.dims[static_cast<size_t>(axis)];
    rest /= base.dims[static_cast<size_t>(axis)];
    offset += index[axis] * base.strides[static_cast<size_t>(axis)];
  }
  const int64_t size = SizeOf(base.dtype);
  const int64_t inner = base.dims.back(), step = base.strides.back();
  for (int64_t done = 0; done < count;) {
    const int64_t run = std::min(count - done, inner - index[rank - 1]);
    const std::byte* from = src + offset * size;
    if (step == 0) {
      std::fill_n(dst + done, run, SlotBits(base.dtype, from));
    } else if (step == 1 && size == 4) {
      std::memcpy(dst + done, from, static_cast<size_t>(run) * 4);
    } else {
      for (int64_t i = 0; i < run; ++i) dst[done + i] = SlotBits(base.dtype, from + i * step * size);
    }
    done += run;
    offset -= index[rank - 1] * step;
    index[rank - 1] = 0;
    for (int axis = rank - 2; axis >= 0; --axis) {
      offset += base.strides[static_cast<size_t>(axis)];
      if (++index[axis] < base.dims[static_cast<size_t>(axis)]) break;
      offset -= index[axis] * base.strides[static_cast<size_t>(axis)];
      index[axis] = 0;
    }
  }
}

int BlockProgram::first_output() const {
  for (const Base& base : bases_) {
    if (base.kind == BaseKind::kOutput && base.advance == 4) return base.index;
  }
  return -1;
}

void BlockProgram::PrepareBlocks(const KernelCall& call, int64_t begin, int64_t count, std::byte* scratch,
                                 const std::byte** pointers) const {
  for (size_t i = 0; i < bases_.size(); ++i) {
    const Base& base = bases_[i];
    switch (base.kind) {
      case BaseKind::kInput: pointers[i] = call.inputs[base.index] + begin * base.advance; break;
      case BaseKind::kOutput: pointers[i] = call.outputs[base.index] + begin * base.advance; break;
      case BaseKind::kConstant:
        pointers[i] = reinterpret_cast<const std::byte*>(&constants_[static_cast<size_t>(base.index)]);
        break;
      case BaseKind::kSplat:
        std::fill_n(reinterpret_cast<uint32_t*>(scratch + base.offset), kSplat,
                    SlotBits(base.dtype, call.inputs[base.index]));
        pointers[i] = scratch + base.offset;
        break;
      case BaseKind::kTile: {
        // Blocks are multiples of the period long, so that all of them begin at the same phase.
        uint32_t* tile = reinterpret_cast<uint32_t*>(scratch + base.offset);
        const uint32_t* row = reinterpret_cast<const uint32_t*>(call.inputs[base.index]);
        const int64_t phase = begin % base.period, length = std::min(block_, count);
        int64_t filled = std::min(base.period - phase, length);
        std::memcpy(tile, row + phase, static_cast<size_t>(filled) * 4);
        if (filled < length && filled < base.period) {
          const int64_t rest = std::min(phase, length - filled);
          std::memcpy(tile + filled, row, static_cast<size_t>(rest) * 4);
          filled += rest;
        }
        while (filled < length) {  // whole periods lie there: double them
          const int64_t more = std::min(filled, length - filled);
          std::memcpy(tile + filled, tile, static_cast<size_t>(more) * 4);
          filled += more;
        }
        pointers[i] = scratch + base.offset;
        break;
      }
      case BaseKind::kAnchor:
      case BaseKind::kPeriodic: break;
      case BaseKind::kSlot:
      case BaseKind::kExpand: pointers[i] = scratch + base.offset; break;
    }
  }
}

void BlockProgram::Run(const KernelCall& call, int64_t begin, int64_t count, const void* anchor,
                       std::byte* scratch) const {
  if (instructions_.empty() || count <= 0) return;
  const std::byte* pointers[kMaxBases];
  PrepareBlocks(call, begin, count, scratch, pointers);
  for (size_t i = 0; i < bases_.size(); ++i) {
    if (bases_[i].kind == BaseKind::kAnchor) pointers[i] = static_cast<const std::byte*>(anchor);
  }
  for (int64_t done = 0; done < count;) {
    int64_t length = std::min(block_, count - done);
    const int64_t position = begin + done;
    for (int i : periodic_) {
      const Base& base = bases_[static_cast<size_t>(i)];
      const int64_t phase = position % base.period;
      length = std::min(length, base.period - phase);
      pointers[i] = call.inputs[base.index] + phase * 4;
    }
    for (int i : expand_) {
      const Base& base = bases_[static_cast<size_t>(i)];
      Expand(base, call.inputs[base.index], position, length, reinterpret_cast<uint32_t*>(scratch + base.offset));
    }
    for (const Instruction& instruction : instructions_) {
      BlockArgs args = instruction.args;
      for (int k = 0; k < 3; ++k) {
        const int src = instruction.src[k];
        if (src < 0) break;
        args.src[k] = pointers[src] + done * bases_[static_cast<size_t>(src)].advance;
      }
      const Base& dst = bases_[static_cast<size_t>(instruction.dst)];
      args.dst = const_cast<std::byte*>(pointers[instruction.dst]) + done * dst.advance;
      args.count = length;
      if (instruction.fetch >= 0) args.fetch = pointers[instruction.fetch] + (done + length) * 4;
      if (instruction.counter_input >= 0) {
        args.position = position;
        std::memcpy(&args.counter_step, call.inputs[instruction.counter_input], sizeof(args.counter_step));
      }
      instruction.run(args);
    }
    done += length;
  }
}

}  // namespace weir::highway
