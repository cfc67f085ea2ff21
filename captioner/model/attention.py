"""Where the fusion looks while it writes: the attention of words and prompts, replayed when somebody asks.

Nothing is recorded while captions are written; the passes here repeat them with their weights in the open.
Axes: N words, P prompts (class token, ER, AUs), M video tokens, R = P + M right tokens, D width, A layers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from captioner.model.fusion import Fusion, Memory


@dataclass(frozen=True)
class Weights:
    """Attention, the mean over heads: a row sums to 1 over `text` and `right` together.

    text (A, N, N + 1) on the words before a word and (last) on its own place; right (A, N, R) on prompts and video.
    """

    text: Tensor
    right: Tensor


@torch.inference_mode()
def of_words(fusion: Fusion, ids: list[int], mask_id: int, memory: Memory, row: int = 0) -> Weights:
    """How each of ids[1:] was written, clip `row` of the memory: the weights of its [MASK] on all that it saw.

    One pass of words and of their [MASK]s side by side; it repeats `Fusion.step`, whatever the search was.
    """
    device = memory.states.device
    words = torch.tensor([ids[:-1]], device=device)  # what was seen; ids[1:] is what came of it
    count, right = words.shape[1], memory.states.shape[1]
    x = torch.cat([fusion.embed(words), fusion.embed(torch.full_like(words, mask_id), first=1)], 1)  # (1, 2N, D)
    before = torch.ones(count, count, dtype=torch.bool, device=device).tril()
    own = torch.eye(count, dtype=torch.bool, device=device)
    top, bottom = torch.cat([before, torch.zeros_like(own)], 1), torch.cat([before, own], 1)
    seen = torch.cat([torch.cat([top, bottom]), torch.ones(2 * count, right, dtype=torch.bool, device=device)], 1)
    texts, rights = [], []
    for layer, keys, values in zip(fusion.layers, memory.keys, memory.values, strict=True):
        q, k, v = layer.project(x)  # type: ignore[operator]
        k, v = torch.cat([k, keys[row : row + 1]], 2), torch.cat([v, values[row : row + 1]], 2)
        weights = _weights(q[:, :, count:], k, seen[count:])  # (N, 2N + R)
        itself = weights[:, count : 2 * count].diagonal()[:, None]
        texts.append(torch.cat([weights[:, :count], itself], 1))
        rights.append(weights[:, 2 * count :])
        x = layer.finish(x, q, k, v, seen)  # type: ignore[operator]
    return Weights(torch.stack(texts), torch.stack(rights))


@torch.inference_mode()
def of_prompts(fusion: Fusion, memory: Memory, prompts: int, row: int = 0) -> Tensor:
    """How the first `prompts` tokens of the right block look at it: (A, P, R), rows sum to 1."""
    if memory.entry is None:
        raise ValueError("this memory was repeated for a search; give the one of Fusion.remember")
    x = memory.entry[row : row + 1]
    bias, found = fusion.right_bias(x.shape[1]), []
    bias = bias if bias is None else bias.to(x.dtype)
    for layer in fusion.layers:
        q, k, v = layer.project(x)  # type: ignore[operator]
        rows = bias if bias is None else bias[0, 0, :prompts]
        found.append(_weights(q[:, :, :prompts], k, rows))
        x = layer.finish(x, q, k, v, bias)  # type: ignore[operator]
    return torch.stack(found)


def _weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(d)), mean over heads, of (1, H, N, d) and (1, H, R, d): (N, R)."""
    scores = q.float() @ k.float().transpose(2, 3) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    shares: Tensor = scores.softmax(-1)[0].mean(0)
    return shares
