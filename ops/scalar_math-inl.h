// The formulas of the scalar functions (see scalar_math.h for the primitives of a policy M): text included inside a
// namespace, once in scalar_math.h and once in every SIMD target's namespace. Deliberately without an include guard.
//
// Polynomials are weighted minimax fits with coefficients rounded to float one after the other. Errors measured over
// float32 (tests/scalar_math_test.cc): at most 2 units in the last place.

template <class M>
struct ScalarMath {
  using V = typename M::V;
  using Mask = typename M::Mask;

  [[gnu::always_inline]] static V Infinity(const M& m) { return m.Const(std::numeric_limits<double>::infinity()); }
  [[gnu::always_inline]] static V Nan(const M& m) { return m.Const(std::numeric_limits<double>::quiet_NaN()); }

  // The larger: a NaN wins, and of equal operands (0 and -0) the second.
  [[gnu::always_inline]] static V Max(const M& m, V a, V b) { return m.Select(m.Or(m.Lt(b, a), m.IsNan(a)), a, b); }
  [[gnu::always_inline]] static V Min(const M& m, V a, V b) { return m.Select(m.Or(m.Lt(a, b), m.IsNan(a)), a, b); }

  // ---- Exponential -----------------------------------------------------------------------------------------------
  // x = n ln 2 + r with |r| <= ln 2 / 2 and e^r = 1 + p. x in [-104, 89] or NaN.
  struct Reduced {
    V n, p;
  };
  [[gnu::always_inline]] static Reduced ExpReduce(const M& m, V x) {
    const V n = m.RoundEven(m.Mul(x, m.Const(0x1.715476p+0)));
    V r = m.Fma(n, m.Const(-0x1.62e4p-1), x);  // the product has at most 23 bits: exact
    r = m.Fma(n, m.Const(-0x1.7f7d1cp-20), r);
    V q = m.Const(0x1.6a4652p-10);  // (e^r - 1 - r) / r^2
    q = m.Fma(q, r, m.Const(0x1.123b58p-7));
    q = m.Fma(q, r, m.Const(0x1.5558bap-5));
    q = m.Fma(q, r, m.Const(0x1.55549p-3));
    q = m.Fma(q, r, m.Const(0x1.fffffcp-2));
    return {n, m.Fma(q, m.Mul(r, r), r)};
  }
  // y 2^n in two steps, for n beyond the exponents of normal numbers: one rounding, also to subnormal numbers.
  [[gnu::always_inline]] static V Scale(const M& m, V y, V n) {
    const V half = m.RoundEven(m.Mul(n, m.Const(0.5)));
    return m.Mul(m.Mul(y, m.Pow2(half)), m.Pow2(m.Sub(n, half)));
  }
  // Outside of this range e^x rounds to 0 or overflows.
  [[gnu::always_inline]] static V ExpClamp(const M& m, V x) {
    x = m.SelectFlushed(m.Lt(m.Const(89), x), m.Const(89), x);
    return m.SelectFlushed(m.Lt(x, m.Const(-104)), m.Const(-104), x);
  }
  [[gnu::always_inline]] static V Exp(const M& m, V x) {
    if constexpr (M::kOwnFunctions) {
      return m.Exp(x);
    } else {
      const Reduced e = ExpReduce(m, ExpClamp(m, x));
      return Scale(m, m.Add(m.Const(1), e.p), e.n);
    }
  }
  // e^x - 1 for x <= 0 (or NaN), accurate near 0.
  [[gnu::always_inline]] static V Expm1Negative(const M& m, V x) {
    if constexpr (M::kOwnFunctions) {
      return m.Expm1(x);
    } else {
      const Reduced e = ExpReduce(m, m.SelectFlushed(m.Lt(x, m.Const(-30)), m.Const(-30), x));
      const V scale = m.Pow2(e.n);
      return m.Fma(e.p, scale, m.Sub(scale, m.Const(1)));
    }
  }

