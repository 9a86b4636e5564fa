// SPDX-License-Identifier: Apache-2.0
#include "steps/product/choose.h"

#include <algorithm>
#include <limits>

namespace lamella::steps {
namespace {

using kernels::kBlockK;
using kernels::kPanel;
using kernels::kReduceLanes;
using kernels::kSuperblockK;
using kernels::TileFacts;
using std::ptrdiff_t;
using std::size_t;

constexpr size_t kUncut = std::numeric_limits<size_t>::max();

// ---- the form of b

// From how many rows on copying a row-major b pays (measured on Zen 4, n and k from 64 to 4096).
// Rows a multiple of 4 KB apart fall into one set of the first-level cache and are read again for
// every tile, from 33 rows on often enough for a copy to pay; few rows of a far b are swept, and a b that
// stays in the second-level cache is as quick where it lies. Of two panels, the second one cut, packing
// both saves tiles for the second alone (64 x 20 with 32 terms 1.7 -> 1.55 us, Zen 4).
size_t rows_worth_packing(const ProductSizes& sizes) {
  constexpr size_t kShortTerms = 128, kRowsOfTwoPanels = 24, kRowsOfOneSet = 33;
  constexpr size_t kPageBytes = 4096, kHalfL2 = 128 * 1024, kRowsNear = 200, kRowsFar = 80;
  const size_t n = sizes.n;
  if (kPanel < n && n < 2 * kPanel && sizes.k <= kShortTerms) return kRowsOfTwoPanels;
  if (static_cast<size_t>(sizes.b_k) * sizes.item_bytes % kPageBytes == 0) return kRowsOfOneSet;
  return n * sizes.k * sizes.item_bytes <= kHalfL2 ? kRowsNear : kRowsFar;
}

// Whether a column-major b stays where it lies. A b that exceeds the second-level cache would otherwise
// be read from memory twice, and written once as a whole (64 x 2048 x 2048 6.7 -> 5.9 ms, Zen 4). With
// very many rows the pieces make a be read too often (2048 rows: 4 % slower). With very few, b is not
// packed at all.
bool stays_in_columns(const ProductSizes& sizes) {
  constexpr size_t kL2Bytes = 1024 * 1024, kManyRows = 512, kVeryFewRows = 4;
  if (sizes.b_constant || sizes.b_k != 1 || sizes.b_col == 1 || sizes.m > kManyRows) return false;
  if (sizes.m <= kVeryFewRows && sizes.n >= kPanel) return true;
  return sizes.n * sizes.k * sizes.item_bytes > kL2Bytes;
}

// ---- the loop

// From here on b is far: its pages are more than the second-level TLB of many machines holds (2048 of
// 4 KB), and a tile that comes back for the next columns would look each of them up again
// (8 x 4096 x 4096 11 ms in tiles, 4.7 swept; 8 x 1024 x 1024 0.16 in tiles, 0.23 swept, Zen 4). Up to
// some columns, or to the width of a tile, b's rows are so short that tiles read them in one go
// (8 x 128 x 65536 4.6 ms swept, 3.3 in tiles; 8 x 256 x 65536 7.4 and 10.9, Zen 4).
bool worth_sweeping(const ProductSizes& sizes, const TileFacts& facts) {
  constexpr size_t kPagedBytes = 8 * 1024 * 1024, kTiledColumns = 128;
  if (sizes.m == 0 || sizes.m > facts.sweep_rows) return false;
  if (sizes.n * sizes.k <= kPagedBytes / sizes.item_bytes) return false;
  const size_t fit = facts.accumulators / (sizes.m * (kPanel / facts.lanes));
  const size_t tile = std::clamp<size_t>(fit, 1, facts.most_panels) * kPanel;
  return sizes.n > std::max(kTiledColumns, tile);
}

// Fewest columns for which copying an a whose terms are not neighbours pays. Rows of neighbouring terms
// are read where they lie: their copy cost 3 % of 192 x 512 x 256 and won nothing, not even at 4 KB
// from row to row (Zen 4; Zen 5 neither).
bool worth_copying(const ProductSizes& sizes) {
  constexpr size_t kCopyColumns = 4 * kPanel;
  return sizes.a_k != 1 && sizes.n > kCopyColumns;
}

// Rows of neighbouring terms that are copied together: as many as stay in L1, or as are read from lines
// of a together.
constexpr size_t kL1Terms = 4096, kRowsOfLine = 16;

// What sums of lanes cost grows with n, the more so the fewer a tile holds; what copying the rows costs
// grows with k, and a small a is copied in one go.
bool worth_lanes(const ProductSizes& sizes, size_t terms, const TileFacts& facts) {
  const size_t most = facts.accumulators >= 24 ? kPanel : facts.accumulators >= 12 ? 4 : 2;
  const bool neighbours = sizes.a_row == 1 && sizes.a_k != 1 && sizes.m >= kPanel;
  return neighbours && sizes.m * terms > 2 * kL1Terms && terms >= 2 * kReduceLanes &&
         terms >= 12 * sizes.n && sizes.n <= most;
}

Loop loop_of(Form form, const ProductSizes& sizes, size_t terms, const TileFacts& facts) {
  if (is_dot(form)) {
    if (worth_lanes(sizes, terms, facts)) return Loop::lane_dots;
    return sizes.a_k == 1 || sizes.k == 0 ? Loop::dots : Loop::copied_dots;
  }
  if (form == Form::pairs) return sizes.m <= facts.few_rows ? Loop::pairs : Loop::widened;
  if (form == Form::columns && sizes.k > 0) {
    const bool few = sizes.m <= facts.few_rows && sizes.n >= facts.lanes;
    return few ? Loop::squares : Loop::pieces;
  }
  const bool in_place = form == Form::rows || form == Form::rows_and_tail;
  if (in_place && worth_sweeping(sizes, facts)) return Loop::sweep;
  return worth_copying(sizes) ? Loop::copied_tiles : Loop::tiles;
}

// ---- the blocks

// The rows whose sums wait between superblocks: with more, b streams past less often, and is packed less
// often if that is part of the way; with more columns so it is with a and its copies.
size_t waiting_rows(Loop loop, size_t item_bytes) {
  const size_t rows = loop == Loop::pieces ? 512 : loop == Loop::copied_tiles ? 64 : 256;
  return rows * sizeof(float) / item_bytes;
}

}  // namespace

// A few terms are summed sooner in a panel, most of it empty, than by n trees of additions.
bool is_narrow(size_t n, size_t k) {
  constexpr size_t kPanelTerms = 32, kTreeTerms = 4;
  return n < kPanel && (k > kPanelTerms || k > kTreeTerms * n);
}

Form choose_form(const ProductSizes& sizes) {
  const bool neighbours = sizes.b_k == 1 || sizes.k <= 1;
  if (is_narrow(sizes.n, sizes.k)) {
    return neighbours && !sizes.b_bfloat16 ? Form::terms : Form::packed_terms;
  }
  if (sizes.b_bfloat16) return Form::pairs;
  if (stays_in_columns(sizes)) return Form::columns;
  if (sizes.b_constant || sizes.b_col != 1 || sizes.m >= rows_worth_packing(sizes)) {
    return Form::panels;
  }
  return sizes.n % kPanel == 0 ? Form::rows : Form::rows_and_tail;
}

Way choose(Form form, const ProductSizes& sizes, const TileFacts& facts) {
  // Row tiles of a block: at most 192 x 256 floats, 197 KB, two fifths of the smallest L2 around
  // (512 KB). Where L2 is twice as large, 384 and 768 rows are 2 and 5 % slower, 96 rows 2 % (2048
  // cubed, Zen 4). 1024 columns: 512, 2048 or 4096 make 2 % at most there.
  constexpr size_t kBlockTiles = 24, kBlockPanels = 64;
  // A block's part of a (all of K) up to this size is read again for every group of panels.
  constexpr size_t kShortBytes = 128 * 1024;
  // A y beyond this is not expected in the second-level cache, and fetched while so many terms or more
  // are added up (4096 x 256 x 256 3 % sooner, 256 x 1024 x 1024 4 %, Zen 4; a near one 1 % later).
  constexpr size_t kSmallestL2 = 512 * 1024, kFetchTerms = 64;
  // Rows from which on a narrow last panel has tiles of its own: with fewer, too few chains are under
  // way.
  constexpr size_t kNarrowRows = 8;
  // Panels of a column-major b that few rows pack at a time, b's columns being the streams to count.
  constexpr size_t kFewPanels = 3, kPieceRows = 24;
  // Four chains of one row already stream the second-level cache; more packed panels are more streams.
  constexpr size_t kStreams = 4;
  // Rows of pairs whose part of a (all of K) stays in the second-level cache; not so few that b would be
  // read from memory too often.
  constexpr size_t kPairBlockBytes = 512 * 1024, kPairBlockRows = 64;
  // Rows of dots whose results are still in L1 when the activation gets them.
  constexpr size_t kDotRows = 256;

  const size_t item = sizes.item_bytes, terms = std::min(sizes.k, kSuperblockK);
  const size_t over = sizes.n % kPanel;
  const bool one_register = sizes.n <= facts.lanes;
  Way way{};
  way.form = form;
  way.loop = loop_of(form, sizes, terms, facts);
  way.tile_rows = facts.tile_rows;
  way.block_rows = way.block_panels = kUncut;
  way.side_by_side = facts.most_panels;
  way.waiting_rows = waiting_rows(way.loop, item);
  if (is_dot(form)) {
    if (way.loop == Loop::lane_dots) return way;
    way.tile_rows = 1;
    way.block_rows = kDotRows;
    if (way.loop == Loop::copied_dots) {
      const size_t together = std::min(facts.copied_terms / terms, kRowsOfLine);
      way.block_rows = std::min(std::max(kL1Terms / terms, together), kDotRows);
    }
    return way;
  }
  way.ends_narrow = over > 0 && over <= facts.narrow_lanes &&
                    (sizes.m >= kNarrowRows || sizes.n <= facts.narrow_lanes);
  way.far_y =
      sizes.k <= kSuperblockK && sizes.k >= kFetchTerms && sizes.m * sizes.n * item > kSmallestL2;
  switch (way.loop) {
    case Loop::tiles:
      if (one_register) way.tile_rows = facts.tall_rows;
      way.block_rows = kBlockTiles;
      way.block_panels = kBlockPanels;
      if (form != Form::rows && form != Form::rows_and_tail) {
        way.side_by_side = kStreams;
        way.short_rows = terms > 0 ? kShortBytes / (terms * item) : kUncut;
      }
      break;
    case Loop::copied_tiles:
      way.block_rows = facts.copied_tiles;
      way.block_panels = kBlockPanels;
      if (form == Form::panels) way.side_by_side = kStreams;
      break;
    case Loop::pairs:
      way.tile_rows = 1;
      way.block_rows =
          std::max(kPairBlockRows, kPairBlockBytes / (std::max<size_t>(terms, 1) * item));
      break;
    case Loop::widened:
      way.block_rows = kBlockTiles;
      way.block_panels = kBlockPanels;
      break;
    case Loop::pieces:
      way.block_rows = kBlockTiles;
      way.block_panels = sizes.m <= kPieceRows ? kFewPanels : facts.piece_panels;
      break;
    default:  // the whole product is one block
      break;
  }
  return way;
}

std::string text_of(const Way& way) {
  constexpr const char* kForms[] = {
      "terms in place",   "packed terms",  "rows in place", "rows in place and a packed tail",
      "columns in place", "packed panels", "packed pairs"};
  constexpr const char* kLoops[] = {"tiles",
                                    "tiles of copied rows",
                                    "pieces packed for tiles",
                                    "sweep",
                                    "transposed squares",
                                    "dots",
                                    "dots of copied rows",
                                    "dots lane by lane",
                                    "pairs",
                                    "pieces widened for tiles"};
  return std::string(kForms[static_cast<size_t>(way.form)]) + ", " +
         kLoops[static_cast<size_t>(way.loop)];
}

}  // namespace lamella::steps
