"""The triton engine on a graphics card: equal, how fast, how lean, and with which tiles.

    PYTHONPATH=src python benchmarks/gpu.py --out gpu.json [--parts rates,equal,speed,share,tiles,profile]

Needs torch with CUDA, triton and numba, not the package itself. Every measurement stands alone: one that fails leaves
its error in the JSON, which is written again after each. `--device cpu --small` under TRITON_INTERPRET=1 tries the
script itself.
"""

import argparse
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpu_bench import Bench
from gpu_tiles import FAST, candidates
from leukonca.automaton import engines
from leukonca.automaton.triton_engine import Settings, settings
from leukonca.models.presets import Architecture
from rival import EagerNCA

MODES: dict[str, dict[str, Any]] = {
    "tf32x3": {},
    "ieee": {"precision": "ieee"},
    "tf32": {"precision": "tf32"},
    "bf16": {"precision": "bf16"},
    "bf16, bf16 state": FAST,
}
FIELDS = ("logits", "images", "kernels", "kernel_bias", "hidden_weight", "hidden_bias", "update_weight")


def rule(channels: int, hidden: int, device: torch.device, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Random parameters of the size that training starts with, but for the last layer, which starts at 0."""
    generator = torch.Generator().manual_seed(0)
    shapes = (2, channels, 3, 3), (2, channels), (hidden, 3 * channels), (hidden,), (channels, hidden)
    bounds = 1 / 3, 1 / 3, (3 * channels) ** -0.5, (3 * channels) ** -0.5, 0.1 * hidden**-0.5
    drawn = [(2 * torch.rand(s, generator=generator) - 1) * b for s, b in zip(shapes, bounds, strict=True)]
    return [tensor.to(device, dtype).requires_grad_() for tensor in drawn]


def rollout(
    engine: str, x: torch.Tensor, parameters: list[torch.Tensor], steps: int, rate: float = 0.5
) -> torch.Tensor:
    seeds = np.full(len(x), 3, np.uint32)
    return engines.run(engine, x, tuple(parameters), steps=steps, fire_rate=rate, seeds=seeds, record=False)


def results(engine: str, x: torch.Tensor, shape: tuple[int, int], steps: int, rate: float) -> list[torch.Tensor]:
    """Logits of a random linear head on the channels' maxima, and gradients of their squares."""
    x = x.clone().requires_grad_()
    parameters = rule(*shape, x.device, x.dtype)
    head = torch.randn(shape[0], 13, generator=torch.Generator().manual_seed(1)).to(x)
    logits = rollout(engine, x, parameters, steps, rate).amax(dim=(-2, -1)) @ head
    logits.square().sum().backward()
    return [logits.detach(), x.grad, *(tensor.grad for tensor in parameters)]


def errors(bench: Bench, size: tuple[int, ...], rate: float, mode: dict[str, Any], engine: str) -> dict[str, float]:
    """Largest difference from the float64 reference, relative to the largest value."""
    batch, height, width, channels, hidden, steps = size
    x = torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(2)).to(bench.device)
    exact = results("reference", x.double(), (channels, hidden), steps, rate)
    with settings(**mode):
        fast = results(engine, x, (channels, hidden), steps, rate)
        again = results(engine, x, (channels, hidden), steps, rate)
    found = {
        name: float((a.double() - b).abs().max() / b.abs().max().clamp(min=1e-30))
        for name, a, b in zip(FIELDS, fast, exact, strict=True)
    }
    found["same bits"] = float(all(torch.equal(a, b) for a, b in zip(fast, again, strict=True)))
    return found


def equal(bench: Bench) -> None:
    paper = (2, bench.side, bench.side, bench.channels, bench.hidden, bench.steps)
    for name, mode in (*MODES.items(), ("tf32x3, every 8th step kept", {"keep_every": 8})):
        bench.keep("equal", f"paper, {name}", partial(errors, bench, paper, 0.5, mode, "triton"))
    bench.keep("equal", "paper, torch engine", partial(errors, bench, paper, 0.5, {}, "torch"))
    odd = [(1, 2, 2, 4, 3, 8), (3, 5, 17, 20, 150, 6), (2, 33, 7, 100, 64, 6), (1, 3, 130, 256, 256, 4)]
    for size in odd[:1] if bench.small else odd:
        for rate in (0.05, 0.5, 1.0):
            bench.keep("equal", f"{size}, rate {rate}", partial(errors, bench, size, rate, {}, "triton"))