  // ---- Logarithm -------------------------------------------------------------------------------------------------
  // x = 2^e u with u in (sqrt(1/2), sqrt(2)]. x positive, finite; subnormal numbers too.
  struct Split {
    V e, u;
  };
  [[gnu::always_inline]] static Split SplitPositive(const M& m, V x) {
    const Mask tiny = m.Lt(x, m.Const(0x1p-126));
    x = m.Select(tiny, m.Mul(x, m.Const(0x1p24)), x);
    V e = m.Exponent(x);
    V u = m.Mantissa(x);
    const Mask large = m.Lt(m.Const(0x1.6a09e6p+0), u);
    u = m.Select(large, m.Mul(u, m.Const(0.5)), u);
    e = m.Select(large, m.Add(e, m.Const(1)), e);
    e = m.Select(tiny, m.Sub(e, m.Const(24)), e);
    return {e, u};
  }
  // log((1 + f) 2^e) for f in [-0.293, 0.415].
  [[gnu::always_inline]] static V LogReduced(const M& m, V f, V e) {
    V p = m.Const(-0x1.38c3a8p-4);  // (log(1 + f) - f + f^2 / 2) / f^3
    p = m.Fma(p, f, m.Const(0x1.055d34p-3));
    p = m.Fma(p, f, m.Const(-0x1.0d829ap-3));
    p = m.Fma(p, f, m.Const(0x1.22d966p-3));
    p = m.Fma(p, f, m.Const(-0x1.547288p-3));
    p = m.Fma(p, f, m.Const(0x1.99a01ap-3));
    p = m.Fma(p, f, m.Const(-0x1.000226p-2));
    p = m.Fma(p, f, m.Const(0x1.555554p-2));
    p = m.Fma(p, f, m.Const(-0.5));
    const V tail = m.Fma(m.Mul(f, f), p, m.Mul(e, m.Const(0x1.7f7d1cp-20)));
    return m.Fma(e, m.Const(0x1.62e4p-1), m.Add(f, tail));
  }
  // The logarithm's value where the polynomial has none: x < 0, 0, infinity, NaN.
  [[gnu::always_inline]] static V LogSpecial(const M& m, V x, V result) {
    result = m.Select(m.Lt(x, Infinity(m)), result, x);
    result = m.Select(m.Eq(x, m.Const(0)), m.Neg(Infinity(m)), result);
    return m.Select(m.Lt(x, m.Const(0)), Nan(m), result);
  }
  [[gnu::always_inline]] static V Log(const M& m, V x) {
    if constexpr (M::kOwnFunctions) {
      return m.Log(x);
    } else {
      const Split s = SplitPositive(m, x);
      return LogSpecial(m, x, LogReduced(m, m.Sub(s.u, m.Const(1)), s.e));
    }
  }
  // log(1 + x): the rounding error of 1 + x is found exactly and added to the reduced argument.
  [[gnu::always_inline]] static V Log1p(const M& m, V x) {
    if constexpr (M::kOwnFunctions) {
      return m.Log1p(x);
    } else {
      const V one = m.Const(1);
      const V sum = m.Add(one, x);
      const V part = m.Sub(sum, one);
      const V error = m.Add(m.Sub(one, m.Sub(sum, part)), m.Sub(x, part));
      const Split s = SplitPositive(m, sum);
      // Where 2^-e would be subnormal the error is 0.
      const V scale = m.Pow2(m.Neg(m.SelectFlushed(m.Lt(m.Const(126), s.e), m.Const(126), s.e)));
      const V f = m.Fma(error, scale, m.Sub(s.u, one));
      const V result = LogSpecial(m, sum, LogReduced(m, f, s.e));
      return m.Select(m.Eq(x, m.Const(0)), x, result);
    }
  }

