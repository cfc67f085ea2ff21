"""Visual and textual prompts and their alignment: eqs 4-12."""

import itertools
from copy import deepcopy

import pytest
import torch
from torch.nn import functional as F

from prompts.alignment import (
    au_word_contrastive,
    au_word_cross_entropy,
    au_word_loss,
    cosine,
    match,
    own_words_loss,
    similarity_cross_entropy,
    similarity_loss,
)
from prompts.phrase_scores import PhraseProbes, stilled
from prompts.textual import TextualPrompts, hide_words
from prompts.visual import ExpertFeatures, VisualPrompts, best_and_swing, best_frames
from tests.helpers import tiny_batch, tiny_model


def test_matching_equals_brute_force() -> None:
    draw = torch.Generator().manual_seed(0)
    for trial in range(200):
        au, words = torch.randn(1, 3, 6, generator=draw), torch.randn(1, 8, 6, generator=draw)
        valid = torch.rand(1, 8, generator=draw) < 0.7
        valid[0, trial % 8] = True
        scores, places = cosine(au, words)[0], valid[0].nonzero()[:, 0].tolist()
        matching = match(scores[None], valid)
        pairs = min(3, len(places))
        best = max(
            sum(float(scores[k, j]) for k, j in zip(aus, chosen, strict=True))
            for aus in itertools.combinations(range(3), pairs)
            for chosen in itertools.permutations(places, pairs)
        )
        assert float((matching.similarity * matching.made).sum()) == pytest.approx(best, abs=1e-5)
        assert int(matching.made.sum()) == pairs
        assert set(matching.word[matching.made].tolist()) <= set(places)


def loss_of(similarity: torch.Tensor, warm: bool = False, others: float = 0.0) -> tuple[float, int]:
    valid = torch.ones(1, similarity.shape[-1], dtype=torch.bool)
    found = match(similarity, valid)
    loss, positives = au_word_loss(
        similarity, valid, found, threshold=0.3, margin=0.5, warm=warm, others=others
    )
    return loss.item(), int(positives)


def test_loss_by_hand() -> None:
    similarity = torch.tensor([[[0.4, 0.0, -0.9], [0.0, 0.2, -0.9], [-0.9, -0.9, 0.7]]])
    # positives 0.4 and 0.7: (0.5 - 0.4)^2 and 0; negative 0.2: 0.2^2
    assert loss_of(similarity) == (pytest.approx((0.01 + 0.04) / 3), 2)
    assert loss_of(similarity, warm=True) == (pytest.approx((0.01 + 0.09) / 3), 3)
    crowded = torch.tensor([[[0.4, 0.3]]])  # one AU, two words: the unmatched one is pushed down
    assert loss_of(crowded, others=2.0) == (pytest.approx(0.01 + 2 * 0.09), 1)


def test_dissimilar_pairs_are_left_alone() -> None:
    assert loss_of(torch.tensor([[[-0.4]]]))[0] == 0.0