def rates(bench: Bench) -> None:
    """The machine's own ceilings, on random numbers."""
    side = 64 if bench.small else 8192

    def product(dtype: torch.dtype, tf32: bool) -> float:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(side, side, device=bench.device, dtype=dtype) for _ in range(2))

        def several() -> None:
            for _ in range(10):
                torch.matmul(a, b)

        took = bench.seconds(several) / 10
        torch.backends.cuda.matmul.allow_tf32 = False
        return 2 * side**3 / took / 1e12

    for name, dtype, tf32 in (
        ("bf16", torch.bfloat16, False), ("tf32", torch.float32, True), ("float32", torch.float32, False)
    ):  # fmt: skip
        bench.keep("rates", f"{name}, TFLOP/s", partial(product, dtype, tf32))
    source = torch.randn(side * side * 8, device=bench.device)
    target = torch.empty_like(source)
    moved = 2 * 4 * source.numel()
    bench.keep("rates", "copy, TB/s", lambda: moved / bench.seconds(lambda: target.copy_(source)) / 1e12)


def predicting(bench: Bench, engine: str, batch: int) -> Callable[[], object]:
    x, parameters = bench.images(batch), rule(bench.channels, bench.hidden, bench.device)

    def run() -> None:
        with torch.no_grad():
            rollout(engine, x, parameters, bench.steps).amax(dim=(-2, -1))

    return run


def training(bench: Bench, engine: str, batch: int) -> Callable[[], object]:
    x, parameters = bench.images(batch), rule(bench.channels, bench.hidden, bench.device)

    def run() -> None:
        for tensor in parameters:
            tensor.grad = None
        rollout(engine, x, parameters, bench.steps).amax(dim=(-2, -1)).square().sum().backward()

    return run


def eager(bench: Bench, batch: int, *, train: bool) -> Callable[[], object]:
    """The rival, float32 without tensor cores, as torch comes."""
    size = {"channels": bench.channels, "hidden": bench.hidden, "steps": bench.steps, "grid": bench.side}
    model = EagerNCA(Architecture(**size)).to(bench.device)
    torch.nn.init.normal_(model.fc1.weight, std=0.01)
    x = bench.images(batch)

    def run() -> None:
        with torch.set_grad_enabled(train):
            model.zero_grad()
            logits = model(x)
            if train:
                logits.square().sum().backward()

    return run


def speed(bench: Bench) -> None:
    """Rival, torch engine and every mode in turns, so that what slows the card for a while slows all of them."""

    def under(mode: dict[str, Any], run: Callable[[], object]) -> Callable[[], object]:
        def chosen() -> None:
            with settings(**mode):
                run()

        return chosen

    batches = (2,) if bench.small else (64, 16, 1)
    for job, ours in (("predict", predicting), ("train", training)):
        for batch in batches:
            runs = {
                "rival": eager(bench, batch, train=job == "train"),
                "torch": ours(bench, "torch", batch),
                **{name: under(mode, ours(bench, "triton", batch)) for name, mode in MODES.items()},
            }
            if job == "train" and batch == batches[0]:
                runs["bf16, bf16 state, every 8th step kept"] = under(
                    {"keep_every": 8, **FAST}, training(bench, "triton", batch)
                )
            bench.keep("speed", f"{job}, batch {batch}", partial(bench.in_turns, runs, batch))


