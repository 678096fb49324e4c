#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Measures other software's way to the same end on this machine's GPU: softmax attention in PyTorch (FlashAttention-2
# and cuDNN), and gated linear attention in flash-linear-attention, bare and as the chain that LAWCAT models run it in.
# Also the accuracy of the latter against the unit in float64. Prints a table; --into adds the rows to a file that
# `lawcat-sim gpu` wrote on the same GPU. Needs PyTorch; flash-linear-attention where it can be imported.
import argparse
import json
import os
import pathlib
import statistics
import sys
import time

SOURCE = pathlib.Path(__file__).resolve().parents[1]
GATES = {"plain": (0, 2), "long": (9, 2), "spiky": (0, 8)}  # mean and deviation of the logits
ACCURACY_TOKENS = 1500
TAPS = 4


class Refusal(Exception):
    """Bad usage or a missing part, in one sentence."""


def shape_of(name):
    """{heads, kv_heads, head_dim, feature_dim} of a shipped shape or model."""
    for file in (SOURCE / "models" / name / "config.json", SOURCE / "models/shapes" / f"{name}.json"):
        if file.is_file():
            config = json.loads(file.read_text(encoding="utf-8"))
            if "lawcat" not in config:
                raise Refusal(f"--shape {name}: expected a LAWCAT model, got one with softmax attention")
            return {"heads": config["num_attention_heads"], "kv_heads": config["num_key_value_heads"],
                    "head_dim": config["head_dim"], "feature_dim": config["lawcat"]["feature_dim"]}
    raise Refusal(f"--shape {name}: expected a name in models/ or models/shapes/, got none of them")


ROWS = {"timings": ("peer", "shape", "operation", "tokens", "batch"), "accuracy": ("peer", "gates", "shape", "tokens"), "missing": ("peer",)}


def read_reference(file, gates):
    try:
        reference = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refusal(f"{file}: expected a file that lawcat-sim gpu wrote, got: {error}") from error
    schema = reference.get("schema") if isinstance(reference, dict) else None
    if schema != "lawcat-gpu/1":
        raise Refusal(f"{file}: schema: expected lawcat-gpu/1, got {schema}")
    if reference.get("gates") != gates:
        raise Refusal(f"{file}: gates: expected {gates}, with which is measured, got {reference.get('gates')}")
    peers = reference.setdefault("peers", {"software": {}, "timings": [], "accuracy": [], "missing": []})
    if not isinstance(peers, dict) or "software" not in peers or any(
            not isinstance(peers.get(part), list) or any(not isinstance(row, dict) or not set(keys) <= set(row) for row in peers[part])
            for part, keys in ROWS.items()):
        raise Refusal(f"{file}: peers: expected software and rows of timings, accuracy and missing, got others")
    return reference


