"""How fast PE-CLIP's scan in blocks is, against the sequential reference."""

from collections.abc import Callable

import torch
from torch import Tensor

from captioner.emotion.pe_clip.scan import scan_parallel, scan_sequential
from eval.speed.timing import BenchTable, time_call

HEADS, CHANNELS, STATES = 8, 48, 4  # PE-CLIP's
REPEATS, SECONDS = 12, 3.0
Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
HEADER = [
    *("segments", "sequential", "blocks", "ratio", "+ gradients", "blocks", "ratio", "apart", "gradients", "kept MB"),
]


def scan_table(clips: int, segments: list[int], threads: int, device: str) -> BenchTable:
    """Milliseconds forward alone and with gradients, the largest difference, what is kept for the backward pass."""
    title = f"{clips} clips, {threads} threads, {device}; milliseconds, the best of a few repeats"
    return BenchTable(title, HEADER, [_row(clips, steps, threads, device) for steps in segments])


def _row(clips: int, steps: int, threads: int, device: str) -> list[str]:
    given = _inputs(clips, steps, device)
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
        _best(lambda work=work, scan=scan: work(scan), threads, device)  # type: ignore[misc]
        for work in (forward, both)
        for scan in (scan_sequential, scan_parallel)
    )
    kept = sum(x.numel() for x in _kept(scan_parallel(*given))) * 4 / 1e6
    return [
        str(steps), f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.1f}", f"{slow_both:.2f}", f"{fast_both:.2f}",
        f"{slow_both / fast_both:.1f}", f"{apart:.1e}", f"{apart_grad:.1e}", f"{kept:.1f}",
    ]  # fmt: skip


def _inputs(clips: int, steps: int, device: str) -> list[Tensor]:
    """u, delta, A, B, C as at the start of training, all with gradients."""
    draw = torch.Generator().manual_seed(0)
    shape = (clips, steps, HEADS)
    u = torch.randn(*shape, CHANNELS, generator=draw)
    delta = torch.rand(*shape, CHANNELS, generator=draw) * 0.1
    a = -torch.arange(1.0, STATES + 1).repeat(HEADS, CHANNELS, 1)
    b, c = (torch.randn(*shape, STATES, generator=draw) for _ in range(2))
    return [x.to(device).requires_grad_() for x in (u, delta, a, b, c)]


def _best(work: Callable[[], object], threads: int, device: str) -> float:
    """Milliseconds of the fastest of a few calls: of CPU on one thread, else by the clock."""

    def settled() -> None:
        work()
        if device != "cpu":
            torch.cuda.synchronize()

    settled()
    times: list[float] = []
    while len(times) < 3 or (len(times) < REPEATS and sum(times) < SECONDS):
        spent, _ = time_call(settled)
        times.append(spent.cpu if threads == 1 and device == "cpu" else spent.clock)
    return 1e3 * min(times)


def _kept(y: Tensor) -> list[Tensor]:
    """What the blocks keep for their backward pass."""
    blocks = y.grad_fn.kept.values()  # type: ignore[union-attr]
    return [x for _, block in blocks for x in vars(block).values()]
