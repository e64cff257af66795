// The ceilings of this machine, measured: fused multiply-adds a second and bytes a second. Every share of the peak, in
// benchmarks and in Explain, refers to these, measured in the same run.
#ifndef WEIR_CORE_MACHINE_PEAK_H_
#define WEIR_CORE_MACHINE_PEAK_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace weir {

struct MachinePeak {
  double flops = 0;        // float32, FLOP/s on `threads` threads (an fma counts 2)
  double triad_bytes = 0;  // B/s of a = b + s * c over arrays far beyond the caches, with streaming stores
  int threads = 1;
  std::string instructions;  // "AVX-512", "AVX2", "baseline"
};

// a = b + s * c over arrays of 128 MiB, with streaming stores: what memory gives, and what passes over it are held
// against. Memory is what weir's tensors have, on huge pages where the system grants them.
class Triad {
 public:
  explicit Triad(int threads);

  // All of it, on that many threads; or a thread's part.
  void Run();
  void RunPart(int thread);
  // What a run moves: the operands and the result, once each.
  double bytes() const { return 3.0 * static_cast<double>(share_ * threads_) * sizeof(float); }

 private:
  const int threads_;
  const int64_t share_;  // elements of a thread
  std::shared_ptr<std::byte> arrays_[3];
};

// What the system calls the processor and its family, "AMD EPYC (family 25, model 17)", or "unknown processor".
std::string ProcessorName();

// Takes about a second.
MachinePeak MeasurePeak(int threads);

}  // namespace weir

#endif  // WEIR_CORE_MACHINE_PEAK_H_
