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

    A group goes with its commonest category. Each category keeps a clip or group on both sides.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for place, record in enumerate(records):
        members[record.group if by_group and record.group else f"\0{place}"].append(place)
    strata: dict[str, list[list[int]]] = defaultdict(list)
    for places in members.values():
        label = Counter(str(records[place].emotion) for place in places).most_common(1)[0][0]
        strata[label].append(places)
    draw = random.Random(seed)
    test: set[int] = set()
    for label in sorted(strata):
        groups = strata[label]
        if len(groups) < 2:
            kind = "group" if by_group else "clip"
            raise ManifestError(f"category {label!r} has a single {kind}: two are needed, one for each side of a split")
        draw.shuffle(groups)
        wanted = test_share * sum(map(len, groups))
        taken = 0
        for place, group in enumerate(groups[:-1]):  # the last one always trains
            # half a group over the share is as good as half a group below it
            if place and taken + len(group) / 2 > wanted:
                continue
            test.update(group)
            taken += len(group)
    return [i for i in range(len(records)) if i not in test], sorted(test)


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