def share(bench: Bench) -> None:
    """Of the measured bf16 matrix rate, prediction of a large batch."""
    ceiling = bench.found.get("rates", {}).get("bf16, TFLOP/s")

    def measure(batch: int) -> dict[str, Any]:
        took = bench.seconds(predicting(bench, "triton", batch))
        rate = bench.matrix_work(batch, bench.steps) / took / 1e12
        found: dict[str, Any] = {"images_per_second": batch / took, "tflops": rate}
        return {**found, "share": rate / ceiling} if isinstance(ceiling, float) else found

    for batch in (2,) if bench.small else (256, 64):
        for name, mode in MODES.items():
            with settings(**mode):
                bench.keep("share", f"batch {batch}, {name}", partial(measure, batch))


def try_out(bench: Bench, kernel: str, chosen: Settings) -> Callable[[], object]:
    batch, steps = (2, 2) if bench.small else (256, 16) if kernel == "forward" else (64, 8)
    x, parameters = bench.images(batch), rule(bench.channels, bench.hidden, bench.device)

    def run() -> None:
        with settings(**{name: getattr(chosen, name) for name in asdict(chosen)}):
            with torch.set_grad_enabled(kernel != "forward"):
                state = rollout("triton", x, parameters, steps)
            if kernel != "forward":
                state.sum().backward()

    return run


def compile_one(arguments: argparse.Namespace, kernel: str, chosen: Settings) -> None:
    """In a process of its own, so that many compile at once; what it compiles lies in Triton's cache."""
    bench = Bench(arguments)
    bench.images = lambda batch: torch.randn(2, 3, bench.side, bench.side, device=bench.device)  # type: ignore[method-assign]
    try_out(bench, kernel, chosen)()


def tiles(bench: Bench, arguments: argparse.Namespace) -> None:
    wanted = list(candidates(small=bench.small))
    if not bench.small:
        with ProcessPoolExecutor(12, mp_context=get_context("spawn")) as pool:
            waiting = [pool.submit(compile_one, arguments, *candidate) for candidate in wanted]
            failed = sum(1 for job in waiting if job.exception() is not None)
        print(f"compiled {len(wanted)} candidates, {failed} of which fail", flush=True)
    for kernel, chosen in wanted:
        tile = getattr(chosen, kernel)
        name = f"{kernel}, {chosen.precision}, resident {chosen.resident}, {tile}"

        def milliseconds(kernel: str = kernel, chosen: Settings = chosen) -> float:
            return 1000 * bench.seconds(try_out(bench, kernel, chosen))

        bench.keep("tiles", name, milliseconds)


def profile(bench: Bench) -> None:
    """Where the card's time goes, by kernel."""

    kinds = torch.profiler.ProfilerActivity
    activity = kinds.CUDA if bench.device.type == "cuda" else kinds.CPU

    def table(job: Callable[[Bench, str, int], Callable[[], object]], batch: int) -> list[dict[str, Any]]:
        run = job(bench, "triton", batch)
        run()
        with torch.profiler.profile(activities=[activity]) as measured:
            run()
            bench.wait()
        rows = sorted(measured.key_averages(), key=lambda row: -row.device_time_total)[:12]
        return [{"kernel": row.key[:80], "calls": row.count, "ms": row.device_time_total / 1000} for row in rows]

    for name in ("tf32x3", "bf16, bf16 state"):
        with settings(**MODES[name]):
            batch = 2 if bench.small else 256
            bench.keep("profile", f"predict, batch {batch}, {name}", partial(table, predicting, batch))
            batch = 2 if bench.small else 64
            bench.keep("profile", f"train, batch {batch}, {name}", partial(table, training, batch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu.json"))
    parser.add_argument("--parts", default="rates,equal,share,speed,profile,tiles")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=9.0, help="measurements that would start later are left out")
    parser.add_argument("--small", action="store_true", help="sizes for the interpreter")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    torch.manual_seed(0)
    parts: dict[str, Callable[[], None]] = {
        "rates": lambda: rates(bench),
        "equal": lambda: equal(bench),
        "share": lambda: share(bench),
        "speed": lambda: speed(bench),
        "profile": lambda: profile(bench),
        "tiles": lambda: tiles(bench, arguments),
    }
    for part in arguments.parts.split(","):
        try:
            parts[part]()
        except Exception:
            traceback.print_exc()
    print(f"kept in {arguments.out}")


if __name__ == "__main__":
    main()
