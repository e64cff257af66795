// References of the elementwise ops: one loop an op and type over blocks of contiguous elements. Operands that
// broadcast are laid out a block at a time, so that there is one shape of loop.
#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <type_traits>

#include "weir/ops/fma.h"
#include "weir/ops/op_rows.h"
#include "weir/ops/scalar_float.h"

namespace weir {
namespace {

constexpr int64_t kBlock = 512;  // elements; a block of each operand stays in the first-level cache

// Reads an operand as if it had the output's shape. Full-shape operands are read in place.
class BlockReader {
 public:
  BlockReader(const TensorType& type, const Shape& output, const std::byte* data)
      : data_(data), size_(SizeOf(type.dtype)), dims_(ToDims(output)), strides_(BroadcastStrides(type.shape, output)) {
    full_ = type.shape.size() == output.size();
    scalar_ = type.shape.size() == 1 && !full_;
    if (scalar_) {
      for (int64_t i = 0; i < kBlock; ++i) std::memcpy(buffer_ + i * size_, data_, static_cast<size_t>(size_));
    }
  }

  // Elements [begin, begin + count) of the output's index space, count <= kBlock. Valid until the next call.
  const std::byte* Block(int64_t begin, int64_t count) {
    if (full_) return data_ + begin * size_;
    if (!scalar_) Fill(begin, count);
    return buffer_;
  }

 private:
  void Fill(int64_t begin, int64_t count) {
    const int rank = static_cast<int>(dims_.size());
    Dims index(dims_.size());
    int64_t offset = 0, rest = begin;
    for (int axis = rank - 1; axis >= 0; --axis) {
      index[axis] = rest % dims_[axis];
      rest /= dims_[axis];
      offset += index[axis] * strides_[axis];
    }
    const int64_t inner = dims_[rank - 1], step = strides_[rank - 1];
    for (int64_t done = 0; done < count;) {
      const int64_t run = std::min(count - done, inner - index[rank - 1]);
      std::byte* dst = buffer_ + done * size_;
      if (step == 1) {
        std::memcpy(dst, data_ + offset * size_, static_cast<size_t>(run * size_));
      } else {
        for (int64_t i = 0; i < run; ++i) {
          std::memcpy(dst + i * size_, data_ + offset * size_, static_cast<size_t>(size_));
        }
      }
      done += run;
      offset -= index[rank - 1] * step;
      index[rank - 1] = 0;
      for (int axis = rank - 2; axis >= 0; --axis) {
        offset += strides_[axis];
        if (++index[axis] < dims_[axis]) break;
        offset -= index[axis] * strides_[axis];
        index[axis] = 0;
      }
    }
  }

  const std::byte* data_;
  int64_t size_;
  Dims dims_, strides_;
  bool full_ = false, scalar_ = false;
  alignas(64) std::byte buffer_[kBlock * 16];
};

// Computes a block of `count` elements into dst, which overlaps no operand.
using BlockFn = void (*)(const std::byte* const* src, std::byte* dst, int64_t count, const ScalarParams& params);

template <ScalarOp kOp, class T>
struct BlockLoop {
  const std::byte* const* src;
  std::byte* dst;
  int64_t count;
  const ScalarParams& params;

  template <class U>
  static const U* As(const std::byte* data) {
    return reinterpret_cast<const U*>(data);
  }

