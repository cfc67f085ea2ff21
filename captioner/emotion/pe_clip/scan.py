"""The selective scan of Mamba: the recurrence written out, and the same in blocks, which is what runs.

    s_t = exp(delta_t A) * s_{t-1} + (delta_t u_t) B_t,    y_t = s_t . C_t,    s_0 = 0

Axes: B clips, T steps, H heads, P channels of a head, N states of a channel. u, delta (B, T, H, P); A (H, P, N),
negative; B, C (B, T, H, N). A block of L x G steps is G chunks of L: all chunks run side by side from zero, their
ends are carried from chunk to chunk, then all run again from where they really start. That is 2 L + G short
operations instead of L G, no logarithm or division, and time and memory grow as T.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 512  # clips x steps of a block: its arrays then mostly stay in the processor's cache
ROWS_GPU = 16384  # a GPU wants fewer and longer operations


def scan_sequential(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """y (B, T, H, P), one step after the other: the reference."""
    state = u.new_zeros(u.shape[0], *A.shape)  # (B, H, P, N)
    outputs = []
    for u_t, delta_t, b_t, c_t in zip(u.unbind(1), delta.unbind(1), B.unbind(1), C.unbind(1), strict=True):
        state = torch.exp(delta_t[..., None] * A) * state + (delta_t * u_t)[..., None] * b_t[..., None, :]
        outputs.append((state * c_t[..., None, :]).sum(-1))
    return torch.stack(outputs, 1)


def scan_parallel(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The same y (B, T, H, P) in blocks, with its own backward pass; always in 32 or 64 bits."""
    inputs = [x if x.dtype == torch.float64 else x.float() for x in (u, delta, A, B, C)]
    y: Tensor = _BlockedScan.apply(*inputs)
    return y.to(u.dtype)


@dataclass
class _Block:
    """What the backward pass of a block needs; step t = g L + l lies at [l, ..., g]."""

    delta: Tensor  # (L, B, G, H, P)
    inputs: Tensor  # delta * u, likewise
    B: Tensor  # (L, N, B, G, H, 1)
    C: Tensor
    decay: Tensor  # exp(delta A), (L, N, B, G, H, P)
    states: Tensor
    starts: Tensor  # (N, B, G, H, P) state before each chunk
    through: Tensor  # (N, B, G, H, P) decay over a whole chunk


