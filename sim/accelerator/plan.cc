// SPDX-License-Identifier: Apache-2.0
// See plan.h.
#include "sim/accelerator/plan.h"

#include <algorithm>

namespace lawcat {

UnitPlan::UnitPlan(const Preset& preset, const UnitShape& unit_shape)
    : shape(unit_shape),
      layout(preset),
      timing{stage_timing(layout, shape.head_dim, shape.feature_dim),
             packet_beats(layout, shape.head_dim, shape.feature_dim), layout.fifo_tokens},
      shares(place_layer(preset, shape.heads, shape.kv_heads, shape.head_dim, shape.feature_dim)) {
  const Datapath& formats = preset.datapath;
  const int d = shape.head_dim, f = shape.feature_dim, burst = preset.memory.burst_bytes;
  const auto stream_bytes = static_cast<std::int64_t>(preset.buffers.stream_kib * 1024);
  for (std::size_t e = 0; e < shares.size(); ++e) {
    const EngineShare& share = shares[e];
    kv_heads_on_engines += share.kv_heads;
    const std::int64_t bits = lawcat::context_bits(formats, share.heads, d, f);
    context_bits = std::max(context_bits, bits);
    context_bytes += (bits + 7) / 8;
    outputs.push_back({output_token_bytes(layout, share.heads, share.kv_heads, d, burst),
                       output_token_bytes(layout, share.heads, share.kv_heads, d)});
    const std::int64_t token = input_token_bytes(layout, share.heads, share.kv_heads, share.kv_heads, d, f) +
                               outputs.back().bus_bytes;
    const int chunk = static_cast<int>(std::min<std::int64_t>(stream_bytes / (2 * token), 1 << 20));
    if (e == 0 || share.cluster != shares[e - 1].cluster)
      clusters.push_back({static_cast<int>(e), 0, chunk, 0, 0});
    Cluster& cluster = clusters.back();
    ++cluster.engines;
    cluster.chunk_tokens = std::min(cluster.chunk_tokens, chunk);
  }
  for (Cluster& cluster : clusters) {
    const EngineShare& first = shares[static_cast<std::size_t>(cluster.first_engine)];
    const EngineShare& last = shares[static_cast<std::size_t>(cluster.first_engine + cluster.engines - 1)];
    const int heads = last.first_head + last.heads - first.first_head;
    const int kv_heads = last.first_kv_head + last.kv_heads - first.first_kv_head;
    int packets = 0;
    for (int e = 0; e < cluster.engines; ++e)
      packets += shares[static_cast<std::size_t>(cluster.first_engine + e)].kv_heads;
    cluster.dram_bytes = input_token_bytes(layout, heads, kv_heads, packets, d, f, burst);
    cluster.bus_bytes = input_token_bytes(layout, heads, kv_heads, packets, d, f);
  }
}

}  // namespace lawcat
