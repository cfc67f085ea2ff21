"""Lessons on synthetic voices, faces and sentences: their rules, and that recognisers learn from them."""

import numpy as np
import pytest
import torch

from eval.quality.voices import (
    RULE_LABELS,
    SHOWN,
    VOTE_LABELS,
    knowing_pair,
    made_up_views,
    make_lesson,
    mean_and_error,
    measure_rules,
    measure_sound,
    measure_votes,
    rule_plan,
    vote_plan,
)


def test_labels_follow_the_rules() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        face, heard, _, label = rule_plan(rng)
        told = RULE_LABELS[label]
        if heard is None or heard == "neutral":
            assert told == face
        elif face == "neutral":
            assert told == heard
        else:
            assert told == (face if face == heard else "mixed")
        *shown, label = vote_plan(rng)
        assert (VOTE_LABELS[label] == "mixed") == (len(set(shown)) == 3)
        assert label == 3 or shown.count(VOTE_LABELS[label]) >= 2


def test_sides_share_no_person_voice_or_sentence() -> None:
    lesson, unseen = make_lesson(0, 6, False, vote_plan), make_lesson(0, 6, True, vote_plan)
    assert not set(lesson.words) & set(unseen.words)
    views = made_up_views(lesson, 12, 0)
    assert views.shape == (6, 8, 12) and len(lesson.sounds) == 6
    again = make_lesson(0, 6, False, vote_plan)
    assert torch.equal(views, made_up_views(again, 12, 0)) and lesson.words == again.words
    assert mean_and_error([1.0, 3.0]) == (2.0, 1.0)


def test_words_for_one_emotion_lie_close() -> None:
    pair = knowing_pair(0)
    table = torch.nn.functional.normalize(pair.text.token_embedding.weight, dim=1)
    ids = {word: pair.vocabulary.token_to_id(word) for word in ("anger", "rage", "joy")}
    assert table[ids["anger"]] @ table[ids["rage"]] > 0.9 > table[ids["anger"]] @ table[ids["joy"]]


@pytest.mark.slow
def test_recognisers_learn_the_lessons_a_little() -> None:
    sound = measure_sound(0, 256, 9)
    assert sound["sound alone"] > sound["commonest"] + 0.05
    rules = measure_rules(0, 64, 1)
    assert set(rules) >= {"LGF", "late mean", "audio alone", "video alone"}
    votes = measure_votes(0, 64, 1)
    assert all(np.isfinite(value) for value in votes.values()) and len(SHOWN) == 3
