"""Translate a dataset's own files into a manifest, and report what does not add up.

    python scripts/prepare.py mafw --root MAFW --out MAFW/manifest.jsonl --fold 1
    python scripts/prepare.py emvidcap --root EmVidCap --out EmVidCap/manifest.jsonl [--part S] [--faces-only]
    python scripts/prepare.py msvd --root MSVD --out MSVD/manifest.jsonl
    python scripts/prepare.py msrvtt --root MSRVTT --out MSRVTT/manifest.jsonl --check-videos
    python scripts/prepare.py vatex --root VATEX --out VATEX/manifest.jsonl

The datasets are their owners': get them from there, under their terms. Videos that are missing or cannot be
read are left out and listed in a file beside the manifest, manifest.left-out.txt.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from _command import run_subcommand
from tqdm import tqdm

from captioner.data.adapters.checks import check_collected
from captioner.data.adapters.clear_faces import clear_faced
from captioner.data.adapters.emvidcap import read_emvidcap
from captioner.data.adapters.layout import Collected, Videos, check_root
from captioner.data.adapters.mafw import read_mafw
from captioner.data.adapters.msrvtt import read_msrvtt
from captioner.data.adapters.msvd import read_msvd
from captioner.data.adapters.vatex import read_vatex
from captioner.data.manifest import Record, write_manifest
from captioner.errors import CaptionerError
from captioner.files import write_text

# What a dataset's files say, by its name; a new one is a module of captioner/data/adapters and a line here.
DATASETS: dict[str, Callable[[Namespace], Collected]] = {
    "mafw": lambda options: read_mafw(options.root, options.fold),
    "emvidcap": lambda options: read_emvidcap(options.root, options.part),
    "msvd": lambda options: read_msvd(options.root),
    "msrvtt": lambda options: read_msrvtt(options.root),
    "vatex": lambda options: read_vatex(options.root),
}


def prepare_dataset(name: str, parser: ArgumentParser, arguments: list[str]) -> None:
    """Read, check, report, write."""
    options = _options(name, parser, arguments)
    check_root(options.root)
    collected = DATASETS[name](options)
    if options.videos is not None:
        check_root(options.videos)
    # the face rule decodes every clip, so that what cannot be decoded must be known before it
    decode = options.check_videos or options.faces_only
    prepared = check_collected(collected, Videos(options.videos or options.root), decode, _bar)
    print("\n".join(prepared.report))
    records = prepared.records
    if options.faces_only:
        records = clear_faced(_bar(records))
        print(f"clear-faced: {len(records)} of {len(prepared.records)} (the paper's list of 526 is not published; "
              f"numbers on this one are not comparable with it)")  # fmt: skip
        if not records:
            raise CaptionerError("no video passes the face rule: nothing is written")
    left = [f"{key}\tmissing" for key in prepared.missing]
    left += [f"{key}\t{why}" for key, why in prepared.unreadable.items()]
    beside = options.out.with_suffix(".left-out.txt")
    if left:
        write_text(beside, "\n".join(left) + "\n")
    else:
        beside.unlink(missing_ok=True)
    write_manifest(options.out, records)
    print(options.out)


def _options(name: str, parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """What every dataset takes, and what only some do."""
    parser.add_argument("--root", type=Path, required=True, help="the dataset's folder, unpacked")
    parser.add_argument("--out", type=Path, required=True, help="manifest to write, a .jsonl file")
    parser.add_argument("--videos", type=Path, help="folder of the clips (default: --root)")
    parser.add_argument("--check-videos", action="store_true", help="also decode eight frames of each video")
    parser.set_defaults(faces_only=False)
    if name == "mafw":
        parser.add_argument("--fold", type=int, default=1, help="1 to 5 (default 1, the paper's by its sizes)")
    if name == "emvidcap":
        parser.add_argument("--part", choices=("S", "L"), help="one part only (default: the parts that are there)")
        parser.add_argument("--faces-only", action="store_true", help="clips of one clear face")
    return parser.parse_args(arguments)


def _bar(records: Sequence[Record]) -> Iterable[Record]:
    return tqdm(records, desc="videos", unit="clip", disable=None)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_subcommand(__doc__, {name: partial(prepare_dataset, name) for name in DATASETS}, arguments)


if __name__ == "__main__":
    sys.exit(main())
