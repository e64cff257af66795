// Summary: a model's layers, output shapes and parameter counts as text, to the blank as TensorFlow 2.7 to 2.12
// prints it.
#ifndef WEIR_FRONTEND_SUMMARY_H_
#define WEIR_FRONTEND_SUMMARY_H_

#include <string>
#include <vector>

namespace weir {

class ModelBase;

struct SummaryOptions {
  int line_length = 0;                 // 0: 65 columns, or 98 with "Connected to"
  std::vector<double> positions = {};  // where columns end: shares of the line, or columns if the last exceeds 1
  bool expand_nested = false;          // models among the layers are followed by their own layers, framed
};

// Throws Error if the model is not built.
std::string SummaryText(const ModelBase& model, const SummaryOptions& options = {});

}  // namespace weir

#endif  // WEIR_FRONTEND_SUMMARY_H_
