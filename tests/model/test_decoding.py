"""Cached decoding against the whole computation; beams, sampling, batches."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from captioner.config import DecodeConfig
from captioner.faces.crops import FaceCrops
from captioner.inference.captions import bonus_of
from captioner.inference.claims import Support, Supports
from captioner.inference.truth import plan_of
from captioner.lexicon.actions import ACTIONS
from captioner.lexicon.phrases import PHRASES
from captioner.model.batch import EncodedClip
from captioner.model.captioner import EmotionCaptioner
from captioner.model.decoding import AGAINST, Special, Written, decode_captions, repeats
from captioner.model.fusion import Fusion, Memory
from captioner.model.tokenizer import Tokenizer
from prompts.phrase_scores import LIMIT
from tests.helpers import tiny_batch, tiny_model

SPECIAL = Special(cls=2, sep=3, mask=4, pad=0)
SHAPES = [
    (),
    ("fusion.layers=3", "fusion.heads=2", "fusion.width=48", "fusion.ffn=32"),
    ("fusion.layers=1", "fusion.heads=1", "fusion.width=16", "fusion.tie_head=false", "prompts.k=5"),
    ("prompts.vep=false", "prompts.tep=false", "prompts.er_sentence=off", "prompts.au_word=off"),
]


def seen(model: EmotionCaptioner, clips: int = 3, seed: int = 0) -> EncodedClip:
    with torch.no_grad():
        return model.see(tiny_batch(model.config, clips, seed=seed))


def sharpen(model: EmotionCaptioner) -> EmotionCaptioner:
    """Random weights large enough that captions differ and attention matters."""
    with torch.no_grad():
        for parameter in model.fusion.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(6)
    return model


@torch.no_grad()
def whole(fusion: Fusion, ids: list[int], memory: Memory) -> Tensor:
    """Logits of the next word with nothing cached."""
    return fusion.head(fusion.write(torch.tensor([[*ids, SPECIAL.mask]]), memory)[:, -1])[0]


def of_clip(memory: Memory, row: int) -> Memory:
    pick = slice(row, row + 1)
    return Memory([k[pick] for k in memory.keys], [v[pick] for v in memory.values], memory.states[pick])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("clips", [1, 3])
def test_cached_logits_equal_uncached(shape: tuple[str, ...], clips: int) -> None:
    model = sharpen(tiny_model(*shape))
    memory = seen(model, clips).memory
    ids = torch.randint(5, 60, (clips, 10))
    ids[:, 0] = SPECIAL.cls
    with torch.inference_mode():
        cache = model.fusion.start(memory, 10)
        for place in range(10):
            logits = model.fusion.step(ids[:, place], SPECIAL.mask, cache)
            for row in range(clips):
                wanted = whole(model.fusion, ids[row, : place + 1].tolist(), of_clip(memory, row))
                torch.testing.assert_close(logits[row], wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", SHAPES[:2])
@pytest.mark.parametrize("beams", [2, 3, 5])
def test_beams_carry_the_right_cache(shape: tuple[str, ...], beams: int) -> None:
    model = sharpen(tiny_model(*shape))
    memory = seen(model).memory
    for row, written in enumerate(
        decode_captions(model.fusion, memory, SPECIAL, DecodeConfig(no_repeat=0, beams=beams, max_words=8))
    ):
        for place, (token, value) in enumerate(zip(written.ids[1:], written.log_probs, strict=True)):
            logits = whole(model.fusion, written.ids[: place + 1], of_clip(memory, row)).clone()
            logits[[SPECIAL.cls, SPECIAL.mask, SPECIAL.pad]] = -torch.inf
            assert abs(float(logits.log_softmax(-1)[token]) - value) < 1e-4


@pytest.mark.parametrize("beams", [1, 4])
def test_a_batch_equals_its_clips_alone(beams: int) -> None:
    model = sharpen(tiny_model())
    batch = tiny_batch(model.config, clips=4)
    options = DecodeConfig(no_repeat=0, beams=beams, max_words=10)
    with torch.no_grad():
        together = decode_captions(model.fusion, model.see(batch).memory, SPECIAL, options)
        for row in range(4):
            one = tiny_batch(model.config, clips=4)
            one.frames, one.faces = batch.frames[row : row + 1], FaceCrops(batch.faces.pixels[row : row + 1])
            alone = decode_captions(model.fusion, model.see(one).memory, SPECIAL, options)[0]
            assert alone.ids == together[row].ids
            assert alone.log_probs == pytest.approx(together[row].log_probs, abs=1e-4)


def test_right_block_is_independent_of_the_text() -> None:
    model = sharpen(tiny_model())
    batch = tiny_batch(model.config)
    states = []
    with torch.no_grad():
        for seed in (1, 2):
            memory = model.see(batch).memory
            model.fusion.write(
                torch.randint(5, 60, (3, 7), generator=torch.Generator().manual_seed(seed)), memory
            )
            states.append([memory.states, *memory.keys, *memory.values])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_text_is_causal() -> None:
    model = sharpen(tiny_model())
    memory = seen(model, 1).memory
    ids = torch.randint(5, 60, (1, 8))
    changed = ids.clone()
    changed[0, 5:] = 7
    with torch.no_grad():
        first, second = model.fusion.write(ids, memory), model.fusion.write(changed, memory)
    torch.testing.assert_close(first[:, :5], second[:, :5], atol=1e-6, rtol=0)
    assert not torch.allclose(first[:, 5:], second[:, 5:], atol=1e-3)


def test_wide_beam_finds_the_best_of_all_captions() -> None:
    """With as many beams as there are prefixes, beam search is exhaustive."""
    model = sharpen(tiny_model("vocab_size=9"))
    memory = seen(model, 1).memory
    words = [1, 5, 6, 7, 8]
    best, best_ids = -math.inf, []
    for length in range(3):
        for middle in itertools.product(words, repeat=length):
            ids = [SPECIAL.cls, *middle, SPECIAL.sep]
            total = 0.0
            for place in range(1, len(ids)):
                logits = whole(model.fusion, ids[:place], memory).clone()
                logits[[SPECIAL.cls, SPECIAL.mask, SPECIAL.pad]] = -torch.inf
                total += float(logits.log_softmax(-1)[ids[place]])
            if total / (len(ids) - 1) > best:
                best, best_ids = total / (len(ids) - 1), ids
    options = DecodeConfig(no_repeat=0, beams=40, max_words=2)
    assert decode_captions(model.fusion, memory, SPECIAL, options)[0].ids == best_ids


def test_of_the_finished_captions_of_a_search_the_worthiest_is_taken() -> None:
    model = sharpen(tiny_model("vocab_size=9"))
    memory = seen(model, 2).memory
    options = DecodeConfig(no_repeat=0, beams=40, max_words=2)
    plain = decode_captions(model.fusion, memory, SPECIAL, options)
    alike = decode_captions(model.fusion, memory, SPECIAL, options, lambda row, ids: [])
    assert [w.ids for w in alike] == [w.ids for w in plain]

    def bonus(row: int, ids: list[int]) -> list[float]:
        return [1000.0] if row == 1 and ids == [SPECIAL.cls, 7, 8, SPECIAL.sep] else []

    first, second = decode_captions(model.fusion, memory, SPECIAL, options, bonus)
    assert first.ids == plain[0].ids
    assert second.ids == [SPECIAL.cls, 7, 8, SPECIAL.sep]


def test_a_search_avoids_what_is_spoken_against() -> None:
    model = sharpen(tiny_model("vocab_size=9"))
    memory = seen(model, 2).memory
    options = DecodeConfig(no_repeat=0, beams=2, max_words=6)
    plain = decode_captions(model.fusion, memory, SPECIAL, options)
    unwanted = plain[0].ids[1]
    heard = []

    def bonus(row: int, ids: list[int]) -> list[float]:
        heard.append(ids)
        return [-100.0] if row == 0 and unwanted in ids else []

    first, second = decode_captions(model.fusion, memory, SPECIAL, options, bonus)
    assert unwanted not in first.ids and first.finished
    assert second.ids == plain[1].ids  # the other clip's search is its own
    assert any(ids[-1] != SPECIAL.sep for ids in heard)  # it is asked while captions are begun


def test_what_was_measured_speaks_for_and_against_what_is_said() -> None:
    tokenizer = Tokenizer.build(["a man talks. the frown and the open mouth."])
    low, high = {name: Support(0.02) for name in PHRASES}, {name: Support(0.02) for name in ACTIONS}
    phrases, actions = {**low, "frown": Support(0.9)}, {**high, "talks": Support(0.8)}
    held: list[Supports | None] = [{"phrase": phrases, "action": actions}, None]
    plans = [plan_of(held[0]), None] if held[0] else []
    assert bonus_of(tokenizer, DecodeConfig(beams=4), [None, None], [None, None]) is None
    assert bonus_of(tokenizer, DecodeConfig(beams=1), held, plans) is None
    bonus = bonus_of(tokenizer, DecodeConfig(beams=4), held, plans)
    assert bonus is not None
    said = bonus(0, tokenizer.encode("a man talks. the frown and the open mouth.", 30))
    assert sorted(said)[1:] == pytest.approx([0.0, 1.0, 1.0])  # nobody measured whether it is a man
    assert -LIMIT / AGAINST <= min(said) < -0.5
    assert bonus(1, tokenizer.encode("a man talks.", 30)) == []


def test_length_penalty_prefers_longer_captions() -> None:
    lengths = {0.0: 0, 3.0: 0}
    for seed in range(4):
        model = sharpen(tiny_model(seed=seed))
        memory = seen(model, 3).memory
        for penalty in lengths:
            options = DecodeConfig(no_repeat=0, beams=4, max_words=12, length_penalty=penalty)
            lengths[penalty] += sum(len(w.ids) for w in decode_captions(model.fusion, memory, SPECIAL, options))
    assert lengths[0.0] < lengths[3.0]


@pytest.mark.parametrize("beams", [1, 3])
def test_no_ngram_twice(beams: int) -> None:
    model = sharpen(tiny_model())
    memory = seen(model).memory
    for written in decode_captions(model.fusion, memory, SPECIAL, DecodeConfig(beams=beams, max_words=16, no_repeat=2)):
        pairs = list(itertools.pairwise(written.ids))
        assert len(pairs) == len(set(pairs))


def test_repeats() -> None:
    assert repeats([5, 6, 7, 5, 6], 3) == [7]
    assert repeats([5, 6], 3) == []
    assert sorted(repeats([5, 6, 5, 7, 5], 2)) == [6, 7]


def test_sampling_follows_the_seed_and_the_nucleus() -> None:
    model = sharpen(tiny_model())
    memory = seen(model).memory

    def ids(**changes: float) -> list[list[int]]:
        options = DecodeConfig(no_repeat=0, sample=True, max_words=10, **changes)  # type: ignore[arg-type]
        return [w.ids for w in decode_captions(model.fusion, memory, SPECIAL, options)]

    assert ids(seed=1) == ids(seed=1)
    assert ids(seed=1, temperature=2.0) != ids(seed=2, temperature=2.0)
    greedy = [w.ids for w in decode_captions(model.fusion, memory, SPECIAL, DecodeConfig(no_repeat=0, max_words=10))]
    assert ids(seed=3, top_p=1e-6) == greedy


@pytest.mark.parametrize("beams", [1, 3])
def test_captions_end_and_fit(beams: int) -> None:
    model = tiny_model()
    for longest in (0, 1, 5):
        for written in decode_captions(
            model.fusion, seen(model).memory, SPECIAL, DecodeConfig(no_repeat=0, beams=beams, max_words=longest)
        ):
            assert written.ids[0] == SPECIAL.cls
            assert written.ids[-1] == SPECIAL.sep
            assert len(written.ids) - 2 <= (longest or 18)
            assert len(written.log_probs) == len(written.ids) - 1
            assert not {SPECIAL.cls, SPECIAL.mask, SPECIAL.pad} & set(written.ids[1:-1])


def test_score_is_the_geometric_mean() -> None:
    assert Written([2, 5, 3], [math.log(0.5), math.log(0.125)]).score == pytest.approx(0.25)
