// Text and DOT of programs and plans.
#include "weir/core/error.h"
#include "weir/core/op_def.h"
#include "weir/core/passes/rewrite.h"
#include "weir/core/plan.h"

namespace weir {
namespace {

std::string NodeText(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  std::string text = StrCat("%", id, " = ", node.op->name, "(", StrJoin(node.inputs, ", "), ")", node.attrs, " : ",
                            StrJoin(node.outputs, ", "));
  if (const std::string& layer = graph.LayerPath(node.origin.layer); !layer.empty() || !node.name.empty()) {
    text += StrCat("  # ", graph.Path(id));
  }
  if (node.origin.backward) text += "  (backward)";
  return text;
}

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

void AppendDotNode(std::string& dot, const Graph& graph, NodeId id, const char* indent) {
  const Node& node = graph.node(id);
  const bool leaf = node.op->kind == OpKind::kLeaf;
  dot += StrCat(indent, "n", id, " [label=",
                Quoted(StrCat(node.name.empty() ? std::string(node.op->name) : node.name, "\n", StrJoin(node.outputs, ", "))),
                leaf ? ", shape=ellipse" : ", shape=box", node.origin.backward ? ", color=firebrick" : "", "];\n");
}

void AppendDotEdges(std::string& dot, const Graph& graph, NodeId id) {
  for (Ref ref : graph.node(id).inputs) dot += StrCat("  n", ref.node, " -> n", id, ";\n");
}

}  // namespace

std::string ToText(const Program& program) {
  std::string text;
  const std::vector<bool> needed = Reachable(program);
  for (NodeId id = 0; id < program.graph->size(); ++id) {
    if (needed[static_cast<size_t>(id)]) text += NodeText(*program.graph, id) + "\n";
  }
  return text + StrCat("roots: ", StrJoin(program.roots, ", "), "\n");
}

std::string ToText(const Plan& plan) {
  const Graph& graph = *plan.program.graph;
  std::string text;
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    const PlanStep& step = plan.steps[s];
    text += StrCat("step ", s, ": ", Describe(step.cluster), " over ", step.cluster.shape, " by ", step.backend, " [",
                   step.lowering.kernel, "]\n");
    for (NodeId id : step.cluster.nodes) text += StrCat("    ", NodeText(graph, id), "\n");
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      text += StrCat("  reads ", step.cluster.inputs[i], " at ", step.inputs[i], "\n");
    }
    for (size_t o = 0; o < step.outputs.size(); ++o) {
      text += StrCat("  writes ", step.cluster.outputs[o], " at ", step.outputs[o], "\n");
    }
    if (step.lowering.workspace_bytes > 0) {
      text += StrCat("  workspace ", step.lowering.workspace_bytes, " bytes at ", step.workspace, "\n");
    }
    if (step.prepared_from.kind != Location::Kind::kNone) {
      text += StrCat("  prepared once from ", step.cluster.inputs[static_cast<size_t>(*step.lowering.prepared_input)],
                     ", as long as it equals its copy at ", step.prepared_from, "\n");
    }
    for (const std::string& reason : step.declined) text += StrCat("  declined by ", reason, "\n");
    for (const std::string& reason : step.not_joined) text += StrCat("  not joined by ", reason, "\n");
  }
  for (const PlanCopy& copy : plan.copies) text += StrCat("copy ", copy.bytes, " bytes from ", copy.from, " to ", copy.to, "\n");
  for (size_t r = 0; r < plan.roots.size(); ++r) text += StrCat("root ", r, " at ", plan.roots[r], "\n");
  text += StrCat("memory: arena ", plan.arena_bytes, " bytes (largest live set ", plan.live_bytes, "), scratch ",
                 plan.scratch_bytes, " bytes a thread, kept ", plan.kept_bytes, " bytes\n");
  for (const std::string& line : plan.log) text += StrCat("pass ", line, "\n");
  return text;
}

std::string ToDot(const Program& program) {
  std::string dot = "digraph program {\n";
  const std::vector<bool> needed = Reachable(program);
  for (NodeId id = 0; id < program.graph->size(); ++id) {
    if (!needed[static_cast<size_t>(id)]) continue;
    AppendDotNode(dot, *program.graph, id, "  ");
    AppendDotEdges(dot, *program.graph, id);
  }
  return dot + "}\n";
}

std::string ToDot(const Plan& plan) {
  const Graph& graph = *plan.program.graph;
  std::string dot = "digraph plan {\n";
  std::vector<bool> boxed(static_cast<size_t>(graph.size()), false);
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    dot += StrCat("  subgraph cluster_", s, " {\n    label=",
                  Quoted(StrCat("step ", s, ": ", plan.steps[s].backend, ", ", plan.steps[s].lowering.kernel)), ";\n");
    for (NodeId id : plan.steps[s].cluster.nodes) {
      // A recomputed node belongs to several clusters and is drawn in the first.
      if (boxed[static_cast<size_t>(id)]) continue;
      boxed[static_cast<size_t>(id)] = true;
      AppendDotNode(dot, graph, id, "    ");
    }
    dot += "  }\n";
  }
  const std::vector<bool> needed = Reachable(plan.program);
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (!needed[static_cast<size_t>(id)]) continue;
    if (!boxed[static_cast<size_t>(id)]) AppendDotNode(dot, graph, id, "  ");
    AppendDotEdges(dot, graph, id);
  }
  return dot + "}\n";
}

}  // namespace weir
