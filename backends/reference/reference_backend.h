// The reference backend: computes every cluster by calling OpDef::reference node after node, on one thread. It accepts
// everything and fuses nothing; the other backends equal it bit for bit in float32.
#ifndef WEIR_BACKENDS_REFERENCE_REFERENCE_BACKEND_H_
#define WEIR_BACKENDS_REFERENCE_REFERENCE_BACKEND_H_

#include <memory>

#include "weir/core/backend.h"

namespace weir {

std::unique_ptr<Backend> MakeReferenceBackend();

}  // namespace weir

#endif  // WEIR_BACKENDS_REFERENCE_REFERENCE_BACKEND_H_
