// SPDX-License-Identifier: Apache-2.0
// The kernel table: every kernel of one instruction set, as plain function pointers.
//
// This header is the only way into kernels/. It holds data types and no function, so that both the
// per-ISA units and the rest of the library may include it. Kernels are single-threaded, total on
// their stated range, allocate nothing, throw nothing, and read and write no byte outside the
// arrays they are given. Strides and steps count elements, never bytes. n = 0 is always legal.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/element.h"
#include "kernels/gemm/args.h"

namespace lamella::kernels {

using std::ptrdiff_t;
using std::size_t;

// y[i] = f(a[i * a_step], b[i * b_step]) with steps 0 (one value for all) or 1.
template <class T>
using BinaryFn = void (*)(const T* a, ptrdiff_t a_step, const T* b, ptrdiff_t b_step, T* y,
                          size_t n);

// The same with a truth value, 0 or 1, as result.
template <class T>
using CompareFn = void (*)(const T* a, ptrdiff_t a_step, const T* b, ptrdiff_t b_step,
                           std::uint8_t* y, size_t n);

// y[i] = condition[i] ? a[i] : b[i]; steps as in BinaryFn.
template <class T>
using SelectFn = void (*)(const std::uint8_t* condition, ptrdiff_t condition_step, const T* a,
                          ptrdiff_t a_step, const T* b, ptrdiff_t b_step, T* y, size_t n);

// Several of these in one pass: y[i] = f(x[0][i * step[0]], x[1][i * step[1]], ...); y may be exactly
// any x of step 1.
template <class T>
using JoinedFn = void (*)(const T* const* x, const ptrdiff_t* step, T* y, size_t n);

// y[i] = x[i] as the other type.
using CastFn = void (*)(const void* x, void* y, size_t n);

// Rows: x is rows x cols, row r starts at x + r * row_step; one result per row. The columns are
// folded into kReduceLanes running values (lane = column mod kReduceLanes) and those by the tree
// l + 8, + 4, + 2, + 1, whatever the vector width.
template <class T>
using ReduceRowsFn = void (*)(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y);

// Columns: one result per column, cols results; rows are folded in fixed chunks, in index order.
template <class T>
using ReduceColumnsFn = void (*)(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y);

// The same with results of another type (rows as ReduceRowsFn, columns as ReduceColumnsFn).
template <class T, class R>
using FoldFn = void (*)(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, R* y);

// Row index of the first largest (smallest) element, NaN counting as both.
template <class T>
using ArgReduceFn = void (*)(const T* x, ptrdiff_t row_step, size_t rows, size_t cols,
                             std::int64_t* y);

// y = softmax(x) per row, or its logarithm; both contiguous rows x cols; y == x is allowed.
template <class T>
using SoftmaxFn = void (*)(const T* x, T* y, size_t rows, size_t cols);

// A loss of each row against the class that `target` names, its slopes, and the class's weight.
template <class T>
struct ClassLossArgs {
  const T* x;                  // rows x cols, contiguous
  const std::int64_t* target;  // rows; each is `ignored` or in [0, cols)
  const T* weight;             // cols, or null for ones
  size_t rows, cols;
  std::int64_t ignored;  // rows of this target have loss, slopes and weight 0
  T hit, spread;         // shares of the target itself, and of each of the classes
  T* losses;             // rows, or null
  T* slopes;             // rows x cols, d losses / d x, or null; overlaps nothing
  T* weights;            // rows, weight[target], or null
};
template <class T>
using ClassLossFn = void (*)(const ClassLossArgs<T>& args);

// Sum of squared deviations from the row's mean divided by `divisor`, two passes.
template <class T>
using VarianceFn = void (*)(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T divisor,
                            T* y);

// y = (x - mean) / sqrt(var + epsilon) * weight + bias per row; weight and bias may be null.
template <class T>
using LayerNormFn = void (*)(const T* x, T* y, size_t rows, size_t cols, const T* weight,
                             const T* bias, T epsilon);

// y = x / sqrt(mean(x^2) + epsilon) * weight per row; weight may be null.
template <class T>
using RmsNormFn = void (*)(const T* x, T* y, size_t rows, size_t cols, const T* weight, T epsilon);

// y[i] = keep(i) ? x[i] * scale : 0 for i in [0, n), where keep(i) depends on (key, stream,
// first + i) alone: Philox 4x32-10, one 32-bit word an element, kept when word >= threshold.
template <class T>
using DropoutFn = void (*)(const T* x, T* y, size_t n, std::uint64_t first, std::uint64_t key,
                           std::uint64_t stream, std::uint32_t threshold, T scale);

// y[i] = a random number for i in [0, n), which depends on (key, stream, first + i) alone.
template <class T>
using DrawFn = void (*)(T* y, size_t n, std::uint64_t first, std::uint64_t key,
                        std::uint64_t stream);

// An optimiser's update of n elements. x: the parameter, its gradient, then the state; y: the new
// parameter, then the new state. Each y may be exactly any x; no two y overlap. scalars: the sign of
// the gradient and the weight decay, then the rule's own (steps/optimizer.cpp).
template <class T>
using UpdateFn = void (*)(const T* const* x, T* const* y, size_t n, const double* scalars);
inline constexpr size_t kUpdateCommon = 2;

// One product of a block of rows and a range of packed columns, of bytes, exact modulo 2^32:
//   sum[i, j] = sum_k (a[i, k] - row_zero[i]) (b[k, j] - column_zero[j])
//   y[i, j] = sum[i, j], or activation(float(sum[i, j]) * scale[i, j] + bias[j])
// a is unsigned and b signed as the kernel reads them; both lie in groups of `terms` terms.
struct IntegerGemmArgs {
  size_t m, n, k, groups;  // groups = ceil(k / terms)
  const std::uint8_t* a;   // rows of `groups` times four bytes, a_row bytes apart
  ptrdiff_t a_row;
  const std::uint8_t* b;  // panels of pack_panels, b_panel bytes apart
  ptrdiff_t b_panel;
  const std::int32_t* row_zero;  // row_zero[i * row_zero_step], step 0 or 1
  ptrdiff_t row_zero_step;
  const std::int32_t* column_zero;  // n, in room for whole panels; null: all 0
  const std::int32_t* row_sums;     // m, the sums of a's rows; read beside column_zero only
  std::int32_t* y;                  // where scale is null
  float* y_float;                   // where it is not
  ptrdiff_t y_row;                  // columns of y are contiguous
  const float* scale;  // scale[i * scale_row + j] where scale_column, else [i * scale_row]
  ptrdiff_t scale_row;
  bool scale_column;
  const float* bias;          // n, or null
  UnaryFn<float> activation;  // or null; beside a scale only
  const float* activation_params;
};

// Rows of a copied into groups, every byte ^ flip, with their sums.
struct IntegerRows {
  const std::uint8_t* a;  // a[i * a_row + k * a_k]
  ptrdiff_t a_row, a_k;
  std::uint8_t flip;  // 0 or 128
  size_t m, k;
  std::uint8_t* packed;  // rows packed_row bytes apart, in room for whole cache lines
  ptrdiff_t packed_row;
  std::int32_t* sums;  // m
};

// Panels first_panel .. last_panel - 1 of b, every byte ^ flip: (groups + 1) * 64 bytes each.
struct IntegerPanels {
  const std::uint8_t* b;  // b[k * b_k + j * b_n]
  ptrdiff_t b_k, b_n;
  std::uint8_t flip;
  size_t k, n, first_panel, last_panel;
  std::uint8_t* panels;  // of all columns
};

struct IntegerGemmKernels {
  size_t terms;  // in a group of four bytes: 4 of 8 bits, or 2 of 16
  void (*gemm)(const IntegerGemmArgs& args);
  void (*pack_rows)(const IntegerRows& rows);
  void (*pack_panels)(const IntegerPanels& panels);
  // To be timed, as LimitKernels.
  std::int32_t (*multiply_add)(size_t iterations, std::int32_t factor);
  size_t operations_per_iteration;
};

// y[i] = saturate(round(x[i] / scale[i * step]) + zero[i * step]), and its inverse; zero may be null.
template <class T, class Q>
using QuantizeFn = void (*)(const T* x, const T* scale, const Q* zero, ptrdiff_t step, Q* y,
                            size_t n);
template <class T, class Q>
using DequantizeFn = void (*)(const Q* x, const T* scale, const Q* zero, ptrdiff_t step, T* y,
                              size_t n);

template <class T>
struct TypedQuantizeKernels {
  QuantizeFn<T, std::uint8_t> quantize_u8;
  QuantizeFn<T, std::int8_t> quantize_i8;
  DequantizeFn<T, std::uint8_t> dequantize_u8;
  DequantizeFn<T, std::int8_t> dequantize_i8;
  DequantizeFn<T, std::int32_t> dequantize_i32;
};

struct QuantizeKernels {
  TypedQuantizeKernels<float> f32;
  TypedQuantizeKernels<double> f64;
  // The least and the greatest of 0 and x[0, n); NaN where x has one.
  void (*extremes)(const float* x, size_t n, float* least, float* greatest);
};

template <class Fn>
struct Entry {
  const char* name;
  size_t params;  // how many numbers the kernel reads from `params` (unary), operands (joined), or
                  // arrays of state
  double cost;    // nanoseconds an element, in cache (cost.h)
  Fn fn;
};

// A family's kernels by name; names are the Python rows' names.
template <class Fn>
struct Family {
  const Entry<Fn>* entries;
  size_t count;
};

// The families of one element type, each filled by its own translation unit (families.h).
template <class T>
struct ElementwiseKernels {
  Family<UnaryFn<T>> unary;
  Family<BinaryFn<T>> binary;
  Family<CompareFn<T>> compare;
  Entry<SelectFn<T>> select;
  Family<JoinedFn<T>> joined;
};

template <class T>
struct RandomKernels {
  Entry<DropoutFn<T>> dropout;
  Family<DrawFn<T>> draw;  // uniform normal
};

template <class T>
struct RowKernels {
  Family<ReduceRowsFn<T>> reduce_rows;        // sum mean max min prod logsumexp norm
  Family<ReduceColumnsFn<T>> reduce_columns;  // sum mean max min prod
  Family<ArgReduceFn<T>> arg_reduce;          // argmax argmin
  Family<VarianceFn<T>> spread;               // var, and std, its root
  Family<SoftmaxFn<T>> softmax;               // softmax log_softmax
  Entry<LayerNormFn<T>> layer_norm;
  Entry<RmsNormFn<T>> rms_norm;
  Family<ClassLossFn<T>> class_loss;  // cross_entropy nll
};

template <class T>
struct OptimizerKernels {
  Family<UpdateFn<T>> update;
};

// Reductions of integers and truth values, by the type of their results.
template <class T, class R>
struct FoldKernels {
  Family<FoldFn<T, R>> rows;
  Family<FoldFn<T, R>> columns;
};
template <class T>
struct IntegerRowKernels {
  FoldKernels<T, std::int64_t> wide;   // sum prod
  FoldKernels<T, T> same;              // max min
  FoldKernels<T, std::uint8_t> truth;  // any all
  Family<ArgReduceFn<T>> arg_reduce;   // argmax argmin
};

// Of floating types.
template <class T>
struct TypedKernels {
  const ElementwiseKernels<T>* elementwise;
  const RandomKernels<T>* random;
  const RowKernels<T>* rows;
  const OptimizerKernels<T>* optimizer;
};

// Of integers and truth values.
template <class T>
struct IntegerKernels {
  const ElementwiseKernels<T>* elementwise;
  const IntegerRowKernels<T>* rows;
};

// Pieces put where an index says (scatter.h): piece (j, k), `width` neighbours of source, to row
// index[j * index_step + k] of y. Rows outside [first, last) and the row `skipped` are passed over.
template <class T>
struct ScatterArgs {
  const std::int64_t* index;
  size_t index_step, count, inner;
  const T* source;
  size_t source_step, width;
  T* y;  // overlaps nothing
  size_t y_step, first, last, skipped;
  bool fresh;  // wherever something is put, y is `start` before
  T start;
};
template <class T>
using ScatterFn = void (*)(const ScatterArgs<T>& args);

// y[j] = op(y[j - 1], x[j]) along `size` elements that are `step` apart, of each of `columns`
// neighbours; y may be x.
template <class T>
using ScanFn = void (*)(const T* x, T* y, ptrdiff_t step, size_t size, size_t columns);

// The same for the extreme so far, and its position along the axis; y overlaps nothing.
template <class T>
using ExtremeScanFn = void (*)(const T* x, T* y, std::int64_t* positions, ptrdiff_t step,
                               size_t size, size_t columns);

// Rows of up to so many elements are sorted without scratch. Longer ones, of fewer than 2^32, want
// kSortCounts bytes and twice the row in keys with their positions (16 bytes of elements of 8, else
// 8), aligned to 64.
inline constexpr size_t kSortAlone = 32;
inline constexpr size_t kSortCounts = 3 * 2048 * sizeof(std::uint32_t);

// The first `wanted` elements of one row in order, and where they stood; either may be null.
template <class T>
struct SortArgs {
  const T* x;
  size_t cols, wanted;  // wanted <= cols
  bool descending;
  T* values;
  std::int64_t* positions;
  std::byte* scratch;
};
template <class T>
using SortFn = void (*)(const SortArgs<T>& args);

// y[i] = how many elements of the row, which is in order, stand before x[i].
template <class T>
struct SearchArgs {
  const T* row;
  size_t cols;
  const T* x;
  size_t count;
  bool right;  // behind equal elements
  std::int64_t* y;
};
template <class T>
using SearchFn = void (*)(const SearchArgs<T>& args);

template <class T>
struct IndexingKernels {
  Family<ScatterFn<T>> scatter;           // replace amax amin; of numbers also sum prod
  Family<ScanFn<T>> scan;                 // sum prod; of float, double and int64
  Family<ExtremeScanFn<T>> extreme_scan;  // max min
  Entry<SortFn<T>> sort;
  Entry<SearchFn<T>> search;
};

struct IndexingTable {
#define LAMELLA_MEMBER(tag, Type, name, kind) IndexingKernels<Type> tag;
  LAMELLA_FLOATING(LAMELLA_MEMBER)
  LAMELLA_INTEGERS(LAMELLA_MEMBER)
  LAMELLA_TRUTH(LAMELLA_MEMBER)
#undef LAMELLA_MEMBER
};

// By the numbers of the elements in their list. There is none (fn is null) from a type to itself, and
// between a storage type and another than a floating one.
struct CastKernels {
  Entry<CastFn> entries[kElementCount][kElementCount];
};

// Loops to be timed, for the limits that a speed is compared with (limits.h). Memory is walked
// through in several ways, of which the fastest counts.
struct LimitKernels {
  static constexpr size_t kWays = 4;
  float (*multiply_add)(size_t iterations, float factor, float term);
  size_t operations_per_iteration;
  float (*read[kWays])(const float* x, size_t n);
  void (*write[kWays])(float value, float* y, size_t n);
  void (*copy[kWays])(const float* x, float* y, size_t n);
  void (*update[kWays])(float factor, float* x, size_t n);
};

struct KernelTable {
  const char* isa;
  size_t vector_bytes;
  bool fused_multiply_add;
#define LAMELLA_MEMBER(tag, Type, name, kind) TypedKernels<Type> tag;
  LAMELLA_FLOATING(LAMELLA_MEMBER)
#undef LAMELLA_MEMBER
#define LAMELLA_MEMBER(tag, Type, name, kind) IntegerKernels<Type> tag;
  LAMELLA_INTEGERS(LAMELLA_MEMBER)
  LAMELLA_TRUTH(LAMELLA_MEMBER)
#undef LAMELLA_MEMBER
  ProductKernels product;
  const CastKernels* cast;
  const IntegerGemmKernels* integer_gemm;
  const QuantizeKernels* quantize;
  const LimitKernels* limits;
  const IndexingTable* indexing;
};

}  // namespace lamella::kernels
