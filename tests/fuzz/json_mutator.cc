// How libFuzzer changes JSON: now and then as any bytes, mostly a value of it for another one, so that what comes out
// is JSON again.
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "weir/frontend/io/json_text.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace weir::fuzz {
namespace {

using Json = nlohmann::json;
using Random = std::minstd_rand;

// Values that counters, shapes and rates are not, or just are.
const std::vector<Json>& Strange() {
  static const auto& values = *new std::vector<Json>{
      nullptr, true, false, 0, 1, 2, 3, 7, 64, -1, -2, 0.5, -0.0, 1e-300, 1e300, 1 + 0x1p-52,
      2147483648, 4294967296, 1LL << 53, INT64_MAX, INT64_MIN, UINT64_MAX,
      "", "inf", "-inf", "valid", "same", "relu", "softmax", "Dense", "Flatten", "Functional", "CosineDecayRestarts",
      "SparseCategoricalCrossentropy", "a/b", "#",
      Json::array(), Json::object(), Json::array({0}), Json::array({nullptr, 4})};
  return values;
}

void Collect(Json& json, std::vector<Json*>& nodes) {
  nodes.push_back(&json);
  if (!json.is_structured()) return;
  for (Json& child : json) Collect(child, nodes);
}

template <class T>
T& AnyOf(std::vector<T>& values, Random& random) {
  return values[random() % values.size()];
}

void Change(Json& root, Random& random) {
  std::vector<Json*> nodes;
  Collect(root, nodes);
  Json& node = *AnyOf(nodes, random);
  const Json other = *AnyOf(nodes, random);
  switch (random() % 5) {
    case 0: node = other; return;
    case 1:
      if (node.is_structured() && !node.empty()) {
        node.erase(std::next(node.begin(), static_cast<long>(random() % node.size())));
      }
      return;
    case 2:
      if (node.is_array()) node.insert(node.begin() + static_cast<long>(random() % (node.size() + 1)), other);
      if (node.is_object() && other.is_object()) node.update(other);
      return;
    case 3:
      if (node.is_number_integer()) node = static_cast<int64_t>(node.get<uint64_t>() + random() % 5 - 2);
      if (node.is_number_float()) node = node.get<double>() * 2;
      return;
    default: node = Strange()[random() % Strange().size()];
  }
}

}  // namespace
}  // namespace weir::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  weir::fuzz::Random random(seed);
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (random() % 8 == 0 || !weir::CheckJsonText(text, 512).ok()) return LLVMFuzzerMutate(data, size, max_size);
  nlohmann::json root = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) return LLVMFuzzerMutate(data, size, max_size);
  for (size_t changes = 1 + random() % 3; changes > 0; --changes) weir::fuzz::Change(root, random);
  // What is no UTF-8 is replaced.
  const std::string changed = root.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (changed.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, changed.data(), changed.size());
  return changed.size();
}
