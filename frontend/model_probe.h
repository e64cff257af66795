// A saved model's probe: an input with the output the model gave for it, by which loading finds out whether the model
// still computes what it did. It is left out where it would be much work: for what a file may claim, checksums do.
#ifndef WEIR_FRONTEND_MODEL_PROBE_H_
#define WEIR_FRONTEND_MODEL_PROBE_H_

#include <string>

#include "weir/core/error.h"
#include "weir/frontend/io/safetensors.h"
#include "weir/frontend/model_base.h"
#include "weir/frontend/train_step.h"

namespace weir {

// Inputs and outputs under the probe's names; nothing if the model can't run on what is made up for dimensions left
// open, or the probe would be too much work: more than 10,000 nodes, 1 GiB of values or 10^11 operations. The weights
// are all the model's, as of some moment; nothing of the model changes and taps don't see it.
NamedTensors MakeProbe(const ModelBase& model, const WeightSnapshot& weights);

// kDataLoss, naming `path`, if the model's outputs for the probe in `file` differ by more than 1e-5 of their largest
// element, or have other types. Ok without a probe, and without running it if that is too much work.
absl::Status CheckProbe(const ModelBase& model, const SafetensorsFile& file, const std::string& path);

}  // namespace weir

#endif  // WEIR_FRONTEND_MODEL_PROBE_H_
