"""How often the action unit behind a facial phrase is the one that a made clip was told to show.

    python scripts/measure_evidence.py --manifest data/clips/manifest.jsonl [--split test] [--model NAME] [--clips N]

Prints shares with 95 % intervals: over all phrases of the captions, over those that are true, over those whose
source confirms them; and, where the manifest holds the units' courses, how often the linked second shows the unit.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

import captioner
from captioner.data.manifest import Record, read_manifest
from captioner.errors import CaptionerError
from captioner.files import write_text
from captioner.inference.results import Link
from captioner.lexicon.units import EYES_CLOSED
from eval.significance import share_interval

SHOWN = 0.5  # share of a unit's highest intensity from which on a second shows it


@dataclass(frozen=True)
class Verdict:
    """What is true of one linked phrase; `shown`: whether the unit acts at the linked second, None if not known."""

    clip: str
    phrase: str
    au: int
    commanded: bool
    true: bool
    seen: bool
    shown: bool | None


def judge(link: Link, record: Record) -> Verdict:
    """A linked phrase of a caption beside what its clip was told to show."""
    true = link.phrase in record.extra.get("phrases", ())
    au, second = link.au, link.second
    commanded = au in record.au_ids or (au == EYES_CLOSED and true)
    course = record.extra.get("au", {}).get(str(au))
    shown = None
    if commanded and course and second is not None:
        shown = course[min(round(second * record.fps), len(course) - 1)] >= SHOWN * max(course)
    return Verdict(record.id, link.phrase, au, commanded, true, link.seen, shown)


def summary(verdicts: Sequence[Verdict]) -> dict[str, dict[str, float]]:
    """Shares by name: {share, low, high, count}."""
    groups: dict[str, Iterable[bool]] = {
        "linked unit is commanded": [v.commanded for v in verdicts],
        "... of true phrases": [v.commanded for v in verdicts if v.true],
        "... of confirmed phrases": [v.commanded for v in verdicts if v.seen],
        "phrases confirmed": [v.seen for v in verdicts],
        "linked second shows the unit": [v.shown for v in verdicts if v.shown is not None],
    }
    found = {}
    for name, hits in groups.items():
        values = list(hits)
        if values:
            span = share_interval(sum(values), len(values))
            found[name] = {"share": span.value, "low": span.low, "high": span.high, "count": len(values)}
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    flags = argparse.ArgumentParser(description="Measure the links from facial phrases to action units on made clips.")
    flags.add_argument("--manifest", type=Path, required=True, help="clips with known action units")
    flags.add_argument("--split", default="test", help="part of the manifest (default test)")
    flags.add_argument("--model", help="shipped name, folder or hub name (default: the shipped one)")
    flags.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default auto)")
    flags.add_argument("--clips", type=int, help="only so many, spread evenly over the split (default all)")
    flags.add_argument("--out", type=Path, metavar="JSON", help="also write shares and every link here")
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    args = parser().parse_args(arguments)
    try:
        records = read_manifest(args.manifest, split=args.split)
        step = max(1, len(records) // args.clips) if args.clips else 1
        records = records[::step][: args.clips]
        model = captioner.load(args.model, device=args.device)
        verdicts = []
        for record in tqdm(records, unit="clip", disable=None):
            verdicts += [judge(link, record) for link in model.caption(record.video).phrases]
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    shares = summary(verdicts)
    for name, row in shares.items():
        print(f"{name:32} {row['share']:.3f}  [{row['low']:.3f}, {row['high']:.3f}]  of {row['count']}")
    if not verdicts:
        print("no caption names a facial phrase")
    if args.out:
        write_text(args.out, json.dumps({"shares": shares, "links": [vars(v) for v in verdicts]}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