  // ---- Power -----------------------------------------------------------------------------------------------------
  // The special values are those of IEEE 754 pow.
  [[gnu::always_inline]] static V Pow(const M& m, V a, V b) {
    if constexpr (M::kOwnFunctions) {
      return m.Pow(a, b);
    } else {
      const V zero = m.Const(0), one = m.Const(1), infinity = Infinity(m);
      const V x = m.Abs(a);
      // log(x) as the unevaluated sum high + low, good to about 30 bits: log(u) = 2 atanh(q), q = (u - 1) / (u + 1).
      const Split s = SplitPositive(m, x);
      const V f = m.Sub(s.u, one);
      const V d = m.Add(s.u, one);
      const V d_low = m.Sub(s.u, m.Sub(d, one));
      const V q = m.Div(f, d);
      const V q_low = m.Div(m.Fma(m.Neg(q), d_low, m.Fma(m.Neg(q), d, f)), d);
      const V z = m.Mul(q, q);
      V p = m.Const(0x1.f13bfp-3);
      p = m.Fma(p, z, m.Const(0x1.23d3ep-2));
      p = m.Fma(p, z, m.Const(0x1.999c26p-2));
      p = m.Fma(p, z, m.Const(0x1.555554p-1));
      const V two_q = m.Add(q, q);
      const V tail = m.Fma(m.Mul(q, z), p, m.Add(q_low, q_low));
      const V e_high = m.Mul(s.e, m.Const(0x1.62e4p-1));  // exact
      const V sum = m.Add(e_high, two_q);
      const V rest = m.Add(m.Sub(two_q, m.Sub(sum, e_high)), m.Fma(s.e, m.Const(0x1.7f7d1cp-20), tail));
      V high = m.Add(sum, rest);
      V low = m.Sub(rest, m.Sub(high, sum));
      const Mask regular = m.And(m.Lt(zero, x), m.Lt(x, infinity));
      high = m.Select(regular, high, m.Select(m.Eq(x, zero), m.Neg(infinity), infinity));
      low = m.Select(regular, low, zero);

      const V product = m.Mul(b, high);
      V product_low = m.Fma(b, low, m.Fma(b, high, m.Neg(product)));
      product_low = m.Select(m.Lt(m.Abs(product), m.Const(110)), product_low, zero);
      const Reduced r = ExpReduce(m, ExpClamp(m, product));
      const V y = m.Add(one, r.p);
      V result = Scale(m, m.Fma(y, product_low, y), r.n);

      const Mask integral = m.Eq(m.RoundEven(b), b);
      const V half = m.Mul(b, m.Const(0.5));
      const Mask odd = m.And(integral, m.Not(m.Eq(m.RoundEven(half), half)));
      const Mask negative = m.Lt(m.CopySign(one, a), zero);
      result = m.Select(m.And(negative, odd), m.Neg(result), result);
      result = m.Select(m.And(m.And(negative, m.Not(integral)), regular), Nan(m), result);
      result = m.Select(m.Or(m.IsNan(a), m.IsNan(b)), Nan(m), result);
      const Mask unit = m.Or(m.Eq(a, one), m.And(m.Eq(x, one), m.Eq(m.Abs(b), infinity)));
      return m.Select(m.Or(unit, m.Eq(b, zero)), one, result);
    }
  }

