#include "weir/frontend/summary.h"

#include <algorithm>

#include "weir/core/error.h"
#include "weir/frontend/model_base.h"

namespace weir {
namespace {

constexpr char kFrame[] = "\u00af";  // a macron

class Table {
 public:
  Table(int line_length, std::vector<int> ends) : line_length_(line_length), ends_(std::move(ends)) {}

  void Line(char c) { text_ += std::string(static_cast<size_t>(line_length_), c) + "\n"; }
  // A line in a frame of so many nested models.
  void Line(const std::string& c, int level) {
    text_ += std::string(static_cast<size_t>(level), '|');
    for (int i = 0; i < line_length_ - 2 * level; ++i) text_ += c;
    text_ += std::string(static_cast<size_t>(level), '|') + "\n";
  }
  void Text(const std::string& line) { text_ += line + "\n"; }

  // Fields longer than their column go on in the next line; so do lists behind each element.
  void Row(std::vector<std::string> fields, int level = 0) {
    const auto any_left = [&] {
      return std::any_of(fields.begin(), fields.end(), [](const auto& f) { return !f.empty(); });
    };
    while (any_left()) {
      std::string line;
      for (size_t column = 0; column < fields.size(); ++column) {
        const int begin = column == 0 ? 0 : ends_[column - 1];
        // Two blanks stand between columns.
        const int space = column + 1 == ends_.size() ? 0 : 2;
        std::string& field = fields[column];
        std::string part = field.substr(0, static_cast<size_t>(std::max(ends_[column] - begin - space, 1)));
        size_t cut = part.size();
        for (const char* end : {"),", "},", "],", "',"}) {
          const size_t found = part.find(end);
          if (found != std::string::npos) cut = std::min(cut, found + 2);
        }
        part.resize(cut);
        if (column == 0) line += std::string(static_cast<size_t>(level), '|') + " ";
        line += part + std::string(static_cast<size_t>(space), ' ');
        field.erase(0, cut);
        const int end = ends_[column] - level;
        if (static_cast<int>(line.size()) < end) line.resize(static_cast<size_t>(end), ' ');
      }
      Text(line + std::string(static_cast<size_t>(level), '|'));
    }
  }

  std::string Take() { return std::move(text_); }

 private:
  int line_length_;
  std::vector<int> ends_;
  std::string text_;
};

std::string OutputShape(const Layer& layer) {
  if (layer.uses().empty()) return "?";
  std::vector<std::string> shapes;
  for (const auto& call : layer.uses()) {
    std::vector<std::string> outputs;
    for (const TensorSpec& spec : call->outputs) outputs.push_back(ShapeText(spec.dims));
    const bool list = outputs.size() != 1 || layer.base().is_input();
    shapes.push_back(list ? "[" + StrJoin(outputs, ", ") + "]" : outputs[0]);
  }
  for (const std::string& shape : shapes) {
    if (shape != shapes[0]) return "multiple";
  }
  return shapes[0];
}

// ['conv2d[0][0]', ...]: the values a layer is called with, over all its uses.
std::string Connections(const Network& network, const Layer& layer) {
  std::vector<std::string> sources;
  for (const auto& call : layer.uses()) {
    if (call->layer->is_input()) continue;
    for (const SymbolicTensor& input : call->inputs) {
      const LayerCall& source = network.CallOf(input);
      const bool entry = &source != input.call().get();
      sources.push_back(StrCat("'", source.layer->name(), "[", network.UseOf(source), "][", entry ? 0 : input.index(), "]'"));
    }
  }
  return "[" + StrJoin(sources, ", ") + "]";
}

// A layer's row, and those of its own layers if it is a model and they are asked for.
void AddLayer(Table& table, const Network& network, const Layer& layer, bool connected, bool expand, int level, bool last) {
  const std::string type = layer.class_name() == "Model" ? "Functional" : layer.class_name();
  std::vector<std::string> row{layer.name() + " (" + type + ")", OutputShape(layer),
                               layer.built() ? std::to_string(layer.count_params()) : "0 (unused)"};
  // What a layer inside is connected to is its own model's summary.
  if (connected) row.push_back(level == 0 ? Connections(network, layer) : "[]");
  table.Row(row, level);
  if (expand && layer.base().is_model()) {
    table.Line(kFrame, level + 1);
    const std::vector<Layer> inner = AsModel(layer).layers();
    for (const Layer& nested : inner) {
      AddLayer(table, network, nested, connected, expand, level + 1, nested == inner.back());
    }
    table.Line(kFrame, level);
  }
  if (!last) table.Line(" ", level);
}

int64_t CountParams(const std::vector<Variable>& variables) {
  int64_t count = 0;
  for (const Variable& variable : variables) count += variable.shape().size();
  return count;
}

}  // namespace

std::string SummaryText(const ModelBase& model, const SummaryOptions& options) {
  const Network& network = model.network();
  const bool connected = !model.sequential() && !network.chain;
  const int length = options.line_length > 0 ? options.line_length : connected ? 98 : 65;
  std::vector<double> positions = options.positions;
  if (positions.empty()) {
    positions = connected ? std::vector<double>{.33, .55, .67, 1.} : std::vector<double>{.45, .85, 1.};
  }
  const size_t columns = connected ? 4 : 3;
  if (positions.size() != columns || !std::is_sorted(positions.begin(), positions.end())) {
    ThrowInvalidArgument("Summary: positions must be ", columns, " rising numbers, received (",
                         StrJoin(positions, ", "), ")");
  }
  std::vector<int> ends;
  for (double position : positions)
    ends.push_back(static_cast<int>(positions.back() <= 1 ? length * position : position));

  Table table(length, ends);
  table.Text("Model: \"" + model.name() + "\"");
  table.Line('_');
  std::vector<std::string> header{"Layer (type)", "Output Shape", "Param #"};
  if (connected) header.push_back("Connected to");
  table.Row(header);
  table.Line('=');
  for (const Layer& layer : model.layers()) {
    AddLayer(table, network, layer, connected, options.expand_nested, /*level=*/0, /*last=*/false);
  }
  table.Line('=');
  const int64_t all = CountParams(model.weights()), trainable = CountParams(model.trainable_weights());
  table.Text("Total params: " + WithThousandsCommas(all));
  table.Text("Trainable params: " + WithThousandsCommas(trainable));
  table.Text("Non-trainable params: " + WithThousandsCommas(all - trainable));
  table.Line('_');
  return table.Take();
}

}  // namespace weir
