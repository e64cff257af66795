// What callbacks see of a Fit.
#include <algorithm>
#include <iostream>

#include "weir/frontend/fit_loop.h"
#include "weir/frontend/model.h"

namespace weir {

Model FitContext::model() const {
  return Model(std::static_pointer_cast<ModelBase>(loop_.trainer_.model_.shared_from_this()));
}
int64_t FitContext::first_epoch() const { return loop_.first_epoch_; }
int64_t FitContext::epochs() const { return loop_.options_.epochs; }
int64_t FitContext::steps_per_epoch() const { return loop_.steps_; }
bool FitContext::has_validation() const { return loop_.validation_.has_value(); }
int64_t FitContext::validation_freq() const { return loop_.options_.validation_freq; }
bool FitContext::validates(int64_t epoch) const {
  return has_validation() && (epoch + 1) % loop_.options_.validation_freq == 0;
}
std::optional<int64_t> FitContext::first_validation() const {
  const int64_t freq = loop_.options_.validation_freq, first = first_epoch();
  const int64_t epochs_before = freq - 1 - first % freq;
  if (!has_validation() || first >= epochs() || epochs_before >= epochs() - first) return std::nullopt;
  return first + epochs_before;
}
const std::vector<std::string>& FitContext::keys() const { return loop_.keys_; }

std::vector<std::string> FitContext::log_keys() const {
  std::vector<std::string> all = loop_.keys_;
  for (const CallbackPtr& callback : loop_.options_.callbacks) {
    const std::optional<std::vector<std::string>> added = callback->log_keys();
    if (!added) continue;
    for (const std::string& key : *added) {
      if (std::find(all.begin(), all.end(), key) == all.end()) all.push_back(key);
    }
  }
  return all;
}

bool FitContext::may_add_keys() const {
  return std::any_of(loop_.options_.callbacks.begin(), loop_.options_.callbacks.end(),
                     [](const CallbackPtr& callback) { return !callback->log_keys(); });
}

std::optional<bool> FitContext::larger_is_better(const std::string& key) const {
  return loop_.means_.larger_is_better(key.starts_with("val_") ? key.substr(4) : key);
}

void FitContext::StopTraining() { loop_.stop_ = true; }
bool FitContext::stopping() const { return loop_.stop_; }
bool FitContext::interrupted() const { return loop_.interrupted_; }
double FitContext::learning_rate() const {
  return loop_.trainer_.compiled_->optimizer.learning_rate().At(loop_.trainer_.state_.iterations);
}
void FitContext::set_learning_rate(double learning_rate) { loop_.trainer_.set_learning_rate(learning_rate); }
std::string FitContext::FirstNonFinite() { return loop_.FirstNonFinite(); }

void FitContext::Print(const std::string& line) {
  if (loop_.options_.verbose == 0) return;
  if (loop_.line_ != nullptr) {
    loop_.line_->Message(line);
    return;
  }
  const ProgressOutput output = loop_.options_.output.write ? loop_.options_.output : StandardOutput();
  output.write(line + "\n");
}

void FitContext::Warn(const std::string& line) {
  if (loop_.options_.verbose == 0) {
    std::cerr << line << "\n";
  } else {
    Print(line);
  }
}

}  // namespace weir
