// LayerConfig: the options of a layer of one's own, by name, as its configuration in a file has them. No JSON header is
// needed to write a layer that can be saved and loaded again: see layers/custom.h.
#ifndef WEIR_FRONTEND_LAYER_CONFIG_H_
#define WEIR_FRONTEND_LAYER_CONFIG_H_

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir {

class LayerConfig {
 public:
  // One option. Made implicitly.
  class Value {
   public:
    Value(bool value);                        // NOLINT
    Value(int value);                         // NOLINT
    Value(int64_t value);                     // NOLINT
    Value(double value);                      // NOLINT: must be finite, or Error is thrown
    Value(const char* value);                 // NOLINT
    Value(std::string value);                 // NOLINT
    Value(std::vector<int64_t> value);        // NOLINT
    Value(std::vector<double> value);         // NOLINT
    Value(std::vector<std::string> value);    // NOLINT

   private:
    friend class LayerConfig;
    std::shared_ptr<const nlohmann::json> json_;
  };

  LayerConfig();
  LayerConfig(std::initializer_list<std::pair<const char*, Value>> options);  // {{"units", 3}, {"mode", "fast"}}
  explicit LayerConfig(nlohmann::json json);  // must be an object

  void Set(const std::string& name, const Value& value);
  bool Has(const std::string& name) const;
  // Throw Error, naming the option, if it is missing or of another type.
  int64_t Int(const std::string& name) const;
  double Number(const std::string& name) const;
  bool Bool(const std::string& name) const;
  std::string String(const std::string& name) const;
  std::vector<int64_t> Ints(const std::string& name) const;
  std::vector<double> Numbers(const std::string& name) const;

  const nlohmann::json& json() const { return *json_; }

 private:
  std::shared_ptr<nlohmann::json> json_;
};

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYER_CONFIG_H_
