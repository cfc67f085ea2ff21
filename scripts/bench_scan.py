"""How fast the scan in blocks is: python scripts/bench_scan.py [--threads 1] [--clips 1] [--segments 64 1024 ...]

For each length: milliseconds of the sequential reference and of the blocks, forward alone and with gradients, their
ratios, the largest difference, and the memory that the blocks keep for the backward pass. The sizes are PE-CLIP's:
8 heads of 48 channels, 4 states. With one thread, CPU time is measured, which a busy machine disturbs least; with
more, the clock. Each number is the best of a few repeats.
"""

import argparse
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from captioner.emotion.scan import scan_parallel, scan_sequential

HEADS, CHANNELS, STATES = 8, 48, 4
REPEATS, SECONDS = 12, 3.0
Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def inputs(clips: int, steps: int, device: str) -> list[Tensor]:
    """u, delta, A, B, C as at the start of training, all with gradients."""
    draw = torch.Generator().manual_seed(0)
    shape = (clips, steps, HEADS)
    u = torch.randn(*shape, CHANNELS, generator=draw)
    delta = torch.rand(*shape, CHANNELS, generator=draw) * 0.1
    a = -torch.arange(1.0, STATES + 1).repeat(HEADS, CHANNELS, 1)
    b, c = (torch.randn(*shape, STATES, generator=draw) for _ in range(2))
    return [x.to(device).requires_grad_() for x in (u, delta, a, b, c)]


def best(work: Callable[[], object], threads: int, device: str) -> float:
    """Milliseconds of the fastest of a few calls."""
    clock = time.process_time if threads == 1 and device == "cpu" else time.perf_counter
    work()
    times: list[float] = []
    while len(times) < 3 or (len(times) < REPEATS and sum(times) < SECONDS):
        began = clock()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(clock() - began)
    return 1e3 * min(times)


def row(clips: int, steps: int, threads: int, device: str) -> str:
    """One line of the table."""
    given = inputs(clips, steps, device)
    weight = torch.ones_like(given[0])

    def forward(scan: Scan) -> Tensor:
        with torch.no_grad():
            return scan(*given)

    def both(scan: Scan) -> tuple[Tensor, ...]:
        return torch.autograd.grad(scan(*given), given, weight)

    apart = float((forward(scan_parallel) - forward(scan_sequential)).abs().max())
    grads = zip(both(scan_parallel), both(scan_sequential), strict=True)
    apart_grad = max(float((p - q).abs().max() / q.abs().max()) for p, q in grads)
    slow, fast, slow_both, fast_both = (
        best(lambda work=work, scan=scan: work(scan), threads, device)  # type: ignore[misc]
        for work in (forward, both)
        for scan in (scan_sequential, scan_parallel)
    )
    kept = sum(x.numel() for x in tensors(scan_parallel(*given))) * 4 / 1e6
    return (
        f"{steps:8d} {slow:10.2f} {fast:9.2f} {slow / fast:6.1f} {slow_both:12.2f} {fast_both:9.2f} "
        f"{slow_both / fast_both:6.1f} {apart:10.1e} {apart_grad:10.1e} {kept:8.1f}"
    )


def tensors(y: Tensor) -> list[Tensor]:
    """What the blocks keep for their backward pass."""
    blocks = y.grad_fn.kept.values()  # type: ignore[union-attr]
    return [x for _, block in blocks for x in vars(block).values()]


def main() -> int:
    """Print the table."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--threads", type=int, default=1)
    flags.add_argument("--clips", type=int, default=1)
    flags.add_argument("--segments", type=int, nargs="+", default=[64, 256, 1024, 4096])
    flags.add_argument("--device", default="cpu")
    options = flags.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.clips} clips, {options.threads} threads, {options.device}; ms, kept MB")
    print(f"{'segments':>8s} {'sequential':>10s} {'blocks':>9s} {'ratio':>6s} {'+ gradients':>12s} {'blocks':>9s} "
          f"{'ratio':>6s} {'apart':>10s} {'gradients':>10s} {'kept':>8s}")  # fmt: skip
    for steps in options.segments:
        print(row(options.clips, steps, options.threads, options.device), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
