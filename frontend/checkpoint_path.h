// Texts of callbacks: paths with placeholders, and numbers as Python writes them.
#ifndef WEIR_FRONTEND_CHECKPOINT_PATH_H_
#define WEIR_FRONTEND_CHECKPOINT_PATH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "weir/frontend/history.h"

namespace weir {

// `pattern` with {epoch}, {epoch:02d} and {val_loss:.4f} replaced; `epoch` counts from 1. Throws Error for a name that
// the logs don't have, or a format that is neither d, f nor e with width and precision.
std::string CheckpointPath(const std::string& pattern, int64_t epoch, const Logs& logs);

// The names in `pattern` but "epoch". Throws Error for a format that CheckpointPath would refuse.
std::vector<std::string> CheckpointPathKeys(const std::string& pattern);

// 1.2 -> "1.20000".
std::string Fixed5(double value);

// As Python's repr: the shortest text that reads back as the same double, "1.0", "nan", whatever the locale.
std::string PythonFloat(double value);

}  // namespace weir

#endif  // WEIR_FRONTEND_CHECKPOINT_PATH_H_