@lru_cache(maxsize=64)
def _chunking(steps: int) -> tuple[int, int]:
    """L and G of a block, about equal: a step of all chunks costs as much as a carry; padding costs a few of them."""
    length = min(range(1, steps + 1), key=lambda n: n + -(-steps // n) + (3 if steps % n else 0))
    return length, -(-steps // length)


def _split(x: Tensor, length: int, chunks: int) -> Tensor:
    """(B, T, H, *) -> (B, G, L, H, *), padded with zeros: steps with delta 0 change nothing."""
    if x.shape[1] < length * chunks:
        x = F.pad(x, (0, 0) * (x.ndim - 2) + (0, length * chunks - x.shape[1]))
    return torch.unflatten(x, 1, (chunks, length))


def _fold(x: Tensor, length: int, chunks: int) -> Tensor:
    """(B, T, H, P) -> (L, B, G, H, P)."""
    return _split(x, length, chunks).permute(2, 0, 1, 3, 4).contiguous()


def _unfold(x: Tensor, steps: int) -> Tensor:
    """The inverse of `_fold`."""
    return x.permute(1, 2, 0, *range(3, x.ndim)).flatten(1, 2)[:, :steps]


def _fold_states(x: Tensor, length: int, chunks: int) -> Tensor:
    """B or C (B, T, H, N) -> (L, N, B, G, H, 1); dense, or products with it would inherit its odd strides."""
    return _split(x, length, chunks).permute(2, 4, 0, 1, 3).contiguous()[..., None]


def _forward_block(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, start: Tensor
) -> tuple[Tensor, Tensor, _Block]:
    """y and the last state (N, B, H, P) of one block that begins in `start`; A is (N, 1, 1, H, P)."""
    steps = u.shape[1]
    length, chunks = _chunking(steps)
    delta = _fold(delta, length, chunks)
    inputs = _fold(u, length, chunks) * delta
    B, C = _fold_states(B, length, chunks), _fold_states(C, length, chunks)
    decay = torch.mul(delta[:, None], A).exp_()
    states = inputs[:, None] * B
    states_at, decay_at = states.unbind(0), decay.unbind(0)

    starts = torch.empty_like(states_at[0])
    through = torch.mul(delta.sum(0), A).exp_()
    starts[:, :, 0] = start
    if chunks > 1:
        end = states_at[0].clone()  # of each chunk, had it started from zero
        for state, keep in zip(states_at[1:], decay_at[1:], strict=True):
            torch.addcmul(state, keep, end, out=end)
        ends, keeps, begins = end.unbind(2), through.unbind(2), starts.unbind(2)
        for g in range(1, chunks):
            torch.addcmul(ends[g - 1], keeps[g - 1], begins[g - 1], out=begins[g])
    before = starts
    for state, keep in zip(states_at, decay_at, strict=True):
        before = state.addcmul_(keep, before)

    y = states[:, 0] * C[:, 0]
    for n in range(1, states.shape[1]):
        y.addcmul_(states[:, n], C[:, n])
    kept = _Block(delta, inputs, B, C, decay, states, starts, through)
    return _unfold(y, steps), states[-1, :, :, -1], kept


def _adjoint(block: _Block, grad_y: Tensor, later: Tensor) -> Tensor:
    """Gradients of all states (L, N, B, G, H, P): the scan run backwards from `later`, the gradient behind it."""
    grad = grad_y[:, None] * block.C
    grad_at, decay_at = grad.unbind(0), block.decay.unbind(0)
    behind = torch.empty_like(grad_at[0])  # what reaches the last state of each chunk from the chunks behind it
    behind[:, :, -1] = later
    if behind.shape[2] > 1:
        reach = grad_at[-1] * decay_at[-1]
        for own, keep in zip(reversed(grad_at[:-1]), reversed(decay_at[:-1]), strict=True):
            reach.add_(own).mul_(keep)
        reaches, keeps, behinds = reach.unbind(2), block.through.unbind(2), behind.unbind(2)
        for g in range(len(behinds) - 1, 0, -1):
            torch.addcmul(reaches[g], keeps[g], behinds[g], out=behinds[g - 1])
    grad_at[-1].add_(behind)
    for step in range(len(grad_at) - 2, -1, -1):
        grad_at[step].addcmul_(decay_at[step + 1], grad_at[step + 1])
    return grad


def _backward_block(
    block: _Block, u: Tensor, A: Tensor, grad_y: Tensor, later: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, A (N, H, P), B, C and of the state before the block."""
    length, states, _, chunks = block.decay.shape[:4]
    steps = grad_y.shape[1]
    grad_y = _fold(grad_y, length, chunks)
    grad = _adjoint(block, grad_y, later)
    grad_c = (grad_y[:, None] * block.states).sum(-1)
    spare = grad * block.inputs[:, None]
    grad_b = spare.sum(-1)
    grad_inputs = grad[:, 0] * block.B[:, 0]
    for n in range(1, states):
        grad_inputs.addcmul_(grad[:, n], block.B[:, n])

    before = grad[0].mul(block.decay[0])[:, :, 0]
    exponent = torch.mul(grad, block.decay, out=spare)  # gradient of delta A
    exponent[1:].mul_(block.states[:-1])
    exponent[0].mul_(block.starts)
    grad_delta = grad_inputs * _fold(u, length, chunks)
    for n in range(states):
        grad_delta.addcmul_(exponent[:, n], A[n])
    grad_a = exponent.mul_(block.delta[:, None]).sum(0).flatten(1, 2).sum(1)
    grad_u = _unfold(grad_inputs.mul_(block.delta), steps)
    grad_b, grad_c = (_unfold(x.movedim(1, -1), steps) for x in (grad_b, grad_c))
    return grad_u, _unfold(grad_delta, steps), grad_a, grad_b, grad_c, before


class _BlockedScan(torch.autograd.Function):
    """Blocks one after the other: some clips whole, or a part of one clip."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        clips, steps = u.shape[:2]
        rows = ROWS if u.device.type == "cpu" else ROWS_GPU
        width = max(1, min(steps, rows))
        height = max(1, rows // width)
        planes = A.movedim(-1, 0)[:, None, None].contiguous()  # (N, 1, 1, H, P)
        keep = any(ctx.needs_input_grad)
        y, kept = torch.empty_like(u), {}
        for i in range(0, clips, height):
            state = u.new_zeros(())
            for j in range(0, steps, width):
                part = (slice(i, i + height), slice(j, j + width))
                y[part], state, block = _forward_block(u[part], delta[part], planes, B[part], C[part], state)
                if keep:
                    kept[part[0].start, part[1].start] = (part, block)
        ctx.save_for_backward(u, planes)
        ctx.kept = kept
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, ...]:
        u, planes = ctx.saved_tensors
        states, _, _, heads, channels = planes.shape
        grad_u, grad_delta = torch.empty_like(u), torch.empty_like(u)
        grad_a = u.new_zeros(states, heads, channels)
        grad_b, grad_c = (u.new_empty(*u.shape[:3], states) for _ in range(2))
        later, clip = u.new_zeros(()), None
        for (first, _), (part, block) in reversed(ctx.kept.items()):
            if first != clip:
                later, clip = u.new_zeros(()), first
            parts = _backward_block(block, u[part], planes, grad_y[part], later)
            grad_u[part], grad_delta[part], new_a, grad_b[part], grad_c[part], later = parts
            grad_a += new_a
        return grad_u, grad_delta, grad_a.movedim(0, -1), grad_b, grad_c
