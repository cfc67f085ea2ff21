"""Which clips train and which are tested: stratified random splits, whole groups on one side, official sides."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from captioner.data.manifest import Record
from captioner.errors import ManifestError


def random_split(
    records: Sequence[Record], test_share: float, seed: int, by_group: bool = False
) -> tuple[list[int], list[int]]:
    """Places of the training and test clips; every category gives its share, and groups stay whole if asked.

    A group goes with its commonest category; categories that are the commonest of one group alone are drawn together.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for place, record in enumerate(records):
        members[record.group if by_group and record.group else f"\0{place}"].append(place)
    strata: dict[str, list[list[int]]] = defaultdict(list)
    for places in members.values():
        label = Counter(str(records[place].emotion) for place in places).most_common(1)[0][0]
        strata[label].append(places)
    small = [label for label in sorted(strata) if len(strata[label]) < 2]
    drawn = [strata[label] for label in sorted(strata) if label not in small]
    drawn.append([group for label in small for group in strata[label]])
    draw = random.Random(seed)
    test: set[int] = set()
    for groups in drawn:
        draw.shuffle(groups)
        test.update(_share(groups, test_share))
    _check(records, test, "group" if by_group else "clip")
    return [i for i in range(len(records)) if i not in test], sorted(test)


def _share(groups: Sequence[list[int]], test_share: float) -> list[int]:
    """The clips of the first groups that make up about `test_share`; the last group always trains."""
    wanted = test_share * sum(map(len, groups))
    taken: list[int] = []
    for place, group in enumerate(groups[:-1]):
        # half a group over the share is as good as half a group below it
        if place == 0 or len(taken) + len(group) / 2 <= wanted:
            taken += group
    return taken


def _check(records: Sequence[Record], test: set[int], kind: str) -> None:
    """Raises ManifestError when a category would not be trained, or nothing tested."""
    trained = {record.emotion for i, record in enumerate(records) if i not in test}
    absent = sorted({str(record.emotion) for record in records} - {str(label) for label in trained})
    if absent:
        raise ManifestError(f"no {kind} of {', '.join(absent)} is left to train on: more of them are needed")
    if not test:
        raise ManifestError(f"nothing to test: two {kind}s at least are needed, one for each side of a split")


def official_split(records: Sequence[Record]) -> tuple[list[int], list[int]]:
    """Places of the training (train, val) and test clips as the dataset says them."""
    unnamed = [record.id for record in records if record.split not in ("train", "val", "test")]
    test = [i for i, record in enumerate(records) if record.split == "test"]
    if unnamed or not test or len(test) == len(records):
        fault = f"{len(unnamed)} clips (first {unnamed[0]}) are on no side" if unnamed else "one side is empty"
        raise ManifestError(f"no official split: {fault}; set data.protocol=random, or add a list with the sides")
    chosen = set(test)
    return [i for i in range(len(records)) if i not in chosen], test


def shared_groups(records: Sequence[Record], train: Sequence[int], test: Sequence[int]) -> int:
    """How many groups have clips on both sides."""
    sides = ({records[i].group for i in places} - {""} for places in (train, test))
    return len(set.intersection(*sides))
