// Profile: where the time of a model goes, in one call: its layers, longest first, then every kernel with what it
// computes, why it ends there, its work, its time and its share of what the machine allows.
#ifndef WEIR_FRONTEND_PROFILE_H_
#define WEIR_FRONTEND_PROFILE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "weir/core/backend.h"
#include "weir/frontend/examples.h"

namespace weir {

struct ProfileOptions {
  int64_t batch_size = 32;  // the first examples; fewer if there are fewer
  int steps = 20;           // measured, after one that compiles
  // What the machine can do at best is measured first, which takes about a second: kernels are held against it.
  bool ceilings = true;
  std::optional<CodeView> code = {};  // each kernel's loops, LLVM IR or assembly, where its backend has any
  double scale = 1;                   // multiplies every input
};

// Of training steps if there are targets, which the model must be compiled for; of predictions without. The model is
// afterwards as it was: weights, state, optimizer and step number. Not to be called while anything else runs on the
// model's runtime. Throws Error where TrainOnBatch and Predict do.
std::string ProfileModel(ModelBase& model, const Examples& data, const ProfileOptions& options = {});

}  // namespace weir

#endif  // WEIR_FRONTEND_PROFILE_H_
