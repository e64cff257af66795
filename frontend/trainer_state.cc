// What of training goes into files, and comes back: compiled choices, counters, history, callbacks' states.
#include <cmath>
#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/trainer.h"

namespace weir {
namespace {

// JSON has no NaN and no infinity; they are written as null.
double NumberOrNaN(const nlohmann::json& value) { return value.is_null() ? std::nan("") : value.get<double>(); }

}  // namespace

nlohmann::json EpochMeans::State() const {
  nlohmann::json state = nlohmann::json::array();
  for (const MeanState& mean : means_) state.push_back({mean.total, mean.count});
  return state;
}

void EpochMeans::SetState(const nlohmann::json& state) {
  for (size_t i = 0; i < means_.size() && i < state.size(); ++i) {
    means_[i].total = NumberOrNaN(state[i].at(0));
    means_[i].count = NumberOrNaN(state[i].at(1));
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
  state_.iterations = state.at("iterations").get<int64_t>();
  history_ = {};
  history_.epoch = state.at("epochs").get<std::vector<int64_t>>();
  for (const nlohmann::json& entry : state.at("history")) {
    std::vector<double> values;
    for (const nlohmann::json& value : entry.at(1)) values.push_back(NumberOrNaN(value));
    history_.series.emplace_back(entry.at(0).get<std::string>(), std::move(values));
  }
  if (compiled_ && state.contains("learning_rate"))
    compiled_->optimizer.set_learning_rate(state["learning_rate"].get<double>());
  if (state.contains("callbacks")) callback_states_ = std::make_unique<nlohmann::json>(state["callbacks"]);
  if (state.contains("interrupted")) {
    const nlohmann::json& at = state["interrupted"];
    interrupted_at_ = Position{at.at("epoch").get<int64_t>(), at.at("step").get<int64_t>()};
    interrupted_means_ = std::make_unique<nlohmann::json>(at.at("means"));
  }
}

}  // namespace weir
