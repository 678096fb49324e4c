// SPDX-License-Identifier: Apache-2.0
// The bit-true datapath for formats that fit 16-bit multipliers, a vector of 16 (AVX-512), 8 (AVX2) or 4
// elements at a time. Same bits as datapath.h, which is its definition; tests/conformance holds it to that.
#pragma once

#include <cstdint>
#include <new>
#include <vector>

#include "hostlib/backend/datapath.h"

namespace lawcat {

/// True when rows fill whole vectors: head_dim 32, 64, 96 or 128, feature_dim a multiple of 16 up to 64.
bool simd_fits(const UnitShape& shape);

/// Storage that starts on a cache line, for whole-vector access.
template <class T>
struct CacheLineAllocator {
  using value_type = T;
  CacheLineAllocator() = default;
  template <class U>
  CacheLineAllocator(const CacheLineAllocator<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new (n * sizeof(T), std::align_val_t{64})); }
  void deallocate(T* p, std::size_t) { ::operator delete (p, std::align_val_t{64}); }
  bool operator==(const CacheLineAllocator&) const { return true; }
};
template <class T>
using AlignedVector = std::vector<T, CacheLineAllocator<T>>;

/// What the heads of a group share of a run of tokens: quantised k and v, gates.
class SimdGroupBlock {
 public:
  void prepare(const DatapathRules& rules, const UnitShape& shape, const Job& job, int first_token, int count,
               int kv_head, Saturations& saturations);

  int count = 0;
  AlignedVector<std::int32_t> key;            ///< [count, D]
  AlignedVector<std::int32_t> value;          ///< [count, D]
  std::vector<std::int32_t> value_lead;       ///< [count]
  AlignedVector<std::int32_t> gate_factor;    ///< [count, K], negative when it takes 1 - a away
  AlignedVector<std::int32_t> gate_exponent;  ///< [count, K]
  AlignedVector<std::int32_t> gate_near_one;  ///< [count, K], -1 where gate_factor is of 1 - a, else 0
};

/// One head: state, weights laid out for the vector unit, scratch.
class SimdHead {
 public:
  SimdHead(const DatapathRules& rules, const UnitShape& shape, const HeadWeights& weights,
           std::uint32_t head);

  HeadState state(const DatapathRules& rules, const UnitShape& shape) const;
  void set_state(const HeadState& state);

  /// Runs the block's tokens, which are [first_token, first_token + block.count) of the job.
  void run(const DatapathRules& rules, const UnitShape& shape, const Job& job, int first_token,
           const SimdGroupBlock& block, Saturations& saturations);

 private:
  std::uint32_t head_;
  std::uint32_t tokens_ = 0;
  AlignedVector<std::int32_t> q_taps_, k_taps_;  ///< [4, D]
  // Feature map split into high and low byte, so that sums of 16 x 8 bit products fit 32 bits; two rows of
  // W_h share a word, the pair that one multiply-add instruction consumes. [D/2, F]
  AlignedVector<std::int32_t> feature_high_, feature_low_;
  AlignedVector<std::int32_t> words_;            ///< [K, D]
  AlignedVector<std::int32_t> exponents_;        ///< [K]
  AlignedVector<std::int32_t> leads_;            ///< [K], lead bits of each row's OR
  AlignedVector<std::int64_t> norm_words_;       ///< [K]
  AlignedVector<std::int32_t> norm_exponents_;   ///< [K]
  AlignedVector<std::int32_t> q_tail_, k_tail_;  ///< [3, D], oldest first
};

}  // namespace lawcat