@pytest.mark.parametrize(
    ("start", "warm", "end"), [(0.35, False, 0.5), (0.25, False, 0.0), (0.02, True, 0.5)]
)
def test_optimised_directly_positives_rise_and_negatives_fall(start: float, warm: bool, end: float) -> None:
    words = torch.tensor([[[1.0, 0.0]]])
    au = torch.tensor([[[start, (1 - start**2) ** 0.5]]], requires_grad=True)
    optimizer = torch.optim.SGD([au], lr=0.2)
    for _ in range(400):
        similarity = cosine(au, words)
        valid = torch.ones(1, 1, dtype=torch.bool)
        found = match(similarity, valid)
        loss, _ = au_word_loss(similarity, valid, found, threshold=0.3, margin=0.5, warm=warm, others=1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert cosine(au, words).item() == pytest.approx(end, abs=0.03)


def test_no_word_to_match_is_no_loss() -> None:
    similarity = torch.randn(2, 3, 5, requires_grad=True)
    valid = torch.zeros(2, 5, dtype=torch.bool)
    found = match(similarity, valid)
    assert not found.made.any()
    loss, positives = au_word_loss(similarity, valid, found, threshold=0.3, margin=0.5, warm=True, others=1.0)
    assert loss.item() == 0.0
    assert int(positives) == 0
    assert au_word_cross_entropy(similarity, valid, found, 0.1).item() == 0.0


def test_variants_fall_when_pairs_agree() -> None:
    torch.manual_seed(0)
    au = torch.randn(4, 3, 16)
    valid = torch.ones(4, 6, dtype=torch.bool)
    other = torch.randn(4, 6, 16)
    same = torch.cat([au, torch.randn(4, 3, 16)], 1)
    for words, bound in [(same, 0.1), (other, 10.0)]:
        similarity = cosine(au, words)
        cross = float(au_word_cross_entropy(similarity, valid, match(similarity, valid), 0.07))
        contrast = float(au_word_contrastive(au, words, valid, 0.07))
        assert cross < bound
        assert contrast < bound
        assert (bound < 1) or (cross > 0.1 and contrast > 0.1)
    er = torch.randn(4, 16)
    assert float(similarity_loss(er, er)) == pytest.approx(0, abs=1e-6)
    assert (
        float(similarity_cross_entropy(er, er, 0.07)) < 0.05 < float(similarity_cross_entropy(er, -er, 0.07))
    )


def features(clips: int = 2) -> ExpertFeatures:
    draw = torch.Generator().manual_seed(0)
    return ExpertFeatures(
        er=torch.randn(clips, 10, generator=draw),
        er_probs=torch.full((clips, 11), 1 / 11),
        au_scores=torch.rand(clips, 27, generator=draw),
        au_nodes=torch.rand(clips, 27, 6, generator=draw),
        au_frames=torch.rand(clips, 4, 27, generator=draw),
        present=torch.ones(clips, dtype=torch.bool),
        height=torch.full((clips,), 0.5),
        best_and_swing=torch.rand(clips, 10, generator=draw),
    )


def test_standard_scores_choose_the_action_units() -> None:
    prompts = VisualPrompts(10, 6, 8, k=3, unusable=(4,))
    seen = features()
    seen.au_scores[:] = 0.5
    seen.au_scores[:, 7], seen.au_scores[:, 9], seen.au_scores[:, 11] = 0.60, 0.58, 0.57
    seen.au_scores[:, 2], seen.au_scores[:, 4] = (
        0.9,
        0.99,
    )  # AU 2 is always high, AU at place 4 was never learned
    mean, std = torch.full((27,), 0.5), torch.full((27,), 0.05)
    mean[2], std[2] = 0.9, 0.05
    prompts.au_mean.copy_(mean)
    prompts.au_std.copy_(std)
    assert prompts(seen).au_index.tolist() == [[7, 9, 11]] * 2


def test_best_and_swing_are_those_and_the_swing_of_frames_with_a_face() -> None:
    values = torch.tensor([[[0.1], [0.9], [0.5], [9.0]], [[1.0], [2.0], [3.0], [4.0]]])
    present = torch.tensor([[True, True, True, False], [False] * 4])
    best, swing = best_and_swing(values, present).unbind(1)
    assert best.tolist() == pytest.approx([0.7, 0])  # the better two of three
    assert swing.tolist() == pytest.approx([0.7 - 0.3, 0])


def test_a_reading_scores_what_is_measured_and_says_it_in_one_token() -> None:
    draw = torch.Generator().manual_seed(0)
    told = torch.randn(400, 6, generator=draw)
    shown = torch.stack([told[:, 0] > 0.5, told[:, 1] + told[:, 2] > 0, torch.zeros(400, dtype=torch.bool)], 1)
    reading = PhraseProbes(6, 3, 8)
    reading.fit(told[:300] * 5 + 2, shown[:300])
    fresh = reading.logits(told[300:] * 5 + 2)
    assert ((fresh > 0) == shown[300:]).float().mean() > 0.9
    assert (fresh[:, 2] < -3).all()  # never shown, never believed
    assert not any(name.startswith("weight") for name, _ in reading.named_parameters())  # judges stay as fitted
    assert ((reading.logits(stilled(told[300:] * 5 + 2))[:, 0] > 0) == shown[300:, 0]).float().mean() > 0.8
    reading.eval()
    token = reading(told[:2] * 5 + 2)
    assert token.shape == (2, 1, 8)
    assert torch.equal(token, reading(told[:2] * 5 + 2))
    reading.train()
    assert not torch.equal(token, reading(told[:2] * 5 + 2))


def test_judges_go_on_from_those_before() -> None:
    draw = torch.Generator().manual_seed(0)
    told = torch.randn(800, 6, generator=draw)
    shown = told[:, :2] + 0.8 * told[:, 2:4] > 0.3
    first, alone = PhraseProbes(6, 2, 8), PhraseProbes(6, 2, 8)
    first.fit(told[:600], shown[:600])
    on = deepcopy(first)
    on.fit(told[600:630] + 0.05, shown[600:630])
    alone.fit(told[600:630] + 0.05, shown[600:630])
    assert torch.equal(on.mean, first.mean) and not torch.equal(on.weight, first.weight)
    right = [((each.logits(told[630:]) > 0) == shown[630:]).float().mean() for each in (on, alone)]
    assert right[0] > right[1]
    assert (on.weight - first.weight).norm() < (alone.weight - first.weight).norm()


def test_a_reading_stands_beside_the_er_token_and_without_a_face_says_nothing() -> None:
    prompts = VisualPrompts(10, 6, 8, reading=(5, 3, 2)).eval()
    seen = features()
    plain = prompts(seen)
    assert plain.er.shape == (2, 2, 8)
    seen.present[1] = False
    assert torch.equal(prompts(seen).er[1, 1], prompts.null_reading)
    assert torch.equal(prompts(seen).er[0], plain.er[0])


def test_fit_scores_standardises() -> None:
    prompts = VisualPrompts(10, 6, 8)
    scores = torch.rand(500, 27) * torch.linspace(0.1, 1, 27)
    prompts.fit_scores(scores)
    standard = (scores - prompts.au_mean) / prompts.au_std
    assert standard.mean(0).abs().max() < 1e-4
    assert (standard.std(0) - 1).abs().max() < 0.01


def test_er_features_are_taken_by_how_they_differ() -> None:
    """What all faces share does not reach the first layer of a new MLP; a feature that is always alike stays finite."""
    torch.manual_seed(0)
    apart = 0.01 * torch.randn(200, 10) * torch.linspace(0.5, 2, 10)
    apart[:, 3] = 0.0
    er = 5 * torch.rand(10) + apart
    prompts = VisualPrompts(10, 6, 8)
    weight, bias = (value.detach().clone() for value in prompts.er_mlp[0].parameters())
    prompts.fit_features(er)
    standard = (er - er.mean(0)) / er.std(0, unbiased=False).clamp(min=1e-3)
    standard[:, 3] = 0.0
    torch.testing.assert_close(prompts.er_mlp[0](er), standard @ weight.t() + bias, atol=2e-3, rtol=1e-3)


def test_no_face_gives_the_null_tokens() -> None:
    prompts = VisualPrompts(10, 6, 8)
    seen = features()
    seen.present[0] = False
    tokens = prompts(seen)
    torch.testing.assert_close(tokens.er[0, 0], prompts.null_er)
    torch.testing.assert_close(tokens.au[0], prompts.null_au)
    assert not torch.allclose(tokens.er[1, 0], prompts.null_er)


def test_class_token_is_the_belief_weighted_sum() -> None:
    prompts = TextualPrompts(4, 8, 3)
    probs = torch.tensor([[0.2, 0.3, 0.5]])
    wanted = (
        0.2 * prompts.classes.weight[0] + 0.3 * prompts.classes.weight[1] + 0.5 * prompts.classes.weight[2]
    )
    torch.testing.assert_close(prompts.class_token(probs)[0, 0], wanted)


def test_sentence_feature_ignores_padding() -> None:
    prompts = TextualPrompts(4, 8, 3)
    words, token = torch.randn(1, 5, 4), torch.randn(1, 1, 8)
    mask = torch.tensor([[1.0, 1, 1, 0, 0]])
    changed = words.clone()
    changed[:, 3:] += 10
    first = prompts.sentence_feature(words, mask, token)
    torch.testing.assert_close(first, prompts.sentence_feature(changed, mask, token))
    assert not torch.allclose(first, prompts.sentence_feature(words, mask, token + 1))


def test_hidden_words_leave_one() -> None:
    valid = torch.tensor([[True, True, False], [False, False, False]])
    for seed in range(50):
        kept = hide_words(valid, 0.9, torch.Generator().manual_seed(seed))
        assert not (kept & ~valid).any()
        assert kept[0].any()
        assert not kept[1].any()


def test_frozen_experts_never_change() -> None:
    model = tiny_model().train()
    before = {k: v.clone() for k, v in model.experts.state_dict().items()}
    batch = tiny_batch(model.config)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sum(model(batch, warm=True).live.values()).backward()  # type: ignore[union-attr]
    optimizer.step()
    assert all(torch.equal(before[k], v) for k, v in model.experts.state_dict().items())
    assert not any(module.training for module in model.experts.er.modules())


def test_faceless_frames_do_not_count() -> None:
    model = tiny_model()
    faces = tiny_batch(model.config, 2).faces
    assert faces is not None
    crops = faces.pixels
    alone = model.experts(crops[:, :1])
    half = model.experts(crops, torch.tensor([[True, False], [True, False]]))
    torch.testing.assert_close(half.er, alone.er)
    torch.testing.assert_close(half.au_scores, alone.au_scores)
    torch.testing.assert_close(
        F.normalize(half.au_nodes, dim=-1), F.normalize(alone.au_nodes, dim=-1), atol=1e-3, rtol=0
    )
    assert not model.experts(crops, torch.zeros(2, 2, dtype=torch.bool)).present.any()


def test_an_action_unit_counts_where_it_shows_best() -> None:
    scores = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.6, 0.3], [0.7, 0.99]]).repeat(2, 1)[None]  # (1, 8, 2)
    share = best_frames(scores, torch.ones(1, 8, dtype=torch.bool))
    torch.testing.assert_close(share.sum(1), torch.ones(1, 2))
    assert set(torch.nonzero(share[0, :, 0])[:, 0].tolist()) - {1, 5} <= {3, 7}  # three of eight: .8, .8, .7
    torch.testing.assert_close((share * scores).sum(1)[0, 0], torch.tensor((0.8 + 0.8 + 0.7) / 3))
    absent = torch.tensor([[True, False, False, False] * 2])
    torch.testing.assert_close((best_frames(scores, absent) * scores).sum(1), scores[:, 0])
    assert not best_frames(scores, torch.zeros(1, 8, dtype=torch.bool)).any()