  // ---- Hyperbolic tangent, error function ------------------------------------------------------------------------
  [[gnu::always_inline]] static V Tanh(const M& m, V x) {
    if constexpr (M::kOwnFunctions) {
      return m.Tanh(x);
    } else {
      const V a = m.Abs(x);
      const V z = m.Mul(a, a);
      V p = m.Const(-0x1.756d14p-8);  // (tanh(a) - a) / a^3 for a < 0.625
      p = m.Fma(p, z, m.Const(0x1.520a3ap-6));
      p = m.Fma(p, z, m.Const(-0x1.b83792p-5));
      p = m.Fma(p, z, m.Const(0x1.1106fep-3));
      p = m.Fma(p, z, m.Const(-0x1.555532p-2));
      const V small = m.Fma(m.Mul(a, z), p, a);
      const V bounded = m.SelectFlushed(m.Lt(m.Const(10), a), m.Const(10), a);
      const V exp = Exp(m, m.Add(bounded, bounded));
      const V large = m.Sub(m.Const(1), m.Div(m.Const(2), m.Add(exp, m.Const(1))));
      return m.CopySign(m.Select(m.Lt(a, m.Const(0.625)), small, large), x);
    }
  }
  [[gnu::always_inline]] static V Erf(const M& m, V x) {
    if constexpr (M::kOwnFunctions) {
      return m.Erf(x);
    } else {
      const V a = m.Abs(x);
      const V z = m.Mul(a, a);
      V p = m.Const(0x1.4772e4p-14);  // erf(a) / a - 1 for a < 1
      p = m.Fma(p, z, m.Const(-0x1.a3518ap-11));
      p = m.Fma(p, z, m.Const(0x1.53f226p-8));
      p = m.Fma(p, z, m.Const(-0x1.b7f71ap-6));
      p = m.Fma(p, z, m.Const(0x1.ce2ce6p-4));
      p = m.Fma(p, z, m.Const(-0x1.81273ep-2));
      p = m.Fma(p, z, m.Const(0x1.06eba8p-3));
      const V small = m.Fma(a, p, a);
      const V t = m.SelectFlushed(m.Lt(m.Const(4), a), m.Const(4), a);
      V g = m.Const(-0x1.6bfb44p-16);  // log(erfc(t)) for t in [1, 4]
      g = m.Fma(g, t, m.Const(0x1.cee45ap-12));
      g = m.Fma(g, t, m.Const(-0x1.13975cp-8));
      g = m.Fma(g, t, m.Const(0x1.9d0afap-6));
      g = m.Fma(g, t, m.Const(-0x1.bc188ep-4));
      g = m.Fma(g, t, m.Const(-0x1.4434f6p-1));
      g = m.Fma(g, t, m.Const(-0x1.212c2cp+0));
      g = m.Fma(g, t, m.Const(0x1.8b3c32p-13));
      const V large = m.Sub(m.Const(1), Exp(m, g));
      return m.CopySign(m.Select(m.Lt(a, m.Const(1)), small, large), x);
    }
  }

  // ---- Activations -----------------------------------------------------------------------------------------------
  // x, or the lowest finite number for minus infinity: where a factor that is 0 takes the rest to its limit 0.
  [[gnu::always_inline]] static V AboveMinusInfinity(const M& m, V x) {
    const V lowest = m.Const(-0x1.fffffep+127);
    return m.SelectFlushed(m.Lt(x, lowest), lowest, x);
  }
  // 1 / (1 + e^-x) without overflow, for negative x as e^x / (1 + e^x).
  [[gnu::always_inline]] static V Sigmoid(const M& m, V x) {
    const V e = Exp(m, m.Neg(m.Abs(x)));
    return m.Div(m.Select(m.Lt(x, m.Const(0)), e, m.Const(1)), m.Add(m.Const(1), e));
  }
  [[gnu::always_inline]] static V Elu(const M& m, V x, double alpha) {
    const Mask linear = m.Le(m.Const(0), x);
    const V curve = Expm1Negative(m, m.Select(linear, m.Const(0), x));
    return m.Select(linear, x, m.Mul(m.Const(alpha), curve));
  }
  [[gnu::always_inline]] static V Gelu(const M& m, V x) {
    x = AboveMinusInfinity(m, x);
    const V half = m.Mul(m.Const(0.5), x);
    return m.Fma(half, Erf(m, m.Mul(x, m.Const(0.70710678118654752440))), half);
  }
  [[gnu::always_inline]] static V GeluTanh(const M& m, V x) {
    x = AboveMinusInfinity(m, x);
    const V half = m.Mul(m.Const(0.5), x);
    const V cubic = m.Fma(m.Mul(m.Const(0.044715), m.Mul(x, x)), x, x);
    return m.Fma(half, Tanh(m, m.Mul(m.Const(0.79788456080286535588), cubic)), half);
  }
  [[gnu::always_inline]] static V Softplus(const M& m, V x) {
    return m.Add(Max(m, x, m.Const(0)), Log1p(m, Exp(m, m.Neg(m.Abs(x)))));
  }

