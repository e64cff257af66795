// Keras's serialised objects: see keras_config.h.
#include "weir/frontend/parts/keras_config.h"

#include <cmath>

namespace weir {

nlohmann::json MakeKerasObject(const std::string& module, const std::string& class_name, nlohmann::json config) {
  return {{"module", module}, {"class_name", class_name}, {"config", std::move(config)}, {"registered_name", nullptr}};
}

KerasConfig::KerasConfig(std::string class_name, nlohmann::json json)
    : class_name_(std::move(class_name)), config_(std::move(json)) {
  if (!config_.is_object()) ThrowInvalidArgument(class_name_, ": config is ", config_.type_name(), ", not an object");
}

const nlohmann::json* KerasConfig::Find(std::string_view key) const {
  const auto it = config_.find(std::string(key));
  return it == config_.end() || it->is_null() ? nullptr : &*it;
}

void KerasConfig::WrongType(std::string_view key, std::string_view wanted) const {
  ThrowInvalidArgument(class_name_, ": config \"", key, "\" is ", Find(key)->dump(), ", expected ", wanted);
}

bool KerasConfig::Has(std::string_view key) const { return Find(key) != nullptr; }

double KerasConfig::Number(std::string_view key, double otherwise) const {
  return OptionalNumber(key).value_or(otherwise);
}

std::optional<double> KerasConfig::OptionalNumber(std::string_view key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) WrongType(key, "a number");
  return value->get<double>();
}

int64_t KerasConfig::Int(std::string_view key, int64_t otherwise) const { return OptionalInt(key).value_or(otherwise); }

std::optional<int64_t> KerasConfig::OptionalInt(std::string_view key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number_integer()) return value->get<int64_t>();
  // Some writers store whole numbers as floats.
  if (value->is_number_float()) {
    const double number = value->get<double>();
    if (number == std::floor(number) && std::abs(number) < 0x1p53) return static_cast<int64_t>(number);
  }
  WrongType(key, "an integer");
}

bool KerasConfig::Bool(std::string_view key, bool otherwise) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) WrongType(key, "true or false");
  return value->get<bool>();
}

std::string KerasConfig::String(std::string_view key, const std::string& otherwise) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_string()) WrongType(key, "a string");
  return value->get<std::string>();
}

std::vector<int64_t> KerasConfig::Ints(std::string_view key, std::vector<int64_t> otherwise) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (value->is_number_integer()) return {value->get<int64_t>()};
  if (!value->is_array()) WrongType(key, "an integer or a list of them");
  std::vector<int64_t> ints;
  for (const nlohmann::json& element : *value) {
    if (!element.is_number_integer()) WrongType(key, "an integer or a list of them");
    ints.push_back(element.get<int64_t>());
  }
  return ints;
}

std::vector<double> KerasConfig::Numbers(std::string_view key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return {};
  if (!value->is_array()) WrongType(key, "a list of numbers");
  std::vector<double> numbers;
  for (const nlohmann::json& element : *value) {
    if (!element.is_number()) WrongType(key, "a list of numbers");
    numbers.push_back(element.get<double>());
  }
  return numbers;
}

std::optional<KerasConfig> ParseKerasObject(std::string_view kind, const nlohmann::json& json) {
  if (json.is_null()) return std::nullopt;
  if (json.is_string()) return KerasConfig(json.get<std::string>(), nlohmann::json::object());
  if (!json.is_object()) ThrowInvalidArgument(kind, " is ", json.type_name(), ", expected a name or an object");
  const auto class_name = json.find("class_name");
  if (class_name == json.end() || !class_name->is_string()) {
    ThrowInvalidArgument(kind, " is an object without \"class_name\"");
  }
  const auto config = json.find("config");
  std::string name = class_name->get<std::string>();
  // Plain functions (activations, losses given as functions) have their name in place of a config.
  if (config != json.end() && config->is_string()) {
    return KerasConfig(config->get<std::string>(), nlohmann::json::object());
  }
  if (config == json.end() || config->is_null()) return KerasConfig(std::move(name), nlohmann::json::object());
  return KerasConfig(std::move(name), *config);
}

nlohmann::json JsonNumber(double value) {
  if (value == std::floor(value) && std::abs(value) < 0x1p53) return static_cast<int64_t>(value);
  return value;
}

nlohmann::json JsonFloat32(double value) { return static_cast<double>(static_cast<float>(value)); }

}  // namespace weir
