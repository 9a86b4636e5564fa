// SPDX-License-Identifier: Apache-2.0
// The product kernel: blocks and superblocks (blocks.h) of the loop that the way names.
//
// Nothing is decided here. A new loop is one more name in args.h, one more line below, and its
// condition in steps/product/choose.cpp, which reads the facts.
#pragma once

#include "kernels/gemm/args.h"
#include "kernels/gemm/blocks.h"
#include "kernels/gemm/columns.h"
#include "kernels/gemm/dot.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/pairs.h"
#include "kernels/gemm/sweep.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// By Loop.
template <class T>
static constexpr void (*kLoops[])(const GemmArgs<T>& args) = {
    tiles_in_place<T>,   tiles_of_copies<T>, pack_and_multiply<T>, sweep<T>,
    columns_in_place<T>, dot_rows<T>,        dot_copied<T>,        dot_lanes<T>};

template <class T>
static void superblock(const GemmArgs<T>& args) {
  const Way& way = *args.way;
  // All rows share a piece that is packed.
  const size_t rows = way.loop == Loop::pieces ? args.m : way.block_rows;
  in_blocks(args, way.tile_rows, rows, way.block_panels, kLoops<T>[static_cast<size_t>(way.loop)]);
}

static void superblock(const PairArgs& args) {
  const Way& way = *args.way;
  in_blocks(args, way.tile_rows, way.block_rows, way.block_panels,
            way.loop == Loop::pairs ? pairs_in_place : widen_and_multiply);
}

template <class T, class B = T>
static void multiply(const GemmArgs<T, B, T>& args) {
  if (args.m == 0 || args.n == 0) return;
  const auto one = [](const GemmArgs<T, B, T>& part) { superblock(part); };
  if (args.k > kSuperblockK) return multiply_long(args, one);
  one(args);
}

template <class T>
inline constexpr TileFacts kFacts = {
    .lanes = Vec<T>::lanes,
    .narrow_lanes = Narrow<T>::lanes,
    .accumulators = kAccumulators,
    .most_panels = kMostPanels,
    .tile_rows = kTileRows<T>,
    .tall_rows = kTallRows,
    .copied_tiles = kCopiedBytes / (kTileRows<T> * kBlockK * sizeof(T)),
    .piece_panels = kPieceBytes / (kBlockK * kPanel * sizeof(T)),
    .sweep_rows = kSweepRows,
    .few_rows = kColumnRows,
    .copied_terms = kStridedBytes / sizeof(T),
};

// Eight rows beside each other do as well as tiles of floats, however many follow (64 x 1024 x 1024 116
// GFLOP/s and 114, Zen 4); fewer leave the pipes waiting.
constexpr TileFacts pair_facts() {
  TileFacts facts = kFacts<float>;
  facts.few_rows = kPairRows < 8 ? 2 * kPairRows : static_cast<size_t>(-1);
  return facts;
}
inline constexpr TileFacts kPairFacts = pair_facts();

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
