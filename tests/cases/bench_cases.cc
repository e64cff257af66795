// Problems of the tutorial's network at its batch size, for timing only.
#include "weir/ops/ops.h"
#include "weir/tests/cases/conv_problem.h"
#include "weir/tests/cases/op_case.h"

namespace weir {
namespace {

constexpr int64_t kBatch = 32;

void Add(OpCases& cases, OpCase bench) {
  bench.name = StrCat("bench_", bench.name);
  bench.bench = bench.bench_only = true;
  bench.gradient = false;
  cases.push_back(std::move(bench));
}

std::vector<Value> One(const Value& value) { return {value}; }

}  // namespace

void AddBenchCases(OpCases& cases) {
  const ConvOptions same = {.padding = "same"};
  for (int64_t ic : {3, 32}) {
    const ConvProblem problem{.batch = kBatch, .in = {32, 32}, .ic = ic, .oc = 32, .window = {3, 3}, .options = same};
    for (ConvPartial partial : {ConvPartial::kForward, ConvPartial::kInputGradient, ConvPartial::kFilterGradient}) {
      Add(cases, problem.Case(partial));
    }
  }
  Add(cases, ConvProblem{.batch = 8, .in = {56, 56}, .ic = 64, .oc = 64, .window = {3, 3}, .options = same}.Case(
                 ConvPartial::kForward));
  Add(cases,
      ConvProblem{.batch = 8, .in = {28, 28}, .ic = 128, .oc = 256, .window = {1, 1}}.Case(ConvPartial::kForward));
  Add(cases, ConvProblem{.batch = 8,
                         .in = {56, 56},
                         .ic = 64,
                         .oc = 64,
                         .window = {3, 3},
                         .options = {.padding = "same", .groups = 64}}
                 .Case(ConvPartial::kForward));
  // Filter gradients with many channels, by rows and by chunks, and depthwise.
  for (const ConvProblem& problem :
       std::vector<ConvProblem>{{.batch = 8, .in = {56, 56}, .ic = 64, .oc = 64, .window = {3, 3}, .options = same},
                                {.batch = 8, .in = {28, 28}, .ic = 128, .oc = 256, .window = {1, 1}},
                                {.batch = 32, .in = {7, 7}, .ic = 256, .oc = 512, .window = {3, 3}, .options = same},
                                {.batch = 8,
                                .in = {56, 56},
                                .ic = 64,
                                .oc = 64,
                                .window = {3, 3},
                                .options = {.padding = "same", .groups = 64}}}) {
    Add(cases, problem.Case(ConvPartial::kFilterGradient));
  }
  // Small images with many channels.
  for (const ConvProblem& problem : std::vector<ConvProblem>{
           {.batch = 32, .in = {2, 2}, .ic = 256, .oc = 256, .window = {3, 3}, .options = same},
           {.batch = 1, .in = {2, 2}, .ic = 256, .oc = 256, .window = {3, 3}, .options = same},
           {.batch = 32,
            .in = {4, 4},
            .ic = 128,
            .oc = 256,
            .window = {3, 3},
            .options = {.strides = {2, 2}, .padding_before = {1, 1}, .padding_after = {1, 1}}},
           {.batch = 32, .in = {8, 8}, .ic = 64, .oc = 128, .window = {1, 1}, .options = {.strides = {2, 2}}}}) {
    for (ConvPartial partial : {ConvPartial::kForward, ConvPartial::kInputGradient}) Add(cases, problem.Case(partial));
  }
  // Depthwise convolutions of networks, on large and on small images, with and without steps.
  const auto depthwise = [](int64_t batch, int64_t size, int64_t channels, int64_t stride) {
    return ConvProblem{.batch = batch,
                       .in = {size, size},
                       .ic = channels,
                       .oc = channels,
                       .window = {3, 3},
                       .options = {.strides = {stride, stride}, .padding = "same", .groups = channels}};
  };
  for (const ConvProblem& problem :
       {depthwise(4, 112, 64, 2), depthwise(4, 14, 512, 1), depthwise(32, 16, 64, 2), depthwise(32, 4, 256, 1)}) {
    for (ConvPartial partial : {ConvPartial::kForward, ConvPartial::kInputGradient, ConvPartial::kFilterGradient}) {
      Add(cases, problem.Case(partial));
    }
  }
  ConvOptions winograd = same;
  winograd.algorithm = ConvAlgorithm::kWinograd;
  for (const ConvProblem& problem : std::vector<ConvProblem>{
           {.batch = kBatch, .in = {32, 32}, .ic = 32, .oc = 32, .window = {3, 3}, .options = winograd},
           {.batch = 8, .in = {56, 56}, .ic = 64, .oc = 64, .window = {3, 3}, .options = winograd},
           {.batch = 32, .in = {7, 7}, .ic = 256, .oc = 512, .window = {3, 3}, .options = winograd}}) {
    for (ConvPartial partial : {ConvPartial::kForward, ConvPartial::kInputGradient, ConvPartial::kFilterGradient}) {
      Add(cases, problem.Case(partial));
    }
  }
  Add(cases, {.name = "conv/bias_relu_mb32ic32ih32iw32oc32kh3kw3_same",
              .op = "conv",
              .inputs = {{{kBatch, 32, 32, 32}}, {{3, 3, 32, 32}}, {{32}}},
              .build = [](Graph&, std::span<const Value> v) {
                return One(Relu(Conv2D(v[0], v[1], {.padding = "same"}) + v[2]));
              }});
  const auto product = [&](std::string name, Shape a, Shape b, MatMulOptions options) {
    Add(cases, {.name = StrCat("matmul/", name),
                .op = "matmul",
                .inputs = {{a}, {b}},
                .build = [options](Graph&, std::span<const Value> v) { return One(MatMul(v[0], v[1], options)); }});
  };
  product("dense_32x8192,8192x512", {kBatch, 8192}, {8192, 512}, {});
  product("dense_dx_32x512,8192x512_tb", {kBatch, 512}, {8192, 512}, {.transpose_b = true});
  product("dense_dw_32x8192,32x512_ta", {kBatch, 8192}, {kBatch, 512}, {.transpose_a = true});
  product("dense_32x512,512x10", {kBatch, 512}, {512, 10}, {});
  product("square_512", {512, 512}, {512, 512}, {});
  product("1024_terms", {128, 1024}, {1024, 512}, {});
  product("dense_1x8192,8192x512", {1, 8192}, {8192, 512}, {});
  Add(cases,
      {.name = "matmul/dense_dw_adam_32x8192,32x512_ta",
       .op = "matmul",
       .inputs = {{{kBatch, 8192}}, {{kBatch, 512}}, {{8192, 512}}, {{8192, 512}}, {{8192, 512}, Fill::kPositive}},
       .build = [](Graph&, std::span<const Value> v) {
         const Value g = MatMul(v[0], v[1], {.transpose_a = true});
         const Value m = v[3] + (g - v[3]) * 0.1, s = v[4] + (g * g - v[4]) * 0.001;
         return std::vector<Value>{v[2] - 0.001 * m / (Sqrt(s) + 1e-7), m, s};
       }});
  Add(cases, {.name = "matmul/dense_relu_dropout_32x8192,8192x512",
              .op = "matmul",
              .inputs = {{{kBatch, 8192}}, {{8192, 512}}, {{512}}, {DType::kInt64, {}, Fill::kStep}},
              .build = [](Graph&, std::span<const Value> v) {
                return One(Dropout(Relu(MatMul(v[0], v[1]) + v[2]), 0.5, v[3], 7, 5));
              }});
  Add(cases, {.name = "max_pool/32x32x32x32_2x2",
              .op = "max_pool",
              .inputs = {{{kBatch, 32, 32, 32}}},
              .build = [](Graph&, std::span<const Value> v) { return One(MaxPool(v[0])); }});
  Add(cases, {.name = "max_pool/32x32x32x32_2x2_index",
              .op = "max_pool",
              .inputs = {{{kBatch, 32, 32, 32}}},
              .build = [](Graph&, std::span<const Value> v) {
                const auto [values, index] = MaxPoolWithIndex(v[0]);
                return std::vector<Value>{values, index};
              }});
  const auto pooling = Graph::Create();
  const Value pooled = MaxPool(pooling->Input({DType::kFloat32, {kBatch, 32, 32, 32}}));
  const AttrMap attrs = pooling->node(pooled.ref.node).attrs;
  Add(cases, {.name = "max_pool_gradient/32x32x32x32_2x2",
              .op = "max_pool_gradient",
              .inputs = {{{kBatch, 16, 16, 32}}, {DType::kUint8, {kBatch, 16, 16, 32}, Fill::kIndices, 4}},
              .build = [attrs](Graph&, std::span<const Value> v) {
                return One(MaxPoolGradient(v[0], v[1], attrs, {kBatch, 32, 32, 32}));
              }});
  Add(cases, {.name = "average_pool/32x32x32x32_2x2",
              .op = "average_pool",
              .inputs = {{{kBatch, 32, 32, 32}}},
              .build = [](Graph&, std::span<const Value> v) { return One(AveragePool(v[0])); }});
  Add(cases, {.name = "softmax/32x10",
              .op = "softmax",
              .inputs = {{{kBatch, 10}}},
              .build = [](Graph&, std::span<const Value> v) { return One(Softmax(v[0])); }});
  Add(cases, {.name = "softmax/1024x1000",
              .op = "softmax",
              .inputs = {{{1024, 1000}}},
              .build = [](Graph&, std::span<const Value> v) { return One(Softmax(v[0])); }});
  Add(cases, {.name = "sparse_cross_entropy/32x10",
              .op = "sparse_cross_entropy",
              .inputs = {{{kBatch, 10}}, {DType::kInt32, {kBatch}, Fill::kIndices, 10}},
              .build = [](Graph&, std::span<const Value> v) { return One(SparseSoftmaxCrossEntropy(v[0], v[1])); }});
  Add(cases, {.name = "stream/adam_update_4194304",
              .op = "add",
              .inputs = {{{4194304}}, {{4194304}}, {{4194304}}, {{4194304}, Fill::kPositive}},
              .build = [](Graph&, std::span<const Value> v) {
                const Value m = v[2] + (v[1] - v[2]) * 0.1;
                const Value s = v[3] + (v[1] * v[1] - v[3]) * 0.001;
                return std::vector<Value>{v[0] - 0.001 * m / (Sqrt(s) + 1e-7), m, s};
              }});
  // Chains whose data stays in the second-level cache.
  Add(cases, {.name = "fused/adam_update_65536",
              .op = "add",
              .inputs = {{{65536}}, {{65536}}, {{65536}}, {{65536}, Fill::kPositive}},
              .build = [](Graph&, std::span<const Value> v) {
                const Value m = v[2] + (v[1] - v[2]) * 0.1;
                const Value s = v[3] + (v[1] * v[1] - v[3]) * 0.001;
                return std::vector<Value>{v[0] - 0.001 * m / (Sqrt(s) + 1e-7), m, s};
              }});
  Add(cases,
      {.name = "fused/bias_relu_dropout_4x32x32x32",
       .op = "relu",
       .inputs = {{{4, 32, 32, 32}}, {{32}}, {DType::kInt64, {}, Fill::kStep}},
       .build = [](Graph&, std::span<const Value> v) { return One(Dropout(Relu(v[0] + v[1]), 0.3, v[2], 7, 5)); }});
  Add(cases, {.name = "fused/bias_relu_dropout_pool_4x32x32x32",
              .op = "max_pool",
              .inputs = {{{4, 32, 32, 32}}, {{32}}, {DType::kInt64, {}, Fill::kStep}},
              .build = [](Graph&, std::span<const Value> v) {
                return One(MaxPool(Dropout(Relu(v[0] + v[1]), 0.3, v[2], 7, 5)));
              }});
  Add(cases, {.name = "fused/conv_bias_relu_pool_8x32x32x32",
              .op = "max_pool",
              .inputs = {{{8, 32, 32, 32}}, {{3, 3, 32, 32}}, {{32}}},
              .build = [](Graph&, std::span<const Value> v) {
                return One(MaxPool(Relu(Conv2D(v[0], v[1], {.padding = "same"}) + v[2])));
              }});
  Add(cases, {.name = "fused/scale_relu_conv_8x32x32x32",
              .op = "conv",
              .inputs = {{{8, 32, 32, 32}}, {{3, 3, 32, 32}}, {{32}}, {{32}}},
              .build = [](Graph&, std::span<const Value> v) {
                return One(Conv2D(Relu(v[0] * v[2] + v[3]), v[1], {.padding = "same"}));
              }});
  Add(cases, {.name = "fused/dropout_conv_8x32x32x32",
              .op = "conv",
              .inputs = {{{8, 32, 32, 32}}, {{3, 3, 32, 32}}, {DType::kInt64, {}, Fill::kStep}},
              .build = [](Graph&, std::span<const Value> v) {
                return One(Conv2D(Dropout(v[0], 0.3, v[2], 7, 5), v[1], {.padding = "same"}));
              }});
  Add(cases, {.name = "fused/layer_norm_256x512",
              .op = "reduce_sum",
              .inputs = {{{256, 512}}, {{512}}, {{512}}},
              .build = [](Graph&, std::span<const Value> v) {
                const Value centred = v[0] - Mean(v[0], {1}, true);
                return One(centred * Rsqrt(Mean(Square(centred), {1}, true) + 1e-3) * v[1] + v[2]);
              }});
  Add(cases, {.name = "fused/gelu_scale_softmax_256x512",
              .op = "softmax",
              .inputs = {{{256, 512}}, {{512}}},
              .build = [](Graph&, std::span<const Value> v) { return One(Softmax(Gelu(v[0]) * v[1])); }});
  Add(cases, {.name = "fused/bias_softmax_cross_entropy_256x512",
              .op = "sparse_cross_entropy",
              .inputs = {{{256, 512}}, {{512}}, {DType::kInt32, {256}, Fill::kIndices, 512}},
              .build = [](Graph&, std::span<const Value> v) {
                return One(Mean(SparseSoftmaxCrossEntropy(v[0] + v[1], v[2])));
              }});
  // A chain that no cache holds: what must move is all there is to it.
  Add(cases, {.name = "stream/scale_add_50331648",
              .op = "add",
              .inputs = {{{50331648}}, {{50331648}}},
              .build = [](Graph&, std::span<const Value> v) { return One(Relu(v[0] * 0.5 + v[1])); }});
  Add(cases,
      {.name = "exp/1048576", .op = "exp", .inputs = {{{1048576}}}, .build = [](Graph&, std::span<const Value> v) {
         return One(Exp(v[0]));
       }});
  Add(cases,
      {.name = "tanh/1048576", .op = "tanh", .inputs = {{{1048576}}}, .build = [](Graph&, std::span<const Value> v) {
         return One(Tanh(v[0]));
       }});
  Add(cases,
      {.name = "gelu/1048576", .op = "gelu", .inputs = {{{1048576}}}, .build = [](Graph&, std::span<const Value> v) {
         return One(Gelu(v[0]));
       }});
  Add(cases, {.name = "random_uniform/dropout_32x32x32x32",
              .op = "random_uniform",
              .inputs = {{DType::kInt64, {}, Fill::kStep}, {{kBatch, 32, 32, 32}}},
              .build = [](Graph&, std::span<const Value> v) { return One(Dropout(v[1], 0.3, v[0], 7, 5)); }});
  Add(cases, {.name = "reduce_sum/bias_32x32x32x32",
              .op = "reduce_sum",
              .inputs = {{{kBatch, 32, 32, 32}}},
              .build = [](Graph&, std::span<const Value> v) {
                return One(Sum(v[0], {0, 1, 2}));
              }});
  Add(cases, {.name = "reduce_sum_squares/8192x512_axis0",
              .op = "reduce_sum_squares",
              .inputs = {{{8192, 512}}},
              .build = [](Graph&, std::span<const Value> v) { return One(SumSquares(v[0], {0})); }});
  Add(cases, {.name = "reduce_sum/1048576",
              .op = "reduce_sum",
              .inputs = {{{1048576}}},
              .build = [](Graph&, std::span<const Value> v) { return One(Sum(v[0])); }});
  Add(cases, {.name = "transpose/32x32x32x32_0312",
              .op = "transpose",
              .inputs = {{{kBatch, 32, 32, 32}}},
              .build = [](Graph&, std::span<const Value> v) {
                return One(Transpose(v[0], {0, 3, 1, 2}));
              }});
}

}  // namespace weir
