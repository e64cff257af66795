// The references against ops/canonical_order.h, word by word: the sums of convolutions, products and reductions again,
// by the plainest loops and std::fma, to the bit.
#include "weir/ops/canonical_order.h"

#include <gtest/gtest.h>

#include <cmath>

#include "weir/ops/conv_geometry.h"
#include "weir/ops/ops.h"
#include "weir/ops/winograd.h"
#include "weir/tests/cases/op_case.h"
#include "weir/tests/interpret.h"

namespace weir {
namespace {

// A case run in float32: its first node of a given op, with operands and result.
struct Run {
  AttrMap attrs;
  std::vector<Tensor> inputs;
  Tensor output;
};
std::vector<std::pair<std::string, Run>> RunsOf(const std::string& op) {
  std::vector<std::pair<std::string, Run>> runs;
  for (const OpCase& c : AllOpCases()) {
    if (c.op != op || c.bench_only) continue;
    const auto graph = Graph::Create();
    const std::vector<Value> inputs = RecordInputs(c, *graph);
    c.build(*graph, inputs);
    Interpreter interpreter;
    const std::vector<Tensor> data = MakeInputs(c);
    for (size_t i = 0; i < data.size(); ++i) interpreter.Bind(inputs[i], data[i]);
    for (NodeId id = 0; id < graph->size(); ++id) {
      const Node& node = graph->node(id);
      if (node.op->name != op || node.outputs[0].dtype != DType::kFloat32) continue;
      if (node.attrs.Find(kAlgorithm) != nullptr && UsesWinograd(node.attrs)) break;  // winograd_test.cc's
      Run run{node.attrs, {}, interpreter.Evaluate(graph->value({id, 0}))};
      for (Ref ref : node.inputs) run.inputs.push_back(interpreter.Evaluate(graph->value(ref)));
      runs.emplace_back(c.name, std::move(run));
      break;
    }
  }
  EXPECT_FALSE(runs.empty()) << op;
  return runs;
}

void ExpectSameBits(const std::string& name, const std::vector<float>& expected, const Tensor& got) {
  ASSERT_EQ(static_cast<int64_t>(expected.size()), got.size()) << name;
  for (int64_t i = 0; i < got.size(); ++i) {
    const float a = expected[static_cast<size_t>(i)], b = got.data<float>()[i];
    if (std::isnan(a) && std::isnan(b)) continue;
    ASSERT_TRUE(a == b && std::signbit(a) == std::signbit(b)) << name << " element " << i << ": " << b << ", not " << a;
  }
}

// x[n, at, c], or 0 in the padding.
struct Padded {
  const float* data;
  int64_t sizes[3], channels;
  bool Has(const int64_t* at) const {
    for (int i = 0; i < 3; ++i) {
      if (at[i] < 0 || at[i] >= sizes[i]) return false;
    }
    return true;
  }
  float operator()(int64_t n, const int64_t* at, int64_t c) const {
    int64_t offset = n;
    for (int i = 0; i < 3; ++i) {
      if (at[i] < 0 || at[i] >= sizes[i]) return 0;
      offset = offset * sizes[i] + at[i];
    }
    return data[offset * channels + c];
  }
};
Padded In(const ConvGeometry& g, const Tensor& x) {
  return {x.data<float>().data(), {g.axis[0].input, g.axis[1].input, g.axis[2].input}, g.in_channels};
}
Padded Out(const ConvGeometry& g, const Tensor& y) {
  return {y.data<float>().data(), {g.axis[0].output, g.axis[1].output, g.axis[2].output}, g.out_channels};
}
template <class Visit>
void ForEach(int64_t a, int64_t b, int64_t c, Visit visit) {
  int64_t at[3];
  for (at[0] = 0; at[0] < a; ++at[0]) {
    for (at[1] = 0; at[1] < b; ++at[1]) {
      for (at[2] = 0; at[2] < c; ++at[2]) visit(at);
    }
  }
}

// Whether less than kInsidePercent of the pairs of a position and a tap that fits meet a cell inside, counted singly.
bool LeavesPaddingOut(const ConvGeometry& g, bool gradient) {
  if (g.groups > 1 && g.group_in() == 1) return false;
  int64_t pairs = 1, inside = 1;
  for (const SpatialAxis& axis : g.axis) {
    int64_t fitting = 0, meeting = 0;
    for (int64_t at = 0; at < (gradient ? axis.input : axis.output); ++at) {
      for (int64_t k = 0; k < axis.window; ++k) {
        const int64_t shift = k * axis.dilation - axis.pad_before;
        if (gradient && (at - shift) % axis.stride != 0) continue;
        const int64_t cell = gradient ? (at - shift) / axis.stride : at * axis.stride + shift;
        ++fitting;
        meeting += cell >= 0 && cell < (gradient ? axis.output : axis.input);
      }
    }
    pairs *= fitting;
    inside *= meeting;
  }
  return inside * 100 < pairs * kInsidePercent;
}

TEST(CanonicalOrder, Conv) {
  for (const auto& [name, run] : RunsOf("conv")) {
    const ConvGeometry g = ConvGeometryOf(run.attrs, run.inputs[0].shape(), run.inputs[1].shape());
    const Padded x = In(g, run.inputs[0]);
    const bool left_out = LeavesPaddingOut(g, /*gradient=*/false);
    const auto w = run.inputs[1].data<float>();
    std::vector<float> y;
    for (int64_t n = 0; n < g.batch; ++n) {
      ForEach(g.axis[0].output, g.axis[1].output, g.axis[2].output, [&](const int64_t* p) {
        for (int64_t o = 0; o < g.out_channels; ++o) {
          const int64_t first = o / g.group_out() * g.group_in();
          float acc = 0;
          int64_t tap = 0;
          ForEach(g.axis[0].window, g.axis[1].window, g.axis[2].window, [&](const int64_t* k) {
            int64_t at[3];
            for (int i = 0; i < 3; ++i)
              at[i] = p[i] * g.axis[i].stride + k[i] * g.axis[i].dilation - g.axis[i].pad_before;
            for (int64_t c = 0; c < g.group_in() && (!left_out || x.Has(at)); ++c) {
              acc = std::fma(x(n, at, first + c), w[(tap * g.group_in() + c) * g.out_channels + o], acc);
            }
            ++tap;
          });
          y.push_back(acc);
        }
      });
    }
    ExpectSameBits(name, y, run.output);
  }
}

TEST(CanonicalOrder, ConvInputGradient) {
  for (const auto& [name, run] : RunsOf("conv_input_gradient")) {
    const ConvGeometry g = ConvGeometryOf(run.attrs, run.output.shape(), run.inputs[1].shape());
    const Padded dy = Out(g, run.inputs[0]);
    const bool left_out = LeavesPaddingOut(g, /*gradient=*/true);
    const auto w = run.inputs[1].data<float>();
    std::vector<float> dx;
    for (int64_t n = 0; n < g.batch; ++n) {
      ForEach(g.axis[0].input, g.axis[1].input, g.axis[2].input, [&](const int64_t* in) {
        for (int64_t c = 0; c < g.in_channels; ++c) {
          const int64_t group = c / g.group_in();
          float acc = 0;
          int64_t tap = g.taps();
          ForEach(g.axis[0].window, g.axis[1].window, g.axis[2].window, [&](const int64_t* back) {
            --tap;
            int64_t at[3];
            for (int i = 0; i < 3; ++i) {
              const SpatialAxis& axis = g.axis[i];
              const int64_t k = axis.window - 1 - back[i];
              const int64_t scaled = in[i] + axis.pad_before - k * axis.dilation;
              if (scaled % axis.stride != 0) return;
              at[i] = scaled / axis.stride;
            }
            if (left_out && !dy.Has(at)) return;
            for (int64_t o = 0; o < g.group_out(); ++o) {
              const int64_t out = group * g.group_out() + o;
              acc = std::fma(dy(n, at, out), w[(tap * g.group_in() + c % g.group_in()) * g.out_channels + out], acc);
            }
          });
          dx.push_back(acc);
        }
      });
    }
    ExpectSameBits(name, dx, run.output);
  }
}

TEST(CanonicalOrder, ConvFilterGradient) {
  for (const auto& [name, run] : RunsOf("conv_filter_gradient")) {
    const ConvGeometry g = ConvGeometryOf(run.attrs, run.inputs[0].shape(), run.output.shape());
    const Padded x = In(g, run.inputs[0]), dy = Out(g, run.inputs[1]);
    const int64_t chunk = FilterGradientImages(g.out_positions());
    std::vector<float> dw;
    ForEach(g.axis[0].window, g.axis[1].window, g.axis[2].window, [&](const int64_t* k) {
      for (int64_t c = 0; c < g.group_in(); ++c) {
        for (int64_t o = 0; o < g.out_channels; ++o) {
          float total = 0;
          for (int64_t begin = 0; begin < g.batch; begin += chunk) {
            float acc = 0;
            for (int64_t n = begin; n < std::min(begin + chunk, g.batch); ++n) {
              ForEach(g.axis[0].output, g.axis[1].output, g.axis[2].output, [&](const int64_t* p) {
                int64_t at[3];
                for (int i = 0; i < 3; ++i) {
                  at[i] = p[i] * g.axis[i].stride + k[i] * g.axis[i].dilation - g.axis[i].pad_before;
                }
                acc = std::fma(x(n, at, o / g.group_out() * g.group_in() + c), dy(n, p, o), acc);
              });
            }
            total = begin == 0 ? acc : total + acc;
          }
          dw.push_back(total);
        }
      }
    });
    ExpectSameBits(name, dw, run.output);
  }
}

TEST(CanonicalOrder, MatMul) {
  for (const auto& [name, run] : RunsOf("matmul")) {
    const bool ta = run.attrs.Bool("transpose_a"), tb = run.attrs.Bool("transpose_b");
    const Shape &sa = run.inputs[0].shape(), &sb = run.inputs[1].shape(), &sy = run.output.shape();
    const int64_t m = sy.dim(-2), n = sy.dim(-1), k = sa.dim(ta ? -2 : -1);
    Dims batch_dims(sy.begin(), sy.end() - 2);
    const Shape batch(batch_dims);
    const Dims a_batch = BroadcastStrides(Shape(Dims(sa.begin(), sa.end() - 2)), batch);
    const Dims b_batch = BroadcastStrides(Shape(Dims(sb.begin(), sb.end() - 2)), batch);
    std::vector<float> y;
    for (int64_t i = 0; i < (m * n == 0 ? 0 : batch.size()); ++i) {
      int64_t ai = 0, bi = 0, rest = i;
      for (int axis = batch.rank() - 1; axis >= 0; rest /= batch.dim(axis), --axis) {
        ai += rest % batch.dim(axis) * a_batch[axis];
        bi += rest % batch.dim(axis) * b_batch[axis];
      }
      const float* a = run.inputs[0].data<float>().data() + ai * m * k;
      const float* b = run.inputs[1].data<float>().data() + bi * k * n;
      for (int64_t row = 0; row < m; ++row) {
        for (int64_t column = 0; column < n; ++column) {
          float total = 0;
          for (int64_t begin = 0; begin < k; begin += kMatMulBlock) {
            float acc = 0;
            for (int64_t j = begin; j < std::min(begin + kMatMulBlock, k); ++j) {
              acc = std::fma(a[ta ? j * m + row : row * k + j], b[tb ? column * k + j : j * n + column], acc);
            }
            total = begin == 0 ? acc : total + acc;
          }
          y.push_back(total);
        }
      }
    }
    ExpectSameBits(name, y, run.output);
  }
}

// Sums over axes of a 4-D view [kept, reduced, kept, reduced] with sizes of 1 where there is nothing, by definition.
float RowSum(const std::vector<std::vector<float>>& runs) {
  float total = 0;
  bool first = true;
  for (const std::vector<float>& run : runs) {
    for (size_t begin = 0; begin < run.size(); begin += kReduceRowBlock) {
      float lane[kReduceLanes] = {};
      for (size_t j = begin; j < std::min(begin + kReduceRowBlock, run.size()); ++j)
        lane[(j - begin) % kReduceLanes] += run[j];
      for (int w : {8, 4, 2, 1}) {
        for (int i = 0; i < w; ++i) lane[i] += lane[i + w];
      }
      total = first ? lane[0] : total + lane[0];
      first = false;
    }
  }
  return total;
}

TEST(CanonicalOrder, ReduceSumInRowMode) {
  const auto graph = Graph::Create();
  const Shape shape{2, 3, 1, 2, kReduceRowBlock + 19};  // kept, reduced, -, kept, reduced
  Tensor x(DType::kFloat32, shape);
  float next = 0.1f;
  for (float& element : x.data<float>()) element = next = std::fmod(next * 1.37f + 0.311f, 3.0f) - 1;
  const Tensor y = Interpret(Sum(graph->Data(x), {1, 2, 4}));
  ASSERT_EQ(y.shape(), Shape({2, 2}));
  const int64_t run = shape.dim(4);
  for (int64_t a = 0; a < 2; ++a) {
    for (int64_t b = 0; b < 2; ++b) {
      std::vector<std::vector<float>> runs;
      for (int64_t r = 0; r < 3; ++r) {
        const float* begin = x.data<float>().data() + ((a * 3 + r) * 2 + b) * run;
        runs.emplace_back(begin, begin + run);
      }
      EXPECT_EQ(y.at<float>({a, b}), RowSum(runs));
    }
  }
}

TEST(CanonicalOrder, ReduceSumInColumnMode) {
  const auto graph = Graph::Create();
  const Shape shape{60, 2, 40, 3};  // reduced, kept, reduced, kept: 2400 tuples
  Tensor x(DType::kFloat32, shape);
  float next = 0.1f;
  for (float& element : x.data<float>()) element = next = std::fmod(next * 1.37f + 0.311f, 3.0f) - 1;
  const Tensor y = Interpret(Sum(graph->Data(x), {0, 2}));
  for (int64_t a = 0; a < 2; ++a) {
    for (int64_t b = 0; b < 3; ++b) {
      float total = 0, acc = 0;
      for (int64_t r = 0; r < 2400; ++r) {
        acc += x.at<float>({r / 40, a, r % 40, b});
        if ((r + 1) % kReduceColumnBlock == 0 || r + 1 == 2400) {
          total = r < kReduceColumnBlock ? acc : total + acc;
          acc = 0;
        }
      }
      EXPECT_EQ(y.at<float>({a, b}), total);
    }
  }
}

}  // namespace
}  // namespace weir