def linked(seed: int, own_words: float) -> bool:
    """AU 0's clips say word 0, AU 1's say word 1, all say words 2 and 3: does each AU end with its own word?"""
    torch.manual_seed(seed)
    table = torch.nn.Parameter(torch.randn(4, 32))
    au_table = torch.nn.Parameter(torch.randn(2, 32))
    index = torch.tensor([[0], [1], [0], [1]])
    says = torch.tensor([[0, 2, 3], [1, 2, 3], [0, 2, 3], [1, 2, 3]])
    valid, counts = torch.ones(4, 3, dtype=torch.bool), torch.ones(4, 1, dtype=torch.bool)
    optimizer = torch.optim.Adam([table, au_table], lr=0.02)
    for step in range(200):
        au, words = au_table[index], table[says]
        similarity = cosine(au, words)
        found = match(similarity, valid)
        warm, search = step < 40, own_words > 0
        loss, _ = au_word_loss(
            similarity, valid, found, threshold=0.3, margin=0.5, warm=warm and not search, keep_best=True, others=1.0
        )
        soft = own_words * own_words_loss(au, index, counts, words, valid, 0.07)[0]
        loss = soft if warm and search else loss + soft
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    final = cosine(au_table[None], table[None])[0].detach()
    return final.argmax(1).tolist() == [0, 1] and bool(final.amax(1).min() > 0.3)


@pytest.mark.slow
def test_words_that_all_captions_share_are_no_evidence() -> None:
    assert sum(linked(seed, 0.2) for seed in range(8)) >= 6
    assert sum(linked(seed, 0.0) for seed in range(8)) <= 3


def test_clips_that_show_the_unit_are_no_negatives() -> None:
    au, words = torch.ones(2, 1, 4), torch.ones(2, 3, 4)
    valid, counts = torch.ones(2, 3, dtype=torch.bool), torch.ones(2, 1, dtype=torch.bool)
    same, other = torch.tensor([[5], [5]]), torch.tensor([[5], [6]])
    cases = [(same, counts), (other, counts), (other, ~counts)]
    results = [own_words_loss(au, index, take, words, valid, 0.1) for index, take in cases]
    assert [loss.item() for loss, _ in results] == [0.0, pytest.approx(torch.tensor(2.0).log().item()), 0.0]
    assert [int(number) for _, number in results] == [0, 2, 0]
