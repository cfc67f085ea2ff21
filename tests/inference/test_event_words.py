"""Sentences about events by others: their person words agree with what was measured, the rest stays."""

import pytest

from captioner.inference.event_words import reconcile


@pytest.mark.parametrize(
    ("told", "people", "kept"),
    [
        ("two men are talking to each other in a kitchen", 1, "A person is talking to someone in a kitchen."),
        ("a man and a woman sit on a couch", 1, "A person sits on a couch."),
        ("there are two girls in a car", 1, "There is a person in a car."),
        ("two old men in suits are shaking hands", 1, "A person in suits is shaking hands."),
        ("a man talks to another man", 1, "A person talks to someone."),
        ("a couple is dancing in front of a crowd", 1, "A person is dancing in front of someone."),
        ("a group of people watch a film", 1, "A person watches a film."),
        ("three boys play", 2, "Two people play."),
        ("two women talk to a man", 2, "Two people talk to a person."),
        ("a man is sitting with a woman at a table", 2, "A person is sitting with another person at a table."),
        ("a group of people stand in a room", 4, "A group of people stand in a room."),
        ("a woman and two men talk", 3, "Several people talk."),
        ("two people wave", 3, "Several people wave."),
    ],
)
def test_numbers_are_those_counted(told: str, people: int, kept: str) -> None:
    assert reconcile(told, people) == kept


@pytest.mark.parametrize("unknown", [None, 0])
def test_where_nobody_was_counted_numbers_stay_and_genders_do_not(unknown: int | None) -> None:
    assert reconcile("two men ride horses", unknown, ("man",)) == "Two people ride horses."
    assert reconcile("a woman puts her hand on him, then she leaves", unknown) == (
        "A person puts their hand on them, then the person leaves."
    )


def test_men_and_women_are_named_where_that_is_known() -> None:
    told = "a young man with a beard plays his guitar while she sings for him"
    assert reconcile(told, 1, ("man",)) == "A young man with a beard plays his guitar while the person sings for him."
    assert reconcile(told, 1) == "A young person with a beard plays their guitar while the person sings for them."
    assert reconcile(told, 2, ("man",)).startswith("A young person")  # whose face it is nobody knows
    assert reconcile("the man's hat and a womanly figure", 1) == "The person's hat and a womanly figure."
    assert reconcile("an older boy and his dog", 1) == "An older child and their dog."


def test_one_whole_sentence_comes_of_whatever_is_written() -> None:
    assert reconcile("  a dog   runs.  It is happy. ", 1) == "A dog runs."
    assert reconcile("a cat\x1b[2J sits!", 1) == "A cat\\x1b[2j sits."
    assert reconcile(" . ", 1) == reconcile("", None) == ""
