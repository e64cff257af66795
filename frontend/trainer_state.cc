// What of training goes into files, and comes back: compiled choices, counters, history, callbacks' states.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/fit_progress.h"
#include "weir/frontend/parts/keras_config.h"
#include "weir/frontend/trainer.h"
#include "weir/frontend/variable_locks.h"

namespace weir {
namespace {

// JSON has no NaN and no infinity; they are written as null, "inf" and "-inf".
nlohmann::json NumberJson(double value) {
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  return value;
}

double NumberOf(const nlohmann::json& value) {
  if (value.is_null()) return std::nan("");
  if (value == "inf") return INFINITY;
  if (value == "-inf") return -INFINITY;
  return JsonDouble(value, "training_state.history");
}

// Counters beyond this count nothing that anybody has trained, and are exact as doubles.
constexpr int64_t kMostCounted = int64_t{1} << 53;

int64_t Counter(const nlohmann::json& json, const char* what) { return JsonInt(json, what, 0, kMostCounted); }

std::vector<int64_t> EpochNumbers(const nlohmann::json& json) {
  if (!json.is_array()) ThrowInvalidArgument("training_state: \"epochs\" is ", json.type_name(), ", expected a list");
  std::vector<int64_t> epochs;
  for (const nlohmann::json& epoch : json) {
    const int64_t number = Counter(epoch, "training_state.epochs");
    if (!epochs.empty() && number <= epochs.back()) {
      ThrowInvalidArgument("training_state: epoch ", number, " comes behind epoch ", epochs.back());
    }
    epochs.push_back(number);
  }
  return epochs;
}

// As EpochMeans::State writes them: `all` of them, or those of the keys as earlier versions did.
void CheckMeans(const nlohmann::json& means, size_t keys, size_t all) {
  if (!means.is_array() || (means.size() != keys && means.size() != all)) {
    ThrowInvalidArgument("training_state: \"means\" are no list of ", keys, " means, one of each loss and metric");
  }
  for (const nlohmann::json& mean : means) {
    const auto number = [](const nlohmann::json& value) {
      return value.is_null() || value.is_number() || value == "inf" || value == "-inf";
    };
    if (!mean.is_array() || mean.size() != 2 || !number(mean[0]) || !number(mean[1])) {
      ThrowInvalidArgument("training_state: a mean is no pair of numbers (total and count)");
    }
  }
}

FitProgress::Position PositionOf(const nlohmann::json& at, const History& history) {
  FitProgress::Position position{.epoch = Counter(at.at("epoch"), "training_state.interrupted.epoch"),
                                 .step = Counter(at.at("step"), "training_state.interrupted.step"),
                                 .stopping = false,
                                 .means = at.at("means")};
  // The history has this epoch already where a callback saved the model at the epoch's end.
  if (!history.epoch.empty() && position.epoch < history.epoch.back()) {
    ThrowInvalidArgument("training_state: interrupted in epoch ", position.epoch, ", but epoch ", history.epoch.back(),
                         " is done");
  }
  if (at.contains("stopping")) {
    position.stopping = JsonBool(at["stopping"], "training_state.interrupted.stopping");
  }
  return position;
}

// Callbacks read their own states; here they have the form that they are looked up by.
void CheckCallbacks(const nlohmann::json& callbacks) {
  if (!callbacks.is_array()) {
    ThrowInvalidArgument("training_state: \"callbacks\" is ", callbacks.type_name(), ", expected a list");
  }
  for (const nlohmann::json& callback : callbacks) {
    if (!callback.is_object() || !callback.contains("class_name") || !callback["class_name"].is_string() ||
        !callback.contains("state") || !callback["state"].is_object()) {
      ThrowInvalidArgument("training_state: a callback is no object of \"class_name\" and \"state\"");
    }
  }
}

}  // namespace

nlohmann::json EpochMeans::State() const {
  nlohmann::json state = nlohmann::json::array();
  for (const auto* means : {&means_, &parts_}) {
    for (const MeanState& mean : *means) state.push_back({NumberJson(mean.total), NumberJson(mean.count)});
  }
  return state;
}

void EpochMeans::SetState(const nlohmann::json& state) {
  size_t next = 0;
  for (auto* means : {&means_, &parts_}) {
    for (MeanState& mean : *means) {
      if (next == state.size()) return;
      mean.total = NumberOf(state[next].at(0));
      mean.count = NumberOf(state[next].at(1));
      ++next;
    }
  }
}

FitProgress Trainer::Published::Progress() const {
  FitProgress made = progress;
  if (step > 0) made.stopped_at = {.epoch = epoch, .step = step, .stopping = stopping, .means = means->State()};
  return made;
}

void Trainer::Publish(Published published) {
  const std::lock_guard lock(published_mutex_);
  *published_ = std::move(published);
}

void Trainer::PublishOwn() {
  if (running_progress_) return;
  Publish({.progress = *progress_, .optimizer = compiled_ ? compiled_->optimizer : Optimizer(), .means = {}});
}

bool Trainer::TrainsHere() const {
  const std::lock_guard lock(turn_mutex_);
  return turns_ > 0 && training_thread_ == std::this_thread::get_id();
}

// A training step holds the locks of what it trains until all that belongs to it is changed.
TrainingMoment Trainer::Moment(std::span<const Variable> variables) const {
  const bool own = TrainsHere();
  TrainingMoment moment;
  const std::vector<Variable> ordered = InLockOrder({variables.begin(), variables.end()});
  const VariableLocks locks(ordered);
  moment.weights.reserve(variables.size());
  for (const Variable& variable : variables) moment.weights.push_back(variable.LockedValue());
  moment.state = state_;
  if (own) {
    moment.progress = std::make_unique<FitProgress>(running_progress_ ? running_progress_() : *progress_);
    if (compiled_) moment.optimizer = compiled_->optimizer;
    return moment;
  }
  const std::lock_guard lock(published_mutex_);
  moment.progress = std::make_unique<FitProgress>(published_->Progress());
  moment.optimizer = published_->optimizer;
  return moment;
}

nlohmann::json Trainer::CompileConfig(const TrainingMoment& moment) const {
  if (!compiled_) return nullptr;
  const auto metrics_json = [](const std::vector<Metric>& metrics) {
    nlohmann::json list = nlohmann::json::array();
    for (const Metric& metric : metrics) list.push_back(metric.ToJson());
    return list;
  };
  nlohmann::json config{{"optimizer", moment.optimizer.ToJson()}};
  if (compiled_->outputs.size() == 1) {
    const OutputPlan& plan = compiled_->outputs[0];
    config["loss"] = plan.loss.ToJson();
    config["loss_weights"] = plan.loss_weight == 1 ? nlohmann::json() : nlohmann::json(plan.loss_weight);
    config["metrics"] = metrics_json(plan.metrics);
    config["weighted_metrics"] = metrics_json(plan.weighted_metrics);
    return config;
  }
  for (const OutputPlan& plan : compiled_->outputs) {
    config["loss"][plan.name] = plan.loss.ToJson();
    config["loss_weights"][plan.name] = plan.loss_weight;
    config["metrics"][plan.name] = metrics_json(plan.metrics);
    config["weighted_metrics"][plan.name] = metrics_json(plan.weighted_metrics);
  }
  return config;
}

void Trainer::CompileFrom(const nlohmann::json& config, const std::source_location& where) {
  if (config.is_null()) return;
  CompiledModel compiled{.optimizer = Optimizer::FromJson(config.at("optimizer")), .outputs = {}, .where = where};
  const std::vector<std::string> names =
      model_.built() ? model_.OutputNames() : std::vector<std::string>{model_.layers().back().name()};
  for (const std::string& name : names) {
    // One output's choices stand alone, those of several are by name.
    const auto choice = [&](const char* key) -> nlohmann::json {
      if (!config.contains(key) || config[key].is_null()) return nullptr;
      return names.size() == 1 ? config[key] : config[key].at(name);
    };
    OutputPlan plan{
        .name = name, .loss = Loss::FromJson(choice("loss")), .loss_weight = 1, .metrics = {}, .weighted_metrics = {}};
    if (const nlohmann::json weight = choice("loss_weights"); !weight.is_null()) {
      plan.loss_weight = JsonDouble(weight, "compile_config.loss_weights");
    }
    for (const auto& metric : choice("metrics")) plan.metrics.push_back(Metric::FromJson(metric));
    for (const auto& metric : choice("weighted_metrics")) plan.weighted_metrics.push_back(Metric::FromJson(metric));
    compiled.outputs.push_back(std::move(plan));
  }
  Adopt(std::move(compiled));
}

const History& Trainer::history() const { return progress_->history; }

nlohmann::json Trainer::ProgressState(const TrainingMoment& moment) {
  const FitProgress& progress = *moment.progress;
  const History& history = progress.history;
  nlohmann::json series = nlohmann::json::array();
  for (size_t i = 0; i < history.series.size(); ++i) {
    nlohmann::json values = nlohmann::json::array();
    for (const double value : history.series[i].second) values.push_back(NumberJson(value));
    series.push_back({history.series[i].first, std::move(values)});
    // Of a series with a value in each epoch nothing more has to be said.
    const std::vector<int64_t> epochs = history.EpochsOf(history.series[i].first);
    if (epochs != history.epoch) series.back().push_back(epochs);
  }
  nlohmann::json state{{"iterations", moment.state.iterations}, {"epochs", history.epoch}, {"history", series}};
  // The file's optimizer has the rate as Keras writes it, rounded to float32.
  if (moment.optimizer.defined() && !moment.optimizer.learning_rate().is_schedule()) {
    state["learning_rate"] = moment.optimizer.learning_rate().At(0);
  }
  for (const CallbackState& callback : progress.callbacks) {
    state["callbacks"].push_back({{"class_name", callback.class_name}, {"state", callback.state}});
  }
  if (const auto& at = progress.stopped_at) {
    state["interrupted"] = {{"epoch", at->epoch}, {"step", at->step}, {"means", at->means}};
    if (at->stopping) state["interrupted"]["stopping"] = true;
  }
  return state;
}

void Trainer::SetProgressState(const nlohmann::json& state) {
  // All of it is read before any of it is taken.
  const int64_t iterations = Counter(state.at("iterations"), "training_state.iterations");
  History history;
  history.epoch = EpochNumbers(state.at("epochs"));
  for (const nlohmann::json& entry : state.at("history")) {
    std::vector<double> values;
    for (const nlohmann::json& value : entry.at(1)) values.push_back(NumberOf(value));
    const std::string key = JsonString(entry.at(0), "training_state.history");
    if (values.size() > history.epoch.size() || history.Find(key) != nullptr) {
      ThrowInvalidArgument("training_state: the history of \"", key, "\" has ", values.size(), " values of ",
                           history.epoch.size(), " epochs, or is there twice");
    }
    if (entry.size() > 2) {
      std::vector<int64_t> epochs = EpochNumbers(entry.at(2));
      if (epochs.size() != values.size() ||
          !std::includes(history.epoch.begin(), history.epoch.end(), epochs.begin(), epochs.end())) {
        ThrowInvalidArgument("training_state: the history of \"", key, "\" has ", values.size(), " values of ",
                             epochs.size(), " epochs, or epochs that the training hasn't");
      }
      history.series_epochs[key] = std::move(epochs);
    }
    history.series.emplace_back(key, std::move(values));
  }
  std::optional<double> rate;
  if (compiled_ && state.contains("learning_rate")) {
    rate = JsonDouble(state["learning_rate"], "training_state.learning_rate");
  }
  FitProgress progress{.history = std::move(history), .callbacks = {}, .stopped_at = {}};
  if (state.contains("callbacks")) {
    CheckCallbacks(state["callbacks"]);
    for (const nlohmann::json& callback : state["callbacks"]) {
      progress.callbacks.push_back({callback["class_name"].get<std::string>(), callback["state"], {}});
    }
  }
  if (state.contains("interrupted")) {
    progress.stopped_at = PositionOf(state["interrupted"], progress.history);
    if (!compiled_) ThrowInvalidArgument("training_state: interrupted, but the model is not compiled");
    const EpochMeans means(*compiled_);
    CheckMeans(progress.stopped_at->means, means.keys().size(), means.State().size());
  }

  state_.iterations = iterations;
  if (rate) compiled_->optimizer.set_learning_rate(*rate);
  *progress_ = std::move(progress);
  PublishOwn();
}

std::vector<std::pair<std::string, Tensor>> Trainer::CallbackTensors(const TrainingMoment& moment) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  const FitProgress& progress = *moment.progress;
  for (size_t i = 0; i < progress.callbacks.size(); ++i) {
    const std::vector<Tensor>& own = progress.callbacks[i].tensors;
    for (size_t k = 0; k < own.size(); ++k) tensors.emplace_back(StrCat(i, "/", k), own[k]);
  }
  return tensors;
}

void Trainer::SetCallbackTensors(const std::function<const Tensor*(const std::string& name)>& find) {
  for (size_t i = 0; i < progress_->callbacks.size(); ++i) {
    std::vector<Tensor>& own = progress_->callbacks[i].tensors;
    own.clear();
    while (const Tensor* tensor = find(StrCat(i, "/", own.size()))) own.push_back(*tensor);
  }
  PublishOwn();
}

}  // namespace weir
