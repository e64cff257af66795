// The one-dimensional transforms of Winograd's convolution (see winograd.h), as formulas over a policy M of scalar_math.h
// (only Const, Add, Sub, Mul and Fma are used): text included inside a namespace, once in winograd.h and once in every
// SIMD target's namespace. Deliberately without an include guard.
//
// In matrix notation, with points 0, a, -a, b, -b and infinity, N0 = a^2 b^2, Na = 2 a^2 (a^2 - b^2),
// Nb = 2 b^2 (b^2 - a^2):
//
//         a^2b^2   0    -a^2-b^2  0     1  0            1/N0   0     0               1   1   1    1    1    0
//           0   -ab^2    -b^2     a     1  0            1/Na  a/Na  a^2/Na           0   a  -a    b   -b    0
//   B^T =   0    ab^2    -b^2    -a     1  0        G = 1/Na -a/Na  a^2/Na    A^T =  0  a^2 a^2  b^2  b^2   0
//           0   -a^2b    -a^2     b     1  0            1/Nb  b/Nb  b^2/Nb           0  a^3 -a^3 b^3 -b^3   1
//           0    a^2b    -a^2    -b     1  0            1/Nb -b/Nb  b^2/Nb
//           0   a^2b^2    0   -a^2-b^2  0  1              0    0     1

template <class M>
struct WinogradTransform {
  using V = typename M::V;

  static constexpr double kA = 0.75, kB = 1.5;  // exact in float32, and so are their products
  static constexpr double kA2 = kA * kA, kB2 = kB * kB;
  static constexpr double kG0 = 1 / (kA2 * kB2), kGa = 1 / (2 * kA2 * (kA2 - kB2)), kGb = 1 / (2 * kB2 * (kB2 - kA2));

  // v = B^T d: six cells of the source.
  [[gnu::always_inline]] static void Source(const M& m, const V* d, V* v) {
    const V product = m.Const(kA2 * kB2), sum = m.Const(-(kA2 + kB2));
    v[0] = m.Fma(product, d[0], m.Fma(sum, d[2], d[4]));
    Pair(m, kA, m.Fma(m.Const(-kB2), d[2], d[4]), m.Fma(m.Const(-kB2), d[1], d[3]), v + 1);
    Pair(m, kB, m.Fma(m.Const(-kA2), d[2], d[4]), m.Fma(m.Const(-kA2), d[1], d[3]), v + 3);
    v[5] = m.Fma(product, d[1], m.Fma(sum, d[3], d[5]));
  }
  // u = G g: three taps of a filter.
  [[gnu::always_inline]] static void Filter(const M& m, const V* g, V* u) {
    u[0] = m.Mul(m.Const(kG0), g[0]);
    ScaledPair(m, kGa, m.Fma(m.Const(kA2), g[2], g[0]), m.Mul(m.Const(kA), g[1]), u + 1);
    ScaledPair(m, kGb, m.Fma(m.Const(kB2), g[2], g[0]), m.Mul(m.Const(kB), g[1]), u + 3);
    u[5] = g[2];
  }
  // y = A^T p: four outputs.
  [[gnu::always_inline]] static void Output(const M& m, const V* p, V* y) {
    const V even_a = m.Add(p[1], p[2]), odd_a = m.Sub(p[1], p[2]);
    const V even_b = m.Add(p[3], p[4]), odd_b = m.Sub(p[3], p[4]);
    y[0] = m.Add(m.Add(p[0], even_a), even_b);
    y[1] = m.Fma(m.Const(kB), odd_b, m.Mul(m.Const(kA), odd_a));
    y[2] = m.Fma(m.Const(kB2), even_b, m.Mul(m.Const(kA2), even_a));
    y[3] = m.Fma(m.Const(kB2 * kB), odd_b, m.Fma(m.Const(kA2 * kA), odd_a, p[5]));
  }
  // e = A y: four cotangents of outputs.
  [[gnu::always_inline]] static void Cotangent(const M& m, const V* y, V* e) {
    e[0] = y[0];
    Pair(m, kA, m.Fma(m.Const(kA2), y[2], y[0]), m.Fma(m.Const(kA2), y[3], y[1]), e + 1);
    Pair(m, kB, m.Fma(m.Const(kB2), y[2], y[0]), m.Fma(m.Const(kB2), y[3], y[1]), e + 3);
    e[5] = y[3];
  }
  // g = G^T p: the gradient of three taps.
  [[gnu::always_inline]] static void FilterGradient(const M& m, const V* p, V* g) {
    const V even_a = m.Add(p[1], p[2]), odd_a = m.Sub(p[1], p[2]);
    const V even_b = m.Add(p[3], p[4]), odd_b = m.Sub(p[3], p[4]);
    g[0] = m.Fma(m.Const(kGb), even_b, m.Fma(m.Const(kGa), even_a, m.Mul(m.Const(kG0), p[0])));
    g[1] = m.Fma(m.Const(kGb * kB), odd_b, m.Mul(m.Const(kGa * kA), odd_a));
    g[2] = m.Fma(m.Const(kGb * kB2), even_b, m.Fma(m.Const(kGa * kA2), even_a, p[5]));
  }

 private:
  // even + point * odd, even - point * odd.
  [[gnu::always_inline]] static void Pair(const M& m, double point, V even, V odd, V* out) {
    out[0] = m.Fma(m.Const(point), odd, even);
    out[1] = m.Fma(m.Const(-point), odd, even);
  }
  [[gnu::always_inline]] static void ScaledPair(const M& m, double scale, V even, V odd, V* out) {
    out[0] = m.Mul(m.Const(scale), m.Add(even, odd));
    out[1] = m.Mul(m.Const(scale), m.Sub(even, odd));
  }
};
