// Serialised parts in Keras's spelling, {"module", "class_name", "config", "registered_name"}: making them, and
// reading them leniently (a bare name, an object without module, null for none). For the parts and the layers.
#ifndef WEIR_FRONTEND_PARTS_KERAS_CONFIG_H_
#define WEIR_FRONTEND_PARTS_KERAS_CONFIG_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/core/error.h"

namespace weir {

// The object Keras writes for a built-in class.
nlohmann::json MakeKerasObject(const std::string& module, const std::string& class_name, nlohmann::json config);

// Read access to a "config" object. A missing key or null gives the default, another type throws Error with the
// class and the key.
class KerasConfig {
 public:
  KerasConfig() : config_(nlohmann::json::object()) {}
  // `json` must be an object; throws Error naming `class_name` otherwise.
  KerasConfig(std::string class_name, nlohmann::json json);

  const std::string& class_name() const { return class_name_; }
  const nlohmann::json& json() const { return config_; }
  bool Has(std::string_view key) const;  // present and not null

  double Number(std::string_view key, double otherwise) const;
  std::optional<double> OptionalNumber(std::string_view key) const;
  int64_t Int(std::string_view key, int64_t otherwise) const;
  std::optional<int64_t> OptionalInt(std::string_view key) const;
  bool Bool(std::string_view key, bool otherwise) const;
  std::string String(std::string_view key, const std::string& otherwise) const;
  // A list of integers, or one integer as a list of one.
  std::vector<int64_t> Ints(std::string_view key, std::vector<int64_t> otherwise) const;
  std::vector<double> Numbers(std::string_view key) const;
  std::vector<std::string> Strings(std::string_view key) const;

 private:
  const nlohmann::json* Find(std::string_view key) const;
  [[noreturn]] void WrongType(std::string_view key, std::string_view wanted) const;

  std::string class_name_;
  nlohmann::json config_;
};

// Class name (or bare name) and config of a serialised part; nullopt for null. Throws Error naming `kind` ("loss")
// if it is neither null, a string nor an object with a class name.
std::optional<KerasConfig> ParseKerasObject(std::string_view kind, const nlohmann::json& json);

// One part that can be named: "he_normal" or "HeNormal".
template <class Handle>
struct KnownPart {
  std::string name;        // as users write it; listed in messages
  std::string class_name;  // as files write it; may be empty
  Handle (*make)(const KerasConfig& config);
  bool alias = false;  // another name of an entry above: understood, not listed
};

// The part called `config.class_name()`, made from the config. Throws Error listing the known names and the nearest.
template <class Handle>
Handle MakeKnownPart(std::string_view kind, std::span<const KnownPart<Handle>> known, const KerasConfig& config) {
  const std::string& name = config.class_name();
  for (const KnownPart<Handle>& part : known) {
    if (name == part.name || (!part.class_name.empty() && name == part.class_name)) return part.make(config);
  }
  std::vector<std::string> names;
  for (const KnownPart<Handle>& part : known) {
    if (!part.alias) names.push_back(part.name);
  }
  ThrowInvalidArgument(UnknownNameMessage(kind, name, names));
}

// The integer `json`, or a float that is one. Throws Error naming `what` unless it is a number in [least, most]: files
// may hold any, also those that no int64_t can.
int64_t JsonInt(const nlohmann::json& json, std::string_view what, int64_t least = INT64_MIN, int64_t most = INT64_MAX);
// A number of epochs, steps or the like: `least` to 2^53. More counts nothing that anybody has trained, leaves room to
// count on, and is exact as a double.
int64_t JsonCounter(const nlohmann::json& json, std::string_view what, int64_t least = 0);
// A list of dimensions; null stands for `open`, which numbers may equal too.
std::vector<int64_t> JsonDims(const nlohmann::json& json, std::string_view what, int64_t open);

// A whole number as a JSON integer, any other as a JSON float: how Python writes a number that its user gave.
nlohmann::json JsonNumber(double value);
// JSON has no NaN and no infinity: they are null, "inf" and "-inf". RealOf throws nlohmann's exception for anything but
// these and numbers.
nlohmann::json JsonReal(double value);
double RealOf(const nlohmann::json& json);
// value rounded to float32: how Keras writes a number that it keeps in a float32 variable.
nlohmann::json JsonFloat32(double value);
// null for nullopt.
template <class T>
nlohmann::json JsonOptional(const std::optional<T>& value) {
  return value.has_value() ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

}  // namespace weir

#endif  // WEIR_FRONTEND_PARTS_KERAS_CONFIG_H_
