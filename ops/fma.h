// How the reference computes float32 fast without a single global flag: loops written as always-inline templates are
// compiled twice, for the build's baseline and for AVX2 with FMA, and the machine chooses once. Both give the same
// bits: without the instruction, std::fma is computed in software, correctly rounded.
#ifndef WEIR_OPS_FMA_H_
#define WEIR_OPS_FMA_H_

#include <complex>

namespace weir {

// a * b + c rounded once (complex numbers: componentwise in the usual order; their bits are no contract).
[[gnu::always_inline]] inline float Fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
[[gnu::always_inline]] inline double Fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
[[gnu::always_inline]] inline std::complex<double> Fma(const std::complex<double>& a, const std::complex<double>& b,
                                                       const std::complex<double>& c) {
  return {a.real() * b.real() - a.imag() * b.imag() + c.real(), a.real() * b.imag() + a.imag() * b.real() + c.imag()};
}

#if defined(__x86_64__) && defined(__GNUC__)

inline bool HasFma() {
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has;
}

namespace internal {
template <class Body>
[[gnu::target("avx2,fma"), gnu::noinline]] void RunWithFma(const Body& body) {
  Body::Run(body);
}
template <class Body>
[[gnu::noinline]] void RunBaseline(const Body& body) {
  Body::Run(body);
}
}  // namespace internal

// Runs a loop: `Body` is a struct of its arguments with an always-inline `static void Run(const Body&)`.
template <class Body>
void RunLoop(const Body& body) {
  if (HasFma()) {
    internal::RunWithFma(body);
  } else {
    internal::RunBaseline(body);
  }
}

#else

template <class Body>
void RunLoop(const Body& body) {
  Body::Run(body);
}

#endif

}  // namespace weir

#endif  // WEIR_OPS_FMA_H_
