// What the plug-in hands to the program that loads it.
#include "llvm/Config/llvm-config.h"
#include "weir/backends/llvm/codegen/module.h"
#include "weir/backends/llvm/codegen/orc.h"
#include "weir/backends/llvm/plugin.h"

extern "C" __attribute__((visibility("default"))) const weir::jit::Plugin* weir_llvm_plugin() {
  static const weir::jit::Plugin plugin = {.identity = WEIR_PLUGIN_IDENTITY,
                                           .llvm_version = LLVM_VERSION_STRING,
                                           .describe_processor = &weir::jit::DescribeProcessor,
                                           .make_linker = &weir::jit::MakeOrcLinker,
                                           .show = &weir::jit::ShowCode};
  return &plugin;
}