  // ---- Dispatch --------------------------------------------------------------------------------------------------
  template <ScalarOp kOp>
  [[gnu::always_inline]] static V Unary(const M& m, const ScalarParams& params, V x) {
    using enum ScalarOp;
    if constexpr (kOp == kNeg) return m.Neg(x);
    if constexpr (kOp == kAbs) return m.Abs(x);
    if constexpr (kOp == kSign) {
      const V zero = m.Const(0);
      return m.Select(m.Lt(zero, x), m.Const(1), m.Select(m.Lt(x, zero), m.Const(-1), x));
    }
    if constexpr (kOp == kSquare) return m.Mul(x, x);
    if constexpr (kOp == kExp) return Exp(m, x);
    if constexpr (kOp == kLog) return Log(m, x);
    if constexpr (kOp == kLog1p) return Log1p(m, x);
    if constexpr (kOp == kSqrt) return m.Sqrt(x);
    if constexpr (kOp == kRsqrt) return m.Div(m.Const(1), m.Sqrt(x));
    if constexpr (kOp == kTanh) return Tanh(m, x);
    if constexpr (kOp == kSigmoid) return Sigmoid(m, x);
    if constexpr (kOp == kErf) return Erf(m, x);
    if constexpr (kOp == kRelu) return Max(m, x, m.Const(0));
    if constexpr (kOp == kLeakyRelu) return m.Select(m.Lt(m.Const(0), x), x, m.Mul(m.Const(params.a), x));
    if constexpr (kOp == kElu) return Elu(m, x, params.a);
    if constexpr (kOp == kGelu) return Gelu(m, x);
    if constexpr (kOp == kGeluTanh) return GeluTanh(m, x);
    if constexpr (kOp == kSilu) {
      x = AboveMinusInfinity(m, x);
      return m.Mul(x, Sigmoid(m, x));
    }
    if constexpr (kOp == kSoftplus) return Softplus(m, x);
    if constexpr (kOp == kClip) return Min(m, Max(m, x, m.Const(params.a)), m.Const(params.b));
  }
  template <ScalarOp kOp>
  [[gnu::always_inline]] static V Binary(const M& m, V a, V b) {
    using enum ScalarOp;
    if constexpr (kOp == kAdd) return m.Add(a, b);
    if constexpr (kOp == kSub) return m.Sub(a, b);
    if constexpr (kOp == kMul) return m.Mul(a, b);
    if constexpr (kOp == kDiv) return m.Div(a, b);
    if constexpr (kOp == kPow) return Pow(m, a, b);
    if constexpr (kOp == kMaximum) return Max(m, a, b);
    if constexpr (kOp == kMinimum) return Min(m, a, b);
  }
  template <ScalarOp kOp>
  [[gnu::always_inline]] static Mask Compare(const M& m, V a, V b) {
    using enum ScalarOp;
    if constexpr (kOp == kEqual) return m.Eq(a, b);
    if constexpr (kOp == kNotEqual) return m.Not(m.Eq(a, b));
    if constexpr (kOp == kLess) return m.Lt(a, b);
    if constexpr (kOp == kLessEqual) return m.Le(a, b);
    if constexpr (kOp == kGreater) return m.Lt(b, a);
    if constexpr (kOp == kGreaterEqual) return m.Le(b, a);
  }

  // The function of an op. Arguments are V, or Mask where Info(kOp).bool_input(i); the result is a Mask if
  // Info(kOp).bool_result(), otherwise a V. A cast is between types that V stands for: its value is unchanged.
  template <ScalarOp kOp, class... Args>
  [[gnu::always_inline]] static auto Apply(const M& m, const ScalarParams& params, const Args&... args) {
    constexpr ScalarForm kForm = Info(kOp).form;
    static_assert(sizeof...(Args) == Info(kOp).arity());
    (void)params;
    if constexpr (kForm == ScalarForm::kUnary) {
      return Unary<kOp>(m, params, args...);
    } else if constexpr (kForm == ScalarForm::kIdentity) {
      return V(args...);
    } else if constexpr (kForm == ScalarForm::kBinary) {
      return Binary<kOp>(m, args...);
    } else if constexpr (kForm == ScalarForm::kCompare) {
      return Compare<kOp>(m, args...);
    } else if constexpr (kForm == ScalarForm::kLogicalUnary) {
      return m.Not(args...);
    } else if constexpr (kOp == ScalarOp::kLogicalAnd) {
      return m.And(args...);
    } else if constexpr (kOp == ScalarOp::kLogicalOr) {
      return m.Or(args...);
    } else {
      return m.Select(args...);
    }
  }
};
