"""From what a dataset says to a manifest: videos found, duplicates and empty captions out, and a report."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from captioner.data.adapters.layout import Collected, Item, LayoutError, Videos
from captioner.data.manifest import Record
from captioner.errors import VideoError
from captioner.video.reading import probe, read_clip

CHECKED_FRAMES = 8
_WORDS = re.compile(r"\w+(?:['-]\w+)*|[^\w\s]")
_PRIORITY = ("test", "val", "train")  # a clip on two sides stays on the first of these


@dataclass
class Prepared:
    """Records for the manifest, the lines of the report, and what was left out for its video's sake."""

    records: list[Record]
    report: list[str]
    missing: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)


def check_collected(
    collected: Collected,
    videos: Videos,
    check: bool = False,
    progress: Callable[[Sequence[Record]], Iterable[Record]] = iter,
) -> Prepared:
    """The records whose videos are there (and, with `check`, can be decoded), and all that is to be reported."""
    report = [f"{collected.title}: {len(collected.items)} clips listed", *_counts(collected)]
    items, emptied = _normalised(collected.items)
    report.append(f"captions emptied by normalisation: {emptied}")
    report += [f"notice: {line}" for line in collected.notices]
    items, lines = _one_side(items)
    report += lines
    captionless = [i for i in items if not i.captions and i.emotion != "neutral"]
    if captionless:
        report.append(f"notice: {_some([i.id for i in captionless])} without a caption left out")
    items = [item for item in items if item.captions or item.emotion == "neutral"]
    report += [_lengths(items, collected.limit), *_histogram(items)]
    records, missing = _with_videos(items, videos, collected.fold)
    if not records:
        wanted = ", ".join(f"{item.names[0]}.mp4" for item in items[:3]) or "clips with captions"
        raise LayoutError(
            f"{videos.root}: none of the {len(items)} listed videos is there (looked for {wanted}, ... in all folders; "
            f"found {len(videos.paths)} videos, {', '.join(sorted(videos.paths)[:3]) or 'none'}): "
            f"unpack the clips there, or give their folder by --videos"
        )
    report.append(_absent("missing", missing))
    prepared = Prepared(records, report, missing)
    if check:
        prepared.records, prepared.unreadable = _readable(progress(records))
        report.append(_absent("unreadable", [f"{k}: {why}" for k, why in prepared.unreadable.items()]))
    sides = Counter(record.split for record in prepared.records)
    report.append(f"in the manifest: {', '.join(f'{sides[s]} {s}' for s in ('train', 'val', 'test') if sides[s])}")
    return prepared


def _counts(collected: Collected) -> list[str]:
    """Each published count beside the one found, before anything is left out."""
    found: Counter[str] = Counter()
    for item in collected.items:
        for name, count in (("clips", 1), ("captions", len(item.captions))):
            found[f"{item.part} {item.split} {name}".strip()] += count
    for part, label, _ in {(item.part, item.label, item.id) for item in collected.items}:
        found[f"{part} {label} clips".strip()] += 1
    lines = [f"{'':22s} {'here':>9s} {'published':>9s}"]
    for name, published in collected.published.items():
        odd = "" if found[name] == published else f"  differs by {found[name] - published:+d}"
        lines.append(f"{name:22s} {found[name]:9d} {published:9d}{odd}")
    return lines


def _normalised(items: Sequence[Item]) -> tuple[list[Item], int]:
    """Captions with single spaces; those without a letter or digit go and are counted."""
    kept, emptied = [], 0
    for item in items:
        captions = [" ".join(text.encode("utf-8", "ignore").decode("utf-8").split()) for text in item.captions]
        whole = [text for text in captions if any(letter.isalnum() for letter in text)]
        emptied += len(captions) - len(whole)
        kept.append(replace(item, captions=whole))
    return kept, emptied


def _one_side(items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """Clips listed in two splits stay in the test (or validation); and what was found."""
    sides: dict[str, set[str]] = {}
    groups: dict[str, set[str]] = {}
    for item in items:
        sides.setdefault(item.id, set()).add(item.split)
        if item.group:
            groups.setdefault(item.group, set()).add(item.split)
    twice = [key for key, splits in sides.items() if len(splits) > 1]
    lines = [f"duplicates across splits: {len(twice)}"]
    for key in twice:
        first, *rest = [split for split in _PRIORITY if split in sides[key]]
        lines.append(f"notice: {key} is in {first} and {' and '.join(rest)}: removed from {' and '.join(rest)}")
    shared = sum(len(splits) > 1 for splits in groups.values())
    if groups:
        lines.append(f"source videos with clips in several splits: {shared} of {len(groups)}")
    stays = {key: next(split for split in _PRIORITY if split in splits) for key, splits in sides.items()}
    return [item for item in items if stays[item.id] == item.split], lines


def _lengths(items: Sequence[Item], limit: int) -> str:
    sizes = [len(_WORDS.findall(text)) for item in items for text in item.captions]
    over = sum(size > limit for size in sizes)
    share = 100 * over / len(sizes) if sizes else 0.0
    return (
        f"captions longer than the generation limit ({limit} words and marks): {over} of {len(sizes)}, "
        f"{share:.1f} % (in word pieces at least)"
    )


def _histogram(items: Sequence[Item]) -> list[str]:
    labels = Counter(item.label for item in items if item.label)
    shown = ", ".join(f"{name} {count}" for name, count in labels.most_common())
    return [f"classes: {shown}"] if labels else []


def _with_videos(items: Sequence[Item], videos: Videos, fold: int | None) -> tuple[list[Record], list[str]]:
    records, missing = [], []
    for item in items:
        video = videos.find(item.names)
        if video is None:
            missing.append(item.id)
            continue
        captions, multi = tuple(item.captions), item.multi_emotion
        records.append(
            Record(item.id, video, item.split, captions, item.emotion, multi, (), item.group, fold, extra=item.extra)
        )
    return records, missing


def _readable(records: Iterable[Record]) -> tuple[list[Record], dict[str, str]]:
    """Records whose sampled frames decode, with length and rate; and why the others do not."""
    kept, unreadable = [], {}
    for record in records:
        try:
            about = probe(record.video)
            read_clip(record.video, CHECKED_FRAMES)
        except VideoError as error:
            unreadable[record.id] = str(error)
        else:
            kept.append(replace(record, n_frames=about.n_frames, fps=round(about.fps, 3)))
    return kept, unreadable


def _absent(kind: str, ids: Sequence[str]) -> str:
    return f"{kind} videos: {_some(ids)}, left out of the manifest" if ids else f"{kind} videos: 0"


def _some(ids: Sequence[str]) -> str:
    """'3 (a, b, c)', with at most ten named."""
    return f"{len(ids)} ({', '.join(ids[:10])}{', ...' if len(ids) > 10 else ''})"
