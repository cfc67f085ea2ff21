"""The scan in blocks is the scan one step after the other: values, gradients, causality, cost."""

import pytest
import torch
from torch import Tensor

from captioner.emotion.pe_clip import scan

HEADS, CHANNELS, STATES = 2, 3, 4


def inputs(clips: int, steps: int, dtype: torch.dtype = torch.float32, rate: float = 0.1) -> list[Tensor]:
    draw = torch.Generator().manual_seed(clips * 1000 + steps)
    shape = (clips, steps, HEADS)
    u = torch.randn(*shape, CHANNELS, generator=draw, dtype=dtype)
    delta = torch.rand(*shape, CHANNELS, generator=draw, dtype=dtype) * rate
    a = -torch.rand(HEADS, CHANNELS, STATES, generator=draw, dtype=dtype) * 4
    b, c = (torch.randn(*shape, STATES, generator=draw, dtype=dtype) for _ in range(2))
    return [x.requires_grad_() for x in (u, delta, a, b, c)]


@pytest.mark.parametrize("clips", [1, 3])
@pytest.mark.parametrize("steps", [1, 2, 7, 16, 64, 129])
@pytest.mark.parametrize("rows", [8, 40, 256])
def test_blocks_equal_the_reference(clips: int, steps: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "ROWS", rows)
    given = inputs(clips, steps)
    wanted, made = scan.scan_sequential(*given), scan.scan_parallel(*given)
    torch.testing.assert_close(made, wanted, atol=1e-5, rtol=0)
    weight = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0))
    for name, right, ours in zip(
        "u delta A B C".split(),  # noqa: SIM905
        torch.autograd.grad(wanted, given, weight),
        torch.autograd.grad(made, given, weight),
        strict=True,
    ):
        size = right.abs().max().clamp(min=1.0)
        torch.testing.assert_close(ours / size, right / size, atol=1e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def test_strong_decay_is_no_trouble() -> None:
    given = inputs(1, 300, rate=400.0)  # exp(-1600) a step: logarithms would overflow
    made = scan.scan_parallel(*given)
    assert made.isfinite().all()
    torch.testing.assert_close(made, scan.scan_sequential(*given), atol=1e-2, rtol=1e-5)


def test_gradients_against_finite_differences() -> None:
    given = inputs(1, 6, torch.float64)
    assert torch.autograd.gradcheck(scan.scan_parallel, given, eps=1e-6, atol=1e-7)


def test_later_steps_change_nothing() -> None:
    given = inputs(2, 50)
    with torch.no_grad():
        before = scan.scan_parallel(*given)
        for x in (given[0], given[1], given[3], given[4]):
            x[:, 30:] += 1
        after = scan.scan_parallel(*given)
    assert torch.equal(before[:, :30], after[:, :30])
    assert not torch.allclose(before[:, 30:], after[:, 30:])


def test_clips_do_not_meet() -> None:
    given = inputs(3, 20)
    one = [x if x is given[2] else x[1:2] for x in given]
    torch.testing.assert_close(scan.scan_parallel(*one)[0], scan.scan_parallel(*given)[1])


def test_what_is_kept_grows_as_the_length() -> None:
    def kept(steps: int) -> int:
        blocks = scan.scan_parallel(*inputs(1, steps)).grad_fn.kept.values()  # type: ignore[union-attr]
        return sum(x.numel() for _, block in blocks for x in vars(block).values())

    assert kept(4096) == pytest.approx(4 * kept(1024), rel=0.01)


def test_blocks_need_few_operations() -> None:
    def operations(steps: int) -> int:
        given = [x.detach() for x in inputs(1, steps)]
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
            scan.scan_parallel(*given)
        return sum(event.count for event in seen.key_averages() if event.key.startswith("aten::addcmul"))

    assert operations(64) < 64
    assert operations(1024) < 1024 / 4


def test_half_precision_is_scanned_whole() -> None:
    given = [x.detach() for x in inputs(1, 30)]
    halves = [x.bfloat16() for x in given]
    whole = [x.float() for x in halves]
    made = scan.scan_parallel(*halves)
    assert made.dtype == torch.bfloat16
    assert torch.equal(made, scan.scan_parallel(*whole).bfloat16())
