// What of training goes into files, and comes back: compiled choices, counters, history, callbacks' states.
#include <cmath>
#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/parts/keras_config.h"
#include "weir/frontend/trainer.h"

namespace weir {
namespace {

// JSON has no NaN and no infinity; they are written as null.
double NumberOrNaN(const nlohmann::json& value) { return value.is_null() ? std::nan("") : value.get<double>(); }

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

// As EpochMeans::State writes them.
void CheckMeans(const nlohmann::json& means, size_t keys) {
  if (!means.is_array() || means.size() != keys) {
    ThrowInvalidArgument("training_state: \"means\" are no list of ", keys, " means, one of each loss and metric");
  }
  for (const nlohmann::json& mean : means) {
    const auto number = [](const nlohmann::json& value) { return value.is_null() || value.is_number(); };
    if (!mean.is_array() || mean.size() != 2 || !number(mean[0]) || !number(mean[1])) {
      ThrowInvalidArgument("training_state: a mean is no pair of numbers (total and count)");
    }
  }
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
    for (const MeanState& mean : *means) state.push_back({mean.total, mean.count});
  }
  return state;
}

void EpochMeans::SetState(const nlohmann::json& state) {
  size_t next = 0;
  for (auto* means : {&means_, &parts_}) {
    for (MeanState& mean : *means) {
      if (next == state.size()) return;
      mean.total = NumberOrNaN(state[next].at(0));
      mean.count = NumberOrNaN(state[next].at(1));
      ++next;
    }
  }
}

nlohmann::json Trainer::CompileConfig() const {
  if (!compiled_) return nullptr;
  const auto metrics_json = [](const std::vector<Metric>& metrics) {
    nlohmann::json list = nlohmann::json::array();
    for (const Metric& metric : metrics) list.push_back(metric.ToJson());
    return list;
  };
  nlohmann::json config{{"optimizer", compiled_->optimizer.ToJson()}};
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

void Trainer::CompileFrom(const nlohmann::json& config) {
  if (config.is_null()) return;
  CompiledModel compiled{.optimizer = Optimizer::FromJson(config.at("optimizer")), .outputs = {}};
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
    if (const nlohmann::json weight = choice("loss_weights"); weight.is_number())
      plan.loss_weight = weight.get<double>();
    for (const auto& metric : choice("metrics")) plan.metrics.push_back(Metric::FromJson(metric));
    for (const auto& metric : choice("weighted_metrics")) plan.weighted_metrics.push_back(Metric::FromJson(metric));
    compiled.outputs.push_back(std::move(plan));
  }
  Adopt(std::move(compiled));
}

nlohmann::json Trainer::ProgressState() const {
  nlohmann::json series = nlohmann::json::array();
  for (const auto& [key, values] : history_.series) series.push_back({key, values});
  nlohmann::json state{{"iterations", state_.iterations}, {"epochs", history_.epoch}, {"history", series}};
  // The file's optimizer has the rate as Keras writes it, rounded to float32.
  if (compiled_ && !compiled_->optimizer.learning_rate().is_schedule()) {
    state["learning_rate"] = compiled_->optimizer.learning_rate().At(0);
  }
  if (callback_states_) state["callbacks"] = *callback_states_;
  if (interrupted_at_) {
    state["interrupted"] = {
        {"epoch", interrupted_at_->epoch}, {"step", interrupted_at_->step}, {"means", *interrupted_means_}};
  }
  if (add_running_state_) add_running_state_(state);
  return state;
}

void Trainer::SetProgressState(const nlohmann::json& state) {
  // All of it is read before any of it is taken.
  const int64_t iterations = Counter(state.at("iterations"), "training_state.iterations");
  History history;
  history.epoch = EpochNumbers(state.at("epochs"));
  for (const nlohmann::json& entry : state.at("history")) {
    std::vector<double> values;
    for (const nlohmann::json& value : entry.at(1)) values.push_back(NumberOrNaN(value));
    const std::string key = entry.at(0).get<std::string>();
    if (values.size() > history.epoch.size() || history.Find(key) != nullptr) {
      ThrowInvalidArgument("training_state: the history of \"", key, "\" has ", values.size(), " values of ",
                           history.epoch.size(), " epochs, or is there twice");
    }
    history.series.emplace_back(key, std::move(values));
  }
  std::optional<double> rate;
  if (compiled_ && state.contains("learning_rate")) {
    rate = state["learning_rate"].get<double>();
    if (!std::isfinite(*rate)) ThrowInvalidArgument("training_state: the learning_rate is ", *rate);
  }
  if (state.contains("callbacks")) CheckCallbacks(state["callbacks"]);
  std::optional<Position> interrupted;
  if (state.contains("interrupted")) {
    const nlohmann::json& at = state["interrupted"];
    interrupted = Position{Counter(at.at("epoch"), "training_state.interrupted.epoch"),
                           Counter(at.at("step"), "training_state.interrupted.step")};
    if (!history.epoch.empty() && interrupted->epoch <= history.epoch.back()) {
      ThrowInvalidArgument("training_state: interrupted in epoch ", interrupted->epoch, ", but epoch ",
                           history.epoch.back(), " is done");
    }
    if (!compiled_) ThrowInvalidArgument("training_state: interrupted, but the model is not compiled");
    CheckMeans(at.at("means"), EpochMeans(*compiled_).keys().size());
  }

  state_.iterations = iterations;
  history_ = std::move(history);
  if (rate) compiled_->optimizer.set_learning_rate(*rate);
  if (state.contains("callbacks")) callback_states_ = std::make_unique<nlohmann::json>(state["callbacks"]);
  if (interrupted) {
    interrupted_at_ = interrupted;
    interrupted_means_ = std::make_unique<nlohmann::json>(state["interrupted"].at("means"));
  }
}

}  // namespace weir