def merge(file, found):
    """Puts the rows of `found` in place of the same ones of the file's `peers`, the others behind them. Whole or not at all."""
    reference = read_reference(file, found["gates"])
    if reference.get("device") != found["device"]:
        raise Refusal(f"{file}: device: expected {found['device']}, which was measured, got {reference.get('device')}")
    peers = reference["peers"]
    if peers["software"] not in ({}, found["software"]):
        raise Refusal(f"{file}: peers.software: expected {found['software']}, got {peers['software']}")
    peers["software"] = found["software"]
    measured = {row["peer"] for row in found["timings"]}
    peers["missing"] = [row for row in peers["missing"] if row["peer"] not in measured]
    for part, keys in ROWS.items():
        def key(row, keys=keys):
            return json.dumps([row[name] for name in keys], sort_keys=True)
        new = {key(row): row for row in found[part]}
        peers[part] = [new.pop(key(row), row) for row in peers[part]] + list(new.values())
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(reference, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def table(found):
    lines = [f"{found['device']}, " + ", ".join(f"{name} {version}" for name, version in found["software"].items())]
    for row in found["timings"]:
        shape = row["shape"]
        lines.append(f"  {row['peer']:<22}{row['operation']:<9}{row['tokens']:>7}{row['batch']:>6}{row['median_s'] * 1e6:>12.2f} us  "
                     f"heads {shape['heads']}/{shape['kv_heads']} x {shape['head_dim']}  ({row['method']}, {row['repetitions']} samples)")
    for row in found["accuracy"]:
        lines.append(f"  {row['peer']:<22}gates {row['gates']:<6} {row['tokens']:>5} tokens: relative L2 of o {row['rel_l2_o']:.2e}, "
                     f"of the state {row['rel_l2_state']:.2e}")
    for row in found["missing"]:
        lines.append(f"  {row['peer']:<22}missing: {row['reason']}")
    return "\n".join(lines)


class Peers:
    def __init__(self, torch, options):
        self.torch = torch
        self.options = options
        properties = torch.cuda.get_device_properties(0)
        # 50 MiB is Hopper's; older PyTorch does not tell.
        self.rotated_bytes = 2 * getattr(properties, "L2_cache_size", 50 << 20)
        self.found = {"device": properties.name, "gates": options.gates, "software": {"torch": torch.__version__}, "timings": [], "accuracy": [],
                      "missing": []}
        try:
            # Its own kernels and no other back ends behind them; read at import.
            os.environ.setdefault("FLA_DISABLE_BACKEND_DISPATCH", "1")
            import fla
            import triton
            from fla.ops.gla import chunk_gla, fused_recurrent_gla
            self.chunk_gla, self.fused_recurrent_gla = chunk_gla, fused_recurrent_gla
            self.found["software"]["triton"] = triton.__version__
            self.found["software"]["flash-linear-attention"] = fla.__version__
        except Exception as error:  # whatever keeps it from loading is the reason to report
            self.chunk_gla = self.fused_recurrent_gla = None
            for peer in ("chunk_gla", "gla_chain", "fused_recurrent_gla"):
                self.miss(peer, f"flash-linear-attention cannot be imported: {error}")

    def miss(self, peer, reason):
        reason = " ".join(str(reason).split())[:300]
        if all(row["peer"] != peer for row in self.found["missing"]):
            self.found["missing"].append({"peer": peer, "reason": reason})

    # Timing.

    def time_calls(self, call, sets):
        """Samples, seconds a call: `call(*inputs)` over all sets of inputs, from a graph if it can be captured."""
        torch = self.torch
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # compiles, tunes
                for inputs in sets:
                    call(*inputs)
        stream.synchronize()

        def all_sets():
            for inputs in sets:
                call(*inputs)

        method, launch = "stream", all_sets
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                all_sets()
            method, launch = "graph", graph.replay
        except Exception as error:  # not capturable: launched one by one
            torch.cuda.synchronize()
            print(f"  no graph: {' '.join(str(error).split())[:120]}", file=sys.stderr)
        samples = []
        with torch.cuda.stream(stream):
            for seconds, kept in ((self.options.seconds / 4, False), (self.options.seconds, True)):  # warm, then count
                start = time.monotonic()
                count = 0
                while count < 5 or (time.monotonic() - start < seconds and count < 5000):
                    # The first sample after a wait also waits for the host.
                    events = [torch.cuda.Event(enable_timing=True) for _ in range(6)]
                    events[0].record()
                    for event in events[1:]:
                        launch()
                        event.record()
                    stream.synchronize()
                    count += 4
                    if kept:
                        samples += [a.elapsed_time(b) * 1e-3 / len(sets) for a, b in zip(events[1:], events[2:])]
        return samples, method

    def add(self, peer, shape, operation, tokens, make_inputs, call):
        """Times one call; what goes wrong is a missing peer, said by name."""
        torch = self.torch
        try:
            first = make_inputs()
            size = sum(tensor.numel() * tensor.element_size() for tensor in first)
            count = min(max(2, self.rotated_bytes // size + 1), 512)
            sets = [first] + [make_inputs() for _ in range(count - 1)]
            out = call(*first)
            out = out[0] if isinstance(out, tuple) else out
            if not torch.isfinite(out).all():
                raise ArithmeticError("its output is not finite")
            del out
            samples, method = self.time_calls(call, sets)
            self.found["timings"].append({
                "peer": peer, "shape": shape, "operation": operation, "tokens": tokens, "batch": 1,
                "median_s": statistics.median(samples), "min_s": min(samples), "max_s": max(samples),
                "repetitions": len(samples), "method": method})
            print(f"  {peer} {operation} {tokens}: {statistics.median(samples) * 1e6:.2f} us", file=sys.stderr)
        except Exception as error:  # a peer that fails is no failure of ours
            self.miss(peer, f"{operation} of {tokens} tokens: {error}")
        finally:
            torch.cuda.empty_cache()

    # What is timed.

    def random(self, *size, dtype=None):
        return self.torch.randn(*size, device="cuda", dtype=dtype or self.torch.bfloat16)

    def qkv_gates(self, shape, tokens, gates):
        h, hkv, d, k = shape["heads"], shape["kv_heads"], shape["head_dim"], 2 * shape["feature_dim"]
        mean, deviation = GATES[gates]
        return (self.random(1, tokens, h, d), self.random(1, tokens, hkv, d), self.random(1, tokens, hkv, d),
                self.random(1, tokens, hkv, k) * deviation + mean)

    def weights(self, shape, dtype=None):
        """Taps near the identity [H*D, 1, 4] of q and of k, and a feature map [H, D, F] of nearly orthonormal columns."""
        h, d, f = shape["heads"], shape["head_dim"], shape["feature_dim"]
        taps = []
        for _ in range(2):
            w = 0.1 * self.random(h * d, 1, TAPS, dtype=dtype)
            w[:, 0, -1] += 1
            taps.append(w)
        return taps[0], taps[1], self.random(h, d, f, dtype=dtype) / d ** 0.5

    def features(self, x, taps, feature_map):
        """Convolution and feature map of the unit: x [1, T, H, D] to [1, T, H, K]."""
        functional = self.torch.nn.functional
        _, tokens, h, d = x.shape
        x = x.reshape(1, tokens, h * d).transpose(1, 2)
        x = functional.conv1d(x, taps, padding=TAPS - 1, groups=h * d)[..., :tokens]
        x = x.transpose(1, 2).reshape(1, tokens, h, d)
        z = self.torch.einsum("bthd,hdf->bthf", x, feature_map)
        return self.torch.cat([z.softmax(-1), (-z).softmax(-1)], -1).clamp(min=1e-12)

    def spread(self, q, k, v, gk, taps_q, taps_k, feature_map):
        """What the recurrence reads: features, [v, 1] and log gates, all with H heads."""
        torch = self.torch
        group = q.shape[2] // k.shape[2]
        k, v, gk = (x.repeat_interleave(group, dim=2) for x in (k, v, gk))
        g = torch.nn.functional.logsigmoid(gk) / 16
        v = torch.cat([v, torch.ones_like(v[..., :1])], -1)
        return self.features(q, taps_q, feature_map), self.features(k, taps_k, feature_map), v, g

    def chain(self, q, k, v, gk, taps_q, taps_k, feature_map, operator=None, **more):
        """The whole unit as LAWCAT models run it on a GPU: (o, state)."""
        phi_q, phi_k, v1, g = self.spread(q, k, v, gk, taps_q, taps_k, feature_map)
        u, state = (operator or self.chunk_gla)(phi_q, phi_k, v1, g, scale=1.0, output_final_state=True, **more)
        return u[..., :-1] / (u[..., -1:] + 1e-10), state

    def softmax_peers(self, shape, tokens):
        from torch.nn.attention import SDPBackend, sdpa_kernel
        attention = self.torch.nn.functional.scaled_dot_product_attention
        for peer, backend in (("softmax_flash", SDPBackend.FLASH_ATTENTION), ("softmax_cudnn", SDPBackend.CUDNN_ATTENTION)):
            def call(q, k, v, backend=backend):
                with sdpa_kernel(backend):  # this one or an error
                    return attention(q, k, v, is_causal=True, enable_gqa=True)
            self.add(peer, shape, "prefill", tokens,
                     lambda: tuple(x.transpose(1, 2) for x in self.qkv_gates(shape, tokens, self.options.gates)[:3]), call)

    def linear_peers(self, shape, tokens):
        torch = self.torch
        h, d, k = shape["heads"], shape["head_dim"], 2 * shape["feature_dim"]
        weights = self.weights(shape)

        def ready():
            """Features, values and log gates as they reach the kernel."""
            phi_q, phi_k, v1, g = self.spread(*self.qkv_gates(shape, tokens, self.options.gates), *weights)
            return phi_q, phi_k, v1[..., :d].contiguous(), g

        with torch.no_grad():
            self.add("chunk_gla", shape, "prefill", tokens, ready,
                     lambda q, k, v, g: self.chunk_gla(q, k, v, g, scale=1.0, output_final_state=True))
            self.add("gla_chain", shape, "prefill", tokens, lambda: self.qkv_gates(shape, tokens, self.options.gates),
                     lambda *inputs: self.chain(*inputs, *weights))
        if tokens != min(self.options.tokens):
            return

        def step():
            phi_q, phi_k, v1, g = self.spread(*self.qkv_gates(shape, 1, self.options.gates), *weights)
            return phi_q, phi_k, v1, g, self.random(1, h, k, d + 1, dtype=torch.float32).abs()
        with torch.no_grad():
            self.add("fused_recurrent_gla", shape, "decode", 1, step,
                     lambda q, k, v, g, s: self.fused_recurrent_gla(q, k, v, gk=g, scale=1.0, initial_state=s,
                                                                    output_final_state=True))

    # Accuracy.

    def unit_in_float64(self, inputs, weights):
        torch = self.torch
        phi_q, phi_k, v1, g = self.spread(*(x.double() for x in inputs), *(w.double() for w in weights))
        state = torch.zeros(phi_q.shape[2], phi_q.shape[3], v1.shape[3], device="cuda", dtype=torch.float64)
        o = torch.empty(*v1.shape[:3], v1.shape[3] - 1, device="cuda", dtype=torch.float64)
        for t in range(phi_q.shape[1]):
            state = g[0, t].exp()[..., None] * state + phi_k[0, t][..., None] * v1[0, t][:, None, :]
            u = torch.einsum("hk,hkd->hd", phi_q[0, t], state)
            o[0, t] = u[:, :-1] / (u[:, -1:] + 1e-10)
        return o, state

    def accuracy(self, shape):
        torch = self.torch
        h = min(shape["heads"], 8)
        small = {**shape, "heads": h, "kv_heads": max(1, h * shape["kv_heads"] // shape["heads"])}

        def distance(got, expected):
            return float((got.double() - expected).norm() / expected.norm())
        for gates in GATES:
            inputs = self.qkv_gates(small, ACCURACY_TOKENS, gates)  # bfloat16 values: what every form is given
            weights = self.weights(small)
            with torch.no_grad():
                expected_o, expected_state = self.unit_in_float64(inputs, weights)
                for peer, dtype, operator in (
                        ("gla_chain", torch.bfloat16, self.chunk_gla), ("gla_chain_fp32", torch.float32, self.chunk_gla)):
                    try:
                        o, state = self.chain(*(x.to(dtype) for x in inputs), *(w.to(dtype) for w in weights), operator=operator)
                        self.found["accuracy"].append({
                            "peer": peer, "gates": gates, "shape": small, "tokens": ACCURACY_TOKENS,
                            "rel_l2_o": distance(o, expected_o), "rel_l2_state": distance(state[0], expected_state)})
                    except Exception as error:
                        self.miss(peer, f"accuracy, gates {gates}: {error}")


def measure(options):
    shapes = [shape_of(name) for name in options.shape.split(",")]
    if options.into and not options.into.is_file():
        raise Refusal(f"--into {options.into}: expected a file that lawcat-sim gpu wrote, got none")
    if options.into:
        read_reference(options.into, options.gates)
    try:
        import torch
    except ImportError as error:
        raise Refusal(f"PyTorch is not installed ({error})") from error
    if not torch.cuda.is_available():
        raise Refusal("no usable GPU")
    torch.manual_seed(1)
    peers = Peers(torch, options)
    for shape in shapes:
        for tokens in options.tokens:
            peers.softmax_peers(shape, tokens)
            if peers.chunk_gla:
                peers.linear_peers(shape, tokens)
            if options.into:  # what is measured is kept if the rest, which Triton compiles for minutes, is cut off
                merge(options.into, peers.found)
        if peers.chunk_gla and options.accuracy:
            peers.accuracy(shape)
    return peers.found


def main(arguments):
    parser = argparse.ArgumentParser(prog="gpu_peers.py", description="Measures other software on this machine's GPU.")
    parser.add_argument("--shape", required=True, help="shapes or models, separated by commas")
    parser.add_argument("--tokens", default="1024,4096,16384", help="lengths of prefill, separated by commas")
    parser.add_argument("--gates", choices=list(GATES), default="plain", help="regime of the gate logits")
    parser.add_argument("--seconds", type=float, default=0.3, help="timed for each call")
    parser.add_argument("--no-accuracy", dest="accuracy", action="store_false",
                        help="times only: Triton compiles the accuracy's kernels for minutes")
    parser.add_argument("--into", type=pathlib.Path, help="file of lawcat-sim gpu that the rows are added to")
    options = parser.parse_args(arguments)
    try:
        options.tokens = [int(word) for word in options.tokens.split(",")]
        if min(options.tokens) < 1:
            raise ValueError
    except ValueError:
        print(f"gpu_peers: --tokens: expected positive integers, got {options.tokens}", file=sys.stderr)
        return 2
    try:
        found = measure(options)
        print(table(found))
        if options.into:
            merge(options.into, found)
    except Refusal as refusal:
        print(f"gpu_peers: {refusal}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
