// The SIMD kernels as their callers see them: plain functions over pointers, one table of them a target. No SIMD type
// and no header of Highway appears here; blocking, packing and the split into tasks are the business of the lower_*
// files that call these. Kernels are noexcept, allocate nothing and touch no byte outside of what their arguments say.
#ifndef WEIR_BACKENDS_HIGHWAY_KERNELS_KERNELS_H_
#define WEIR_BACKENDS_HIGHWAY_KERNELS_KERNELS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "weir/core/kernel_errors.h"
#include "weir/ops/scalar_math.h"

namespace weir::highway {

// ---- Products: convolutions and matrix products -------------------------------------------------
// `length` consecutive terms k of a sum: at u + k * u_step (u_step is 1 for rows) and v + k * v_step.
struct TermRun {
  int64_t u = 0;
  int64_t v = 0;
  int64_t length = 0;
};

enum class Accumulate : uint8_t {
  kStore,     // dst = sum from 0
  kContinue,  // dst = sum from dst
  kAddBlock,  // dst = dst + (sum from 0)
};

// Bytes of a panel from which on it is `far`.
inline constexpr int64_t kFarPanelBytes = 40 * 1024;

// What both products share. v is [columns] wide at each term, in panels of panel_vectors vectors: panel j begins at
// v + j * panel_stride. Whole vectors of v are read, so its rows must be padded to whole vectors; only `columns`
// elements of a row of dst are written (and read).
struct ProductArgs {
  const float* u = nullptr;
  const float* v = nullptr;
  int64_t v_step = 0;
  int64_t panel_stride = 0;
  int64_t columns = 0;
  int64_t rows = 0;
  const TermRun* runs = nullptr;
  int64_t run_count = 0;
  float* dst = nullptr;
  Accumulate accumulate = Accumulate::kStore;
  // Hints. far: v's panels are larger than the first-level cache. stream: memory wanted soon, fetched by the way.
  bool far = false;
  const float* stream = nullptr;
  int64_t stream_floats = 0;
  // RowProduct: row i reads u + u_offset[i] + run.u + k and writes dst + dst_offset[i].
  const int64_t* u_offset = nullptr;
  const int64_t* dst_offset = nullptr;
  // ColumnProduct: row i reads u + run.u + k * u_step + i and writes dst + i * dst_stride.
  int64_t u_step = 0;
  int64_t dst_stride = 0;
};

struct ProductKernels {
  // dst[i][c] = sum over runs and k of fma(u, v, acc), terms in order. In RowProduct u's terms are contiguous; in
  // ColumnProduct u's rows are.
  void (*row_product)(const ProductArgs& args) noexcept = nullptr;
  void (*column_product)(const ProductArgs& args) noexcept = nullptr;
  int64_t row_tile = 0;       // rows of a register tile: the best multiple for `rows`
  int64_t panel_vectors = 0;  // vectors in a panel
};

// Depthwise products: lane c meets lane c. Row i: dst[i][c] = sum over taps of fma(u[u_offset[i] + tap.u + c],
// v[tap.v + c], acc). `columns` elements of u, v and dst are touched; u and v must be padded to whole vectors.
struct DepthwiseArgs {
  const float* u = nullptr;
  const float* v = nullptr;
  int64_t columns = 0;
  int64_t rows = 0;
  const TermRun* taps = nullptr;  // length unused
  int64_t tap_count = 0;
  float* dst = nullptr;
  const int64_t* u_offset = nullptr;
  const int64_t* dst_offset = nullptr;
};

// dst[tap][c] = sum over images, rows and positions, in order, of fma(u[...], v[...], acc), both padded to whole
// vectors: the filter gradient of a depthwise convolution over one chunk.
struct DepthwiseFilterArgs {
  const float* u = nullptr;  // + tap_offset[t] + image * u_image + row_u[row] + p * u_step + c
  const float* v = nullptr;  // + image * v_image + row_v[row] + p * v_step + c
  int64_t columns = 0;
  int64_t images = 0, u_image = 0, v_image = 0;
  int64_t rows = 0;
  const int64_t* row_u = nullptr;
  const int64_t* row_v = nullptr;
  int64_t positions = 0, u_step = 0, v_step = 0;
  const int64_t* tap_offset = nullptr;
  int64_t taps = 0;
  float* dst = nullptr;
  int64_t dst_stride = 0;
};

struct DepthwiseKernels {
  void (*forward)(const DepthwiseArgs& args) noexcept = nullptr;
  void (*filter_gradient)(const DepthwiseFilterArgs& args) noexcept = nullptr;
};

// ---- Elementwise blocks -------------------------------------------------------------------------
// One instruction of a block program: dst[i] = f(src[0][i * step[0]], ...) for i < count. step is 1, or 0 for an
// operand that is one number, of which src then points to kSplat copies. Values are 4 bytes: float32, int32, or a truth
// value as 0 or ~0; only conversions read or write memory of one byte an element.
inline constexpr int64_t kSplat = 16;
struct BlockArgs {
  const void* src[3] = {};
  int64_t step[3] = {};
  void* dst = nullptr;
  int64_t count = 0;
  const void* fetch = nullptr;  // `count` floats wanted soon, fetched into caches by the way; or null
  ScalarParams params;
  // random_uniform: flat position of the first element, key and step.
  int64_t position = 0;
  uint32_t key[2] = {};
  uint64_t counter_step = 0;
};
using BlockFn = void (*)(const BlockArgs& args) noexcept;

// Two instructions in one: the first's result goes to the second without a trip through memory.
enum class FusedFirst : uint8_t { kAdd, kSub, kMul };
enum class FusedSecond : uint8_t { kAdd, kSub, kRsub, kMul, kMaximum };  // first op c; kRsub: c - first
inline constexpr int kFusedFirsts = 3;
inline constexpr int kFusedSeconds = 5;

struct BlockKernels {
  BlockFn f32[kScalarOps] = {};  // null where there is none
  BlockFn i32[kScalarOps] = {};
  BlockFn fused[kFusedFirsts][kFusedSeconds] = {};
  // Slot to slot.
  BlockFn copy = nullptr;
  BlockFn i32_to_f32 = nullptr;
  BlockFn f32_to_i32 = nullptr;   // towards 0, saturating; NaN gives 0
  BlockFn f32_to_byte = nullptr;  // the same to [0, 255]
  BlockFn mask_to_f32 = nullptr;  // 0 or 1
  BlockFn mask_to_i32 = nullptr;
  BlockFn f32_to_mask = nullptr;  // not 0
  BlockFn i32_to_mask = nullptr;
  BlockFn low_byte = nullptr;  // modulo 256
  // Memory of one byte an element to slot, and back.
  BlockFn u8_to_i32 = nullptr;
  BlockFn u8_to_mask = nullptr;
  BlockFn i32_to_u8 = nullptr;
  BlockFn mask_to_u8 = nullptr;
  BlockFn random_uniform = nullptr;
};

// ---- Pooling ------------------------------------------------------------------------------------
// `positions` windows with the same cells, channels across lanes: window p's cells are at
// x + p * x_step + cells[k].offset, k in row-major order, its result at y + p * y_step.
struct PoolCell {
  int64_t offset = 0;  // floats
  int32_t index = 0;   // what a winner's index calls it: padding counts
};
struct PoolArgs {
  const float* x = nullptr;  // what is pooled, or gathered from
  int64_t x_step = 0;
  const PoolCell* cells = nullptr;
  int64_t cell_count = 0;
  int64_t positions = 0;
  int64_t channels = 0;
  int64_t y_step = 0;
  float* y = nullptr;  // max, gather, average
  // Index of each window's winner, laid out as y, of 1 or 4 bytes: what gather and max_gradient read, max_with_index
  // writes.
  const std::byte* index = nullptr;
  std::byte* index_out = nullptr;
  int64_t index_bytes = 1;
  // Gradients: dy is laid out as y, dx as x. If `disjoint`, no two windows share a cell and dx is set; otherwise dx,
  // which holds zeros or sums of earlier windows, is added to.
  const float* dy = nullptr;
  float* dx = nullptr;
  bool disjoint = false;
  float divisor = 1;  // average: cells inside the input
};
struct PoolKernels {
  void (*max)(const PoolArgs& args) noexcept = nullptr;
  void (*max_with_index)(const PoolArgs& args) noexcept = nullptr;
  void (*gather)(const PoolArgs& args) noexcept = nullptr;  // x at the winner
  void (*average)(const PoolArgs& args) noexcept = nullptr;
  void (*max_gradient)(const PoolArgs& args) noexcept = nullptr;
  void (*average_gradient)(const PoolArgs& args) noexcept = nullptr;
};

// ---- Reductions ---------------------------------------------------------------------------------
enum class ReduceKind : uint8_t { kSum, kSumSquares, kMax, kMin };
inline constexpr int kReduceKinds = 4;

struct ReduceKernels {
  // Row mode: the value of a run of `count` > 0 floats, cut into blocks and lanes as canonical_order.h says, combined
  // with *total, or stored there if `first`.
  void (*row[kReduceKinds])(const float* src, int64_t count, bool first, float* total) noexcept = {};
  // Column mode: acc[c] = op(acc[c], src[r * stride + c]) for r < rows in order, from the initial value if `init`.
  void (*columns[kReduceKinds])(const float* src, int64_t rows, int64_t stride, int64_t columns, bool init,
                                float* acc) noexcept = {};
  // total[c] = combine(total[c], part[c]).
  void (*combine[kReduceKinds])(const float* part, int64_t columns, float* total) noexcept = {};
  // Index of the first largest of a row; the first NaN wins.
  int32_t (*argmax)(const float* row, int64_t count) noexcept = nullptr;
};
// The value of an empty reduction.
float ReduceInit(ReduceKind kind);

// ---- Softmax, on rows of the last axis ----------------------------------------------------------
inline constexpr const char* kCrossEntropyLabel = "SparseCrossEntropy: label";
struct SoftmaxKernels {
  void (*softmax)(const float* x, int64_t rows, int64_t classes, float* y) noexcept = nullptr;
  void (*log_softmax)(const float* x, int64_t rows, int64_t classes, float* y) noexcept = nullptr;
  // Losses; a label out of range is recorded at its row (counted from first_row) and gives NaN.
  void (*cross_entropy_i32)(const float* x, const int32_t* labels, int64_t rows, int64_t classes, int64_t first_row,
                            float* y, KernelErrors* errors) noexcept = nullptr;
  void (*cross_entropy_i64)(const float* x, const int64_t* labels, int64_t rows, int64_t classes, int64_t first_row,
                            float* y, KernelErrors* errors) noexcept = nullptr;
};

// ---- Data movement ------------------------------------------------------------------------------
struct MoveKernels {
  // Rows of `columns` floats into panels `width` floats wide (a multiple of the vector), one after the other, each with
  // all rows: dst[(c / width * rows + r) * width + c % width] = src[r * src_stride + c], zeros behind the last column.
  void (*pack)(const float* src, int64_t src_stride, int64_t rows, int64_t columns, int64_t width,
               float* dst) noexcept = nullptr;
  // dst[c * dst_stride + r] = src[r * src_stride + c], 4-byte elements.
  void (*transpose)(const float* src, int64_t src_stride, int64_t rows, int64_t columns, float* dst,
                    int64_t dst_stride) noexcept = nullptr;
};

// ---- Winograd's transforms (ops/winograd.h) -----------------------------------------------------
// Elements are numbered 0 .. 35 in row-major order and lie in planes, `element_stride` floats from one to the next.
// Where whole vectors are written, there must be room for them.
//
// Cells of `tiles` tiles along a row of an image, 4 columns from one to the next: cell (i, j) of the first is pixel
// (row + i, column + j), zero if that is outside. Element e of tile t goes to dst + e * element_stride + t *
// tile_stride, whole vectors.
struct WinogradCellsArgs {
  const float* image = nullptr;
  int64_t rows = 0, columns = 0, pixel_stride = 0;  // of the image
  int64_t channels = 0;
  int64_t row = 0, column = 0, tiles = 0;
  float* dst = nullptr;
  int64_t element_stride = 0, tile_stride = 0;
};
// Taps at w + tap * tap_stride + row * row_stride + c, c < columns, to dst + e * element_stride + row * width + c,
// whole vectors.
struct WinogradFilterArgs {
  const float* w = nullptr;
  int64_t tap_stride = 0, row_stride = 0;
  int64_t rows = 0, columns = 0;
  float* dst = nullptr;
  int64_t element_stride = 0, width = 0;
};
// For each element e, tile t and column o < columns of a panel (two vectors): product[e * product_element + t *
// product_tile + o] = sum over terms k of fma(source[e * source_element + t * source_tile + k], filter[e *
// filter_element + k * panel + o], acc). Whole vectors of the filter are read, and of the product written. far: an
// element's filter is too large for the first-level cache. stream: otherwise, memory wanted soon, fetched by the way.
inline constexpr size_t kWinogradStreams = 2;
struct WinogradProductArgs {
  const float* source = nullptr;
  int64_t source_element = 0, source_tile = 0;
  const float* filter = nullptr;
  int64_t filter_element = 0;
  int64_t terms = 0, tiles = 0, columns = 0;
  float* product = nullptr;
  int64_t product_element = 0, product_tile = 0;
  bool far = false;
  const float* stream[kWinogradStreams] = {};
  int64_t stream_floats[kWinogradStreams] = {};
};
// Sums at product + e * element_stride + t * tile_stride + c, read in whole vectors, to 4x4 outputs: output (i, j) of
// tile t at dst + i * row_stride + (4 t + j) * pixel_stride + c, c < channels. What is behind row `rows` or pixel
// `pixels` of the run is left out.
struct WinogradOutputArgs {
  const float* product = nullptr;
  int64_t element_stride = 0, tile_stride = 0;
  int64_t tiles = 0, channels = 0;
  float* dst = nullptr;
  int64_t row_stride = 0, pixel_stride = 0;
  int64_t rows = 0, pixels = 0;
};
// Sums at sums + e * element_stride + part * part_stride + i, i < count, parts added in order, to gradients of taps at
// dst + tap * tap_stride + i.
struct WinogradTapsArgs {
  const float* sums = nullptr;
  int64_t element_stride = 0, part_stride = 0, parts = 0;
  int64_t count = 0;
  float* dst = nullptr;
  int64_t tap_stride = 0;
};
struct WinogradKernels {
  void (*filter)(const WinogradFilterArgs& args) noexcept = nullptr;
  void (*source)(const WinogradCellsArgs& args) noexcept = nullptr;     // 6x6 cells
  void (*cotangent)(const WinogradCellsArgs& args) noexcept = nullptr;  // 4x4 cells
  void (*product)(const WinogradProductArgs& args) noexcept = nullptr;
  void (*output)(const WinogradOutputArgs& args) noexcept = nullptr;
  void (*taps)(const WinogradTapsArgs& args) noexcept = nullptr;
};

struct KernelTable {
  std::string target;  // "AVX3"
  int64_t lanes = 0;   // floats in a vector
  ProductKernels product;
  DepthwiseKernels depthwise;
  BlockKernels block;
  PoolKernels pool;
  ReduceKernels reduce;
  SoftmaxKernels softmax;
  MoveKernels move;
  WinogradKernels winograd;
};

// Targets that are compiled and that this machine can run, best first.
std::vector<std::string> SupportedTargets();
// The kernels of one of them; null if it is not among them. The table lives for ever.
const KernelTable* FindKernels(const std::string& target);

}  // namespace weir::highway

#endif  // WEIR_BACKENDS_HIGHWAY_KERNELS_KERNELS_H_
