// All that a program in Keras's manner needs: layers, models, training, data sets, pictures, plots, and the graph
// below. Link weir::keras.
//
//   namespace k = weir;
#ifndef WEIR_FRONTEND_KERAS_H_
#define WEIR_FRONTEND_KERAS_H_

#include "weir/core/tensor.h"                 // IWYU pragma: export
#include "weir/frontend/callbacks.h"          // IWYU pragma: export
#include "weir/frontend/custom_step.h"        // IWYU pragma: export
#include "weir/frontend/data/cifar10.h"       // IWYU pragma: export
#include "weir/frontend/data/dataset.h"       // IWYU pragma: export
#include "weir/frontend/data/generated.h"     // IWYU pragma: export
#include "weir/frontend/diff.h"               // IWYU pragma: export
#include "weir/frontend/history_curves.h"     // IWYU pragma: export
#include "weir/frontend/io/file.h"            // IWYU pragma: export
#include "weir/frontend/io/npy.h"             // IWYU pragma: export
#include "weir/frontend/layers/layers.h"      // IWYU pragma: export
#include "weir/frontend/model.h"              // IWYU pragma: export
#include "weir/frontend/model_files.h"        // IWYU pragma: export
#include "weir/frontend/parts/custom.h"        // IWYU pragma: export
#include "weir/frontend/pictures/image.h"     // IWYU pragma: export
#include "weir/frontend/plot/curves.h"        // IWYU pragma: export
#include "weir/frontend/plot/feature_maps.h"  // IWYU pragma: export
#include "weir/frontend/plot/heat_map.h"      // IWYU pragma: export
#include "weir/frontend/plot/images.h"        // IWYU pragma: export
#include "weir/frontend/sequential.h"         // IWYU pragma: export
#include "weir/frontend/session.h"            // IWYU pragma: export
#include "weir/ops/gradients.h"               // IWYU pragma: export
#include "weir/ops/ops.h"                     // IWYU pragma: export

namespace weir::plot {

// What Fit returned, a panel for each metric.
inline absl::Status SaveHistory(const History& history, const std::string& path,
                                const CurveOptions& options = {.width = 640}) {
  return SaveHistory(CurvesOf(history), path, options);
}

}  // namespace weir::plot

#endif  // WEIR_FRONTEND_KERAS_H_
