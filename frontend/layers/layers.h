// All layers.
#ifndef WEIR_FRONTEND_LAYERS_LAYERS_H_
#define WEIR_FRONTEND_LAYERS_LAYERS_H_

#include "weir/frontend/layers/activation.h"  // IWYU pragma: export
#include "weir/frontend/layers/conv.h"        // IWYU pragma: export
#include "weir/frontend/layers/dense.h"       // IWYU pragma: export
#include "weir/frontend/layers/dropout.h"     // IWYU pragma: export
#include "weir/frontend/layers/input.h"       // IWYU pragma: export
#include "weir/frontend/layers/merge.h"       // IWYU pragma: export
#include "weir/frontend/layers/operation.h"   // IWYU pragma: export
#include "weir/frontend/layers/pooling.h"     // IWYU pragma: export
#include "weir/frontend/layers/shape.h"       // IWYU pragma: export

#endif  // WEIR_FRONTEND_LAYERS_LAYERS_H_
