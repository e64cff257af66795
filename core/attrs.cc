#include "weir/core/attrs.h"

#include "weir/core/error.h"

namespace weir {

const AttrValue* AttrMap::Find(std::string_view key) const {
  for (const Attr& attr : attrs_) {
    if (attr.key == key) return &attr.value;
  }
  return nullptr;
}

void AttrMap::Set(std::string_view key, AttrValue value) {
  for (Attr& attr : attrs_) {
    if (attr.key == key) {
      attr.value = std::move(value);
      return;
    }
  }
  attrs_.push_back({key, std::move(value)});
}

void AttrMap::Missing(std::string_view key) const {
  WEIR_CHECK(false, "no attribute '", key, "' of the type asked for in ", *this);
  std::abort();
}

std::ostream& operator<<(std::ostream& out, const AttrValue& value) {
  std::visit(
      [&]<class T>(const T& v) {
        if constexpr (std::is_same_v<T, bool>) {
          out << (v ? "true" : "false");
        } else if constexpr (std::is_same_v<T, Dims>) {
          out << '[' << StrJoin(v, ",") << ']';
        } else if constexpr (std::is_same_v<T, std::string>) {
          out << '"' << v << '"';
        } else {
          out << v;
        }
      },
      value);
  return out;
}

std::ostream& operator<<(std::ostream& out, const AttrMap& attrs) {
  if (attrs.empty()) return out;
  const char* separator = "{";
  for (const Attr& attr : attrs) {
    out << separator << attr.key << '=' << attr.value;
    separator = ", ";
  }
  return out << '}';
}

}  // namespace weir
