// Keras's serialised objects: see keras_config.h.
#include "weir/frontend/parts/keras_config.h"

#include <cmath>

namespace weir {
namespace {

// NumPy's limit; more is nobody's shape.
constexpr int kMaxRank = 32;

// Nothing for what is no integer, or none of 64 bits with a sign.
std::optional<int64_t> IntegerOf(const nlohmann::json& json) {
  if (json.is_number_unsigned()) {
    const uint64_t number = json.get<uint64_t>();
    return number <= uint64_t{INT64_MAX} ? std::optional(static_cast<int64_t>(number)) : std::nullopt;
  }
  if (json.is_number_integer()) return json.get<int64_t>();
  // Some writers store whole numbers as floats.
  if (!json.is_number_float()) return std::nullopt;
  const double number = json.get<double>();
  if (number != std::floor(number) || !(std::abs(number) < 0x1p53)) return std::nullopt;
  return static_cast<int64_t>(number);
}

// What a message quotes of a value that may be megabytes long, and no UTF-8.
std::string Quote(const nlohmann::json& json) {
  std::string text = json.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

}  // namespace

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
  ThrowInvalidArgument(class_name_, ": config \"", key, "\" is ", Quote(*Find(key)), ", expected ", wanted);
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

int KerasConfig::Axis(std::string_view key, int otherwise) const {
  const int64_t axis = Int(key, otherwise);
  if (axis < -kMaxRank || axis >= kMaxRank) WrongType(key, StrCat("an axis from ", -kMaxRank, " to ", kMaxRank - 1));
  return static_cast<int>(axis);
}

std::optional<int64_t> KerasConfig::OptionalInt(std::string_view key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> integer = IntegerOf(*value);
  if (!integer) WrongType(key, "an integer");
  return integer;
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
  if (const std::optional<int64_t> integer = IntegerOf(*value)) return {*integer};
  if (!value->is_array()) WrongType(key, "an integer or a list of them");
  std::vector<int64_t> ints;
  for (const nlohmann::json& element : *value) {
    const std::optional<int64_t> integer = IntegerOf(element);
    if (!integer) WrongType(key, "an integer or a list of them");
    ints.push_back(*integer);
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

std::vector<std::string> KerasConfig::Strings(std::string_view key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return {};
  if (!value->is_array()) WrongType(key, "a list of strings");
  std::vector<std::string> strings;
  for (const nlohmann::json& element : *value) {
    if (!element.is_string()) WrongType(key, "a list of strings");
    strings.push_back(element.get<std::string>());
  }
  return strings;
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

int64_t JsonInt(const nlohmann::json& json, std::string_view what, int64_t least, int64_t most) {
  const std::optional<int64_t> integer = IntegerOf(json);
  if (integer && *integer >= least && *integer <= most) return *integer;
  const std::string range = least == INT64_MIN  ? ""
                            : most == INT64_MAX ? StrCat(", ", least, " or more")
                                                : StrCat(" from ", least, " to ", most);
  ThrowInvalidArgument("the configuration's \"", what, "\" is ", Quote(json), ", expected an integer", range);
}

int64_t JsonCounter(const nlohmann::json& json, std::string_view what, int64_t least) {
  return JsonInt(json, what, least, int64_t{1} << 53);
}

namespace {

[[noreturn]] void WrongValue(const nlohmann::json& json, std::string_view what, std::string_view wanted) {
  ThrowInvalidArgument("the configuration's \"", what, "\" is ", Quote(json), ", expected ", wanted);
}

}  // namespace

double JsonDouble(const nlohmann::json& json, std::string_view what) {
  const double number = json.is_number() ? json.get<double>() : std::nan("");
  if (!std::isfinite(number)) WrongValue(json, what, "a finite number");
  return number;
}

bool JsonBool(const nlohmann::json& json, std::string_view what) {
  if (!json.is_boolean()) WrongValue(json, what, "true or false");
  return json.get<bool>();
}

std::string JsonString(const nlohmann::json& json, std::string_view what) {
  if (!json.is_string()) WrongValue(json, what, "a text");
  return json.get<std::string>();
}

const nlohmann::json& JsonMember(const nlohmann::json& json, const char* key, std::string_view what) {
  const auto found = json.find(key);
  if (found == json.end()) ThrowInvalidArgument("the configuration's \"", what, "\" has no \"", key, "\"");
  return *found;
}

std::vector<int64_t> JsonDims(const nlohmann::json& json, std::string_view what, int64_t open) {
  if (!json.is_array()) {
    ThrowInvalidArgument("the configuration's \"", what, "\" is ", Quote(json), ", expected a list of dimensions");
  }
  if (json.size() > size_t{kMaxRank}) {
    ThrowInvalidArgument("the configuration's \"", what, "\" has ", json.size(), " dimensions, at most ", kMaxRank,
                         " are possible");
  }
  std::vector<int64_t> dims;
  for (const nlohmann::json& dim : json) dims.push_back(dim.is_null() ? open : JsonInt(dim, what));
  return dims;
}

nlohmann::json JsonNumber(double value) {
  if (value == std::floor(value) && std::abs(value) < 0x1p53) return static_cast<int64_t>(value);
  return value;
}

nlohmann::json JsonReal(double value) {
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  return value;
}

double RealOf(const nlohmann::json& json, std::string_view what) {
  // A value that was never written to a file holds the NaN itself.
  if (json.is_null() || (json.is_number() && std::isnan(json.get<double>()))) return std::nan("");
  if (json == "inf") return INFINITY;
  if (json == "-inf") return -INFINITY;
  return JsonDouble(json, what);
}

nlohmann::json JsonFloat32(double value) { return static_cast<double>(static_cast<float>(value)); }

void CheckOwnName(std::string_view function, const std::string& name, bool taken, bool defined) {
  if (name.empty()) ThrowInvalidArgument(function, ": the name is empty");
  if (taken) ThrowInvalidArgument(function, ": \"", name, "\" is the name of a part of weir's own");
  if (!defined) ThrowInvalidArgument(function, ": \"", name, "\" has no function");
}

std::string OwnPartHint(std::string_view function) {
  return StrCat("; one of your own is known by its name once it is registered with ", function);
}

namespace {

thread_local UnloadableParts* collecting = nullptr;
thread_local std::string place_of_parts;

}  // namespace

UnloadableParts::UnloadableParts() : outer_(std::exchange(collecting, this)) {}
UnloadableParts::~UnloadableParts() { collecting = outer_; }

void UnloadableParts::Note(std::string_view kind, std::string_view name, std::string_view function) {
  if (collecting == nullptr) return;
  collecting->notes_.push_back(StrCat(kind, " '", name, "'", place_of_parts.empty() ? "" : " of " + place_of_parts,
                                      " is your own and not registered: call ", function, " before"));
}

UnloadableParts::Place::Place(std::string place) : before_(std::exchange(place_of_parts, std::move(place))) {}
UnloadableParts::Place::~Place() { place_of_parts = std::move(before_); }

}  // namespace weir
