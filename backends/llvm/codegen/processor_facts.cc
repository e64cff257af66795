// What LLVM knows of processors, and of the one this runs on.
#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/X86TargetParser.h"
#include "weir/backends/llvm/codegen/module.h"
#include "weir/core/error.h"

namespace weir::jit {
namespace {

constexpr std::string_view kAvx2[] = {"avx", "avx2", "fma", "bmi2"};
constexpr std::string_view kAvx512[] = {"avx512f", "avx512bw", "avx512dq", "avx512vl"};

// Sorted, so that equal processors have equal texts.
using Features = std::map<std::string, bool, std::less<>>;

Features HostFeatures() {
  Features features;
  for (const auto& feature : llvm::sys::getHostCPUFeatures()) features[feature.getKey().str()] = feature.getValue();
  return features;
}

bool Has(const Features& features, std::string_view name) {
  const auto found = features.find(name);
  return found != features.end() && found->second;
}

bool HasAll(const Features& features, std::span<const std::string_view> names) {
  return std::all_of(names.begin(), names.end(), [&](std::string_view name) { return Has(features, name); });
}

}  // namespace

absl::StatusOr<ProcessorFacts> DescribeProcessor(const std::string& name) {
  const Features host = HostFeatures();
  ProcessorFacts facts;
  if (name.empty()) {
    facts.name = llvm::sys::getHostCPUName().str();
    for (const auto& [feature, present] : host) {
      facts.features += StrCat(facts.features.empty() ? "" : ",", present ? "+" : "-", feature);
    }
    facts.avx2 = HasAll(host, kAvx2);
    facts.avx512 = facts.avx2 && HasAll(host, kAvx512);
    return facts;
  }
  llvm::SmallVector<llvm::StringRef, 128> known;
  llvm::X86::fillValidCPUArchList(known, /*Only64Bit=*/true);
  if (std::find(known.begin(), known.end(), llvm::StringRef(name)) == known.end()) {
    std::vector<std::string> names;
    for (llvm::StringRef each : known) names.push_back(each.str());
    return absl::InvalidArgumentError(
        StrCat("LLVM: unknown processor '", name, "': expected one of ", StrJoin(names, ", ")));
  }
  facts.name = name;
  llvm::SmallVector<llvm::StringRef, 128> listed;
  llvm::X86::getFeaturesForCPU(name, listed);
  llvm::StringMap<bool> implied;
  for (llvm::StringRef feature : listed) llvm::X86::updateImpliedFeatures(feature, true, implied);
  Features own;
  for (llvm::StringRef feature : listed) own[feature.str()] = true;
  for (const auto& feature : implied) own[feature.getKey().str()] |= feature.getValue();
  facts.avx2 = HasAll(own, kAvx2);
  facts.avx512 = facts.avx2 && HasAll(own, kAvx512);
  // Its code is to run here: what it has beyond this machine is not used, but for what it can't do without.
  for (const auto& [feature, present] : own) {
    if (!Has(host, feature) && host.contains(feature)) facts.features += StrCat(facts.features.empty() ? "-" : ",-", feature);
  }
  const auto miss = [&](std::span<const std::string_view> needed) {
    for (std::string_view feature : needed) {
      if (facts.missing.empty() && !Has(host, feature)) facts.missing = feature;
    }
  };
  if (facts.avx2) miss(kAvx2);
  if (facts.avx512) miss(kAvx512);
  return facts;
}

}  // namespace weir::jit
