// Attributes of a node: a few named constants (axes, strides, a rate) that are part of the graph's structure.
#ifndef WEIR_CORE_ATTRS_H_
#define WEIR_CORE_ATTRS_H_

#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <string>
#include <string_view>
#include <variant>

#include "absl/container/inlined_vector.h"
#include "weir/core/dtype.h"
#include "weir/core/shape.h"

namespace weir {

using AttrValue = std::variant<bool, int64_t, double, DType, Dims, std::string>;

// A list of integers is stored as Dims; a Shape as its Dims.
struct Attr {
  std::string_view key;  // a literal: it must outlive every graph
  AttrValue value;

  friend bool operator==(const Attr&, const Attr&) = default;
};

class AttrMap {
 public:
  AttrMap() = default;
  AttrMap(std::initializer_list<Attr> attrs) : attrs_(attrs.begin(), attrs.end()) {}

  // The value under `key`; a missing key or another type is a broken invariant (the op's infer function has checked
  // them) and aborts.
  bool Bool(std::string_view key) const { return Get<bool>(key); }
  int64_t Int(std::string_view key) const { return Get<int64_t>(key); }
  double Double(std::string_view key) const { return Get<double>(key); }
  DType Type(std::string_view key) const { return Get<DType>(key); }
  const Dims& Ints(std::string_view key) const { return Get<Dims>(key); }
  const std::string& String(std::string_view key) const { return Get<std::string>(key); }

  const AttrValue* Find(std::string_view key) const;
  void Set(std::string_view key, AttrValue value);

  auto begin() const { return attrs_.begin(); }
  auto end() const { return attrs_.end(); }
  bool empty() const { return attrs_.empty(); }
  size_t size() const { return attrs_.size(); }

  friend bool operator==(const AttrMap&, const AttrMap&) = default;

 private:
  template <class T>
  const T& Get(std::string_view key) const {
    const AttrValue* value = Find(key);
    if (value == nullptr || !std::holds_alternative<T>(*value)) Missing(key);
    return std::get<T>(*value);
  }
  [[noreturn]] void Missing(std::string_view key) const;

  absl::InlinedVector<Attr, 2> attrs_;
};

std::ostream& operator<<(std::ostream& out, const AttrValue& value);
// "{axes=[1,2], keep_dims=true}", nothing if empty.
std::ostream& operator<<(std::ostream& out, const AttrMap& attrs);

}  // namespace weir

#endif  // WEIR_CORE_ATTRS_H_