  [[gnu::always_inline]] static void Run(const BlockLoop& loop) {
    constexpr ScalarOpInfo kInfo = Info(kOp);
    using Result = std::conditional_t<kInfo.bool_result(), bool, T>;
    using A = std::conditional_t<kInfo.bool_input(0), bool, T>;
    using B = std::conditional_t<kInfo.form == ScalarForm::kLogicalBinary, bool, T>;
    using Math = ScalarMath<MathOf<T>>;
    const MathOf<T> math;
    const int64_t count = loop.count;
    Result* __restrict dst = reinterpret_cast<Result*>(loop.dst);
    const A* a = As<A>(loop.src[0]);
    if constexpr (kInfo.arity() == 1) {
      for (int64_t i = 0; i < count; ++i) dst[i] = Math::template Apply<kOp>(math, loop.params, a[i]);
    } else if constexpr (kInfo.arity() == 2) {
      const B* b = As<B>(loop.src[1]);
      for (int64_t i = 0; i < count; ++i) dst[i] = Math::template Apply<kOp>(math, loop.params, a[i], b[i]);
    } else {
      const T *b = As<T>(loop.src[1]), *c = As<T>(loop.src[2]);
      for (int64_t i = 0; i < count; ++i) dst[i] = Math::template Apply<kOp>(math, loop.params, a[i], b[i], c[i]);
    }
  }
};

template <ScalarOp kOp, class T>
void RunBlock(const std::byte* const* src, std::byte* dst, int64_t count, const ScalarParams& params) {
  const BlockLoop<kOp, T> loop{src, dst, count, params};
  if constexpr (std::is_same_v<T, float>) {
    RunLoop(loop);
  } else {
    BlockLoop<kOp, T>::Run(loop);
  }
}

template <class T>
void CopyBlock(const std::byte* const* src, std::byte* dst, int64_t count, const ScalarParams&) {
  std::memcpy(dst, src[0], static_cast<size_t>(count) * sizeof(T));
}

// The conversions of a cast: floating to integer rounds towards zero and saturates (NaN gives 0); integer to integer
// wraps; to bool asks for != 0; complex to real drops the imaginary part.
template <class From, class To>
To Convert(From x) {
  if constexpr (std::is_same_v<From, std::complex<double>>) {
    if constexpr (std::is_same_v<To, std::complex<double>>) {
      return x;
    } else {
      return Convert<double, To>(x.real());
    }
  } else if constexpr (std::is_same_v<To, bool>) {
    return x != From(0);
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (x != x) return To(0);
    return IntegerMath<To>::Const(static_cast<double>(x));
  } else {
    return static_cast<To>(x);
  }
}
template <class From, class To>
void CastBlock(const std::byte* const* src, std::byte* dst, int64_t count, const ScalarParams&) {
  const From* __restrict from = reinterpret_cast<const From*>(src[0]);
  To* __restrict to = reinterpret_cast<To*>(dst);
  for (int64_t i = 0; i < count; ++i) to[i] = Convert<From, To>(from[i]);
}

template <class Visitor>
BlockFn VisitAny(DType dtype, Visitor&& visitor) {
  return VisitDType(dtype, [&]<class T>(T) -> BlockFn { return visitor.template operator()<T>(); });
}

template <ScalarOp kOp>
BlockFn ChooseBlock(DType from, DType to) {
  constexpr ScalarOpInfo kInfo = Info(kOp);
  if constexpr (kOp == ScalarOp::kCast) {
    return VisitAny(from, [&]<class From>() -> BlockFn {
      return VisitAny(to, []<class To>() -> BlockFn { return CastBlock<From, To>; });
    });
  } else if constexpr (kInfo.form == ScalarForm::kIdentity) {
    return VisitAny(from, []<class T>() -> BlockFn { return CopyBlock<T>; });
  } else if constexpr (kInfo.form == ScalarForm::kLogicalUnary || kInfo.form == ScalarForm::kLogicalBinary) {
    return RunBlock<kOp, uint8_t>;
  } else {
    return VisitAny(from, []<class T>() -> BlockFn {
      if constexpr (std::is_same_v<T, bool>) {
        return kOp == ScalarOp::kSelect ? RunBlock<ScalarOp::kSelect, uint8_t> : nullptr;
      } else if constexpr (Info(kOp).integers || !std::is_integral_v<T>) {
        return RunBlock<kOp, T>;
      } else {
        return nullptr;
      }
    });
  }
}

template <ScalarOp kOp>
void Reference(const ReferenceCall& call) {
  constexpr int kArity = Info(kOp).arity();
  // The type computed in: a select's is that of its branches.
  const BlockFn run = ChooseBlock<kOp>(call.input_types[kArity - 1].dtype, call.output_types[0].dtype);
  WEIR_CHECK(run != nullptr, Info(kOp).name, " of ", call.input_types[kArity - 1]);
  const int64_t count = call.out_shape().size(), size = SizeOf(call.output_types[0].dtype);
  if (count == 0) return;
  const ScalarParams params = ScalarParamsOf(kOp, call.attrs);
  std::array<std::optional<BlockReader>, kArity> readers;
  for (int i = 0; i < kArity; ++i) readers[i].emplace(call.input_types[i], call.out_shape(), call.in<std::byte>(i));
  alignas(64) std::byte result[kBlock * 16];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t block = std::min(kBlock, count - begin);
    const std::byte* src[kArity];
    for (int i = 0; i < kArity; ++i) src[i] = readers[i]->Block(begin, block);
    run(src, result, block, params);
    std::memcpy(call.out<std::byte>() + begin * size, result, static_cast<size_t>(block * size));
  }
}

}  // namespace

ReferenceFn ElementwiseReference(ScalarOp op) {
  return VisitScalarOp(op, []<ScalarOp kOp>(ScalarOpConstant<kOp>) -> ReferenceFn { return Reference<kOp>; });
}

}  // namespace weir
