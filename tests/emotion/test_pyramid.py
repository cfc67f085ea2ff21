"""LISF: the public module's numbers, exact windows, streams that may change places."""

from pathlib import Path

import measure
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from captioner.emotion.av_canet.pyramid import HeadedAttention, Pyramid, pyramid_like, window_mask
from captioner.errors import CheckpointError
from eval.quality.golden_sound import compare_mfcc, compare_pyramid
from tests.helpers import SHARED

GOLDENS = SHARED / "data" / "goldens"
needs_goldens = pytest.mark.skipif(not GOLDENS.is_dir(), reason="needs the goldens beside the repository")


@needs_goldens
def test_golden_parity() -> None:
    assert max(compare_pyramid(GOLDENS).values()) <= 1e-5
    assert max(compare_mfcc(GOLDENS).values()) <= 1e-3


def released_state(width: int, inner: int, levels: int, seed: int) -> dict[str, Tensor]:
    """Random tensors under the public module's names, those that it never uses too."""
    random = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def put(name: str, out: int, *rest: int) -> None:
        norm = name.endswith("norm")
        weight = torch.randn(out, *rest, generator=random, dtype=torch.float64)
        state[f"{name}.weight"] = weight if norm else weight / weight[0].numel() ** 0.5
        state[f"{name}.bias"] = 0.3 * torch.randn(out, generator=random, dtype=torch.float64)

    for level in range(levels):
        for block in ("asablock", "vsablock", "cmablock"):
            at = f"msa.{level}.{block}.layer"
            for place in range(4):
                put(f"{at}.self_attn.linears.{place}", width, width)
            put(f"{at}.feed_forward.w_1", inner, width)
            put(f"{at}.feed_forward.w_2", width, inner)
            for name in ("self_attn.layer_norm", "sublayer.0.norm", "sublayer.1.norm"):
                put(f"{at}.{name}", width)
        for gate in ("la1", "la2", "lv1", "lv2"):
            put(f"msa.{level}.{gate}", width, 2 * width)
        for stream in "av":
            put(f"{stream}network.{level}.conv1", width, width, 3)
            put(f"{stream}network.{level}.conv2", width, width, 1)
            for ours, theirs in (("conv1", "net.0"), ("conv2", "net.2")):
                for kind in ("weight", "bias"):
                    state[f"{stream}network.{level}.{theirs}.{kind}"] = state[f"{stream}network.{level}.{ours}.{kind}"]
    return state


