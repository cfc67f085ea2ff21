"""How often the action unit behind a facial phrase is the one that a synthetic clip was told to show."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from captioner.data.manifest import Record
from captioner.inference.predictor import Captioner
from captioner.inference.results import Link
from captioner.lexicon.units import EYES_CLOSED
from eval.significance import share_interval

SHOWN = 0.5  # share of a unit's highest intensity from which on a second shows it


@dataclass(frozen=True)
class LinkVerdict:
    """What is true of one linked phrase; `shown`: whether the unit acts at the linked second, None if not known."""

    clip: str
    phrase: str
    au: int
    commanded: bool
    true: bool
    seen: bool
    shown: bool | None


def judge_link(link: Link, record: Record) -> LinkVerdict:
    """A linked phrase of a caption beside what its clip was told to show."""
    true = link.phrase in record.extra.get("phrases", ())
    au, second = link.au, link.second
    commanded = au in record.au_ids or (au == EYES_CLOSED and true)
    curve = record.extra.get("au", {}).get(str(au))
    shown = None
    if commanded and curve and second is not None:
        shown = curve[min(round(second * record.fps), len(curve) - 1)] >= SHOWN * max(curve)
    return LinkVerdict(record.id, link.phrase, au, commanded, true, link.seen, shown)


def link_shares(verdicts: Sequence[LinkVerdict]) -> dict[str, dict[str, float]]:
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


def judge_clips(model: Captioner, records: Sequence[Record]) -> list[LinkVerdict]:
    """Every linked phrase of the clips' captions, judged."""
    verdicts = []
    written = next(iter(model.config.styles), "")  # as the network words it
    for record in tqdm(records, unit="clip", disable=None):
        verdicts += [judge_link(link, record) for link in model.caption(record.video, style=written).phrases]
    return verdicts
