// Hashes of structure: what a plan depends on. Names, layer paths, source lines and the data of leaves are no part of
// it; ops, attributes, types, wiring, bound leaves and roots are.
#ifndef WEIR_CORE_FINGERPRINT_H_
#define WEIR_CORE_FINGERPRINT_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "weir/core/program.h"

namespace weir {

uint64_t HashNode(const OpDef& op, const AttrMap& attrs, std::span<const Ref> inputs);

// 128 bits over the part of the program its roots need; equal structures have equal fingerprints whatever else their
// graphs hold. `config` is hashed too.
struct Fingerprint {
  uint64_t low = 0, high = 0;
  friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
  template <class H>
  friend H AbslHashValue(H h, const Fingerprint& f) {
    return H::combine(std::move(h), f.low, f.high);
  }
};
Fingerprint FingerprintOf(const Program& program, std::string_view config);

}  // namespace weir

#endif  // WEIR_CORE_FINGERPRINT_H_