def plain_pyramid(w: dict[str, Tensor], audio: Tensor, video: Tensor, heads: int, levels: int) -> list[list[Tensor]]:
    """One clip's streams (s, C) through the published formulas, snippet by snippet -> the levels of both."""

    def line(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        return x / ((x**2).mean(-1, keepdim=True) + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]

    def block(own: Tensor, other: Tensor, reach: int, at: str) -> Tensor:
        q, size = line(norm(own, f"{at}.sublayer.0.norm"), f"{at}.self_attn.linears.0"), own.shape[1] // heads
        k, v = (line(other, f"{at}.self_attn.linears.{place}") for place in (1, 2))
        rows = []
        for t in range(len(own)):
            seen = slice(max(0, t - reach), t + reach + 1)
            parts = [slice(size * head, size * (head + 1)) for head in range(heads)]
            mixed = [(k[seen, part] @ q[t, part] / size**0.5).softmax(0) @ v[seen, part] for part in parts]
            rows.append(torch.cat(mixed))
        own = own + line(torch.stack(rows), f"{at}.self_attn.linears.3")
        inner = line(norm(own, f"{at}.sublayer.1.norm"), f"{at}.feed_forward.w_1").relu()
        return own + line(inner, f"{at}.feed_forward.w_2")

    def mix(x: Tensor, reach: int, at: str) -> Tensor:
        wide = torch.zeros_like(x) + w[f"{at}.conv1.bias"]
        for place, step in enumerate((-reach, 0, reach)):
            for t in range(len(x)):
                if 0 <= t + step < len(x):
                    wide[t] += w[f"{at}.conv1.weight"][:, :, place] @ x[t + step]
        return (wide.relu() @ w[f"{at}.conv2.weight"][:, :, 0].T + w[f"{at}.conv2.bias"] + x).relu()

    found: list[list[Tensor]] = [[], []]
    for level in range(levels):
        at, reach, pair = f"msa.{level}", 2**level, []
        for own, other, name in ((audio, video, "a"), (video, audio, "v")):
            alone = block(own, own, reach, f"{at}.{name}sablock.layer")
            cross = block(own, other, reach, f"{at}.cmablock.layer")
            both = torch.cat([alone, cross], 1)
            gated = [line(both, f"{at}.l{name}{place}").sigmoid() * one for place, one in ((1, alone), (2, cross))]
            pair.append(mix(sum(gated), reach, f"{name}network.{level}"))  # type: ignore[arg-type]
        audio, video = pair
        found[0].append(audio)
        found[1].append(video)
    return found


@pytest.mark.parametrize(
    ("width", "heads", "inner", "levels", "snippets"),
    [(8, None, 12, 2, 10), (24, None, 7, 3, 16), (32, 4, 64, 4, 5), (12, 2, 9, 1, 1)],
)
def test_any_sizes_are_the_published_formulas(
    width: int, heads: int | None, inner: int, levels: int, snippets: int, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    state = released_state(width, inner, levels, snippets)
    audio, video = torch.randn(2, 2, snippets, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    clips = [plain_pyramid(state, a, v, heads or width // 4, levels) for a, v in zip(audio, video, strict=True)]
    outs = [torch.cat([torch.stack(clip[stream], 1) for clip in clips]) for stream in (0, 1)]
    golden = {"audio": audio, "video": video, "audio_levels": outs[0], "video_levels": outs[1]}
    golden |= {f"w.{name}": value for name, value in state.items()}
    if heads is not None:
        golden["heads"] = torch.tensor(heads)
    path = tmp_path / "lisf.safetensors"
    save_file({name: value.float().contiguous().clone() for name, value in golden.items()}, path)
    assert max(compare_pyramid(tmp_path).values()) < 1e-5
    assert measure.main(["golden", "lisf", str(tmp_path)]) == 0 and "audio_levels" in capsys.readouterr().out
    golden["video_levels"] = golden["video_levels"] + 1e-3
    save_file({name: value.float().contiguous().clone() for name, value in golden.items()}, path)
    assert compare_pyramid(tmp_path)["video_levels"] > 9e-4 and measure.main(["golden", "lisf", str(tmp_path)]) == 1


@needs_goldens
def test_a_golden_that_is_none_is_one_line(tmp_path: Path) -> None:
    tensors = load_file(GOLDENS / "lisf_tiny.safetensors")
    lacking = {name: value for name, value in tensors.items() if name != "w.msa.1.lv2.bias"}
    save_file(lacking, tmp_path / "lisf.safetensors")
    with pytest.raises(CheckpointError, match="do not fit") as fault:
        compare_pyramid(tmp_path)
    assert "\n" not in str(fault.value)
    save_file(tensors | {"w.extra.weight": torch.zeros(2)}, tmp_path / "lisf.safetensors")
    with pytest.raises(CheckpointError, match="extra"):
        compare_pyramid(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        compare_pyramid(tmp_path / "none")
    with pytest.raises(CheckpointError, match="missing"):
        pyramid_like({})


def test_each_snippet_sees_exactly_its_window() -> None:
    mask = window_mask(7, 2)
    assert [row.nonzero().flatten().tolist() for row in mask] == [
        [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [2, 3, 4, 5, 6], [3, 4, 5, 6], [4, 5, 6],
    ]  # fmt: skip
    attention = HeadedAttention(8, 2, 0.0)
    x = torch.randn(1, 7, 8)
    shares = attention.weights(x, x, mask)
    assert torch.equal(shares[0, 0] > 0, mask) and torch.allclose(shares.sum(-1), torch.ones(1, 2, 7))
    before = attention(x, x, mask)
    x[:, 6] += 5
    after = attention(torch.cat([x[:, :6], x[:, 6:]], 1), x, mask)
    assert torch.equal(before[:, :4], after[:, :4]) and not torch.equal(before[:, 4], after[:, 4])


def test_one_level_and_streams_that_change_places() -> None:
    torch.manual_seed(0)
    one = Pyramid(8, 2, 12, 1, 0.0).eval()
    layer = one.layers[0]
    for name in ("self", "gate", "mix"):
        getattr(layer, f"video_{name}").load_state_dict(getattr(layer, f"audio_{name}").state_dict())
    a, v = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    heard, seen = one(a, v)
    assert heard.shape == (2, 5, 1, 8)
    swapped = one(v, a)
    assert torch.equal(swapped[0], seen) and torch.equal(swapped[1], heard)


def test_two_levels_have_the_published_number_of_parameters() -> None:
    count = sum(p.numel() for p in Pyramid(512, 8, 512, 2, 0.2).parameters())
    assert abs(count / 1e6 - 17.9) < 1.6  # the published count holds a norm and a block that nothing uses
