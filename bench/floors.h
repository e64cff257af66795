// For each part of the tutorial's training step: the floor that its arithmetic and its memory set on this machine, its
// time, and what share of that the floor is.
#ifndef WEIR_BENCH_FLOORS_H_
#define WEIR_BENCH_FLOORS_H_

#include <cstdint>
#include <string>

#include "weir/core/machine_peak.h"
#include "weir/core/runtime.h"

namespace weir::bench {

// A table in Markdown for steps of `batch` pictures, medians of many. Parts below a hundredth of the step share a row.
std::string FloorsTable(Runtime& runtime, int64_t batch, const MachinePeak& peak);

}  // namespace weir::bench

#endif  // WEIR_BENCH_FLOORS_H_
