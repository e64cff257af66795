#include "weir/core/fingerprint.h"

#include <bit>

#include "weir/core/op_def.h"
#include "weir/core/passes/rewrite.h"

namespace weir {
namespace {

// Two independent multiplicative streams, so that 128 bits are really 128.
class Hasher {
 public:
  void Add(uint64_t word) {
    low_ = std::rotl((low_ ^ word) * 0x9FB21C651E98DF25u, 29);
    high_ = (std::rotl(high_, 31) ^ word) * 0xA0761D6478BD642Fu + 0x2545F4914F6CDD1Du;
  }
  void Add(std::string_view text) {
    Add(text.size());
    uint64_t word = 0;
    int filled = 0;
    for (char c : text) {
      word = word << 8 | static_cast<unsigned char>(c);
      if (++filled == 8) {
        Add(word);
        word = 0;
        filled = 0;
      }
    }
    Add(word);
  }
  void Add(const AttrMap& attrs) {
    Add(attrs.size());
    for (const Attr& attr : attrs) {
      Add(attr.key);
      Add(attr.value.index());
      std::visit(
          [&]<class T>(const T& v) {
            if constexpr (std::is_same_v<T, Dims>) {
              Add(v.size());
              for (int64_t d : v) Add(static_cast<uint64_t>(d));
            } else if constexpr (std::is_same_v<T, std::string>) {
              Add(std::string_view(v));
            } else if constexpr (std::is_same_v<T, double>) {
              Add(std::bit_cast<uint64_t>(v));
            } else {
              Add(static_cast<uint64_t>(v));
            }
          },
          attr.value);
    }
  }
  void Add(Ref ref) { Add(static_cast<uint64_t>(ref.node) << 8 ^ static_cast<uint64_t>(ref.output)); }

  Fingerprint Finish() const {
    const auto mix = [](uint64_t x) {
      x = (x ^ x >> 32) * 0xD6E8FEB86659FD93u;
      return x ^ x >> 32;
    };
    return {mix(low_), mix(high_)};
  }

 private:
  uint64_t low_ = 0x243F6A8885A308D3u, high_ = 0x13198A2E03707344u;
};

}  // namespace

uint64_t HashNode(const OpDef& op, const AttrMap& attrs, std::span<const Ref> inputs) {
  Hasher hasher;
  hasher.Add(op.name);
  hasher.Add(attrs);
  for (Ref ref : inputs) hasher.Add(ref);
  return hasher.Finish().low;
}

Fingerprint FingerprintOf(const Program& program, std::string_view config) {
  const Graph& graph = *program.graph;
  const std::vector<bool> needed = Reachable(program);
  // Needed nodes are numbered densely, so that dead nodes before them make no difference.
  std::vector<int32_t> number(needed.size(), -1);
  int32_t next = 0;
  Hasher hasher;
  hasher.Add(config);
  const auto add = [&](Ref ref) { hasher.Add(Ref{number[static_cast<size_t>(ref.node)], ref.output}); };
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (!needed[static_cast<size_t>(id)]) continue;
    number[static_cast<size_t>(id)] = next++;
    const Node& node = graph.node(id);
    // The row's address stands for its name within a process.
    hasher.Add(static_cast<uint64_t>(reinterpret_cast<uintptr_t>(node.op)));
    hasher.Add(node.attrs);
    hasher.Add(node.inputs.size());
    for (Ref ref : node.inputs) add(ref);
  }
  hasher.Add(program.inputs.size());
  for (Ref ref : program.inputs) add(ref);
  hasher.Add(program.roots.size());
  for (Ref ref : program.roots) add(ref);
  return hasher.Finish();
}

}  // namespace weir
