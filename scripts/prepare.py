"""Translate a dataset's own files into a manifest, and report what does not add up.

    python scripts/prepare.py mafw --root MAFW --out MAFW/manifest.jsonl --fold 1
    python scripts/prepare.py emvidcap --root EmVidCap --out EmVidCap/manifest.jsonl [--part S] [--faces-only]
    python scripts/prepare.py msvd --root MSVD --out MSVD/manifest.jsonl
    python scripts/prepare.py msrvtt --root MSRVTT --out MSRVTT/manifest.jsonl --check-videos

The datasets are their owners': get them from there, under their terms. Videos that are missing or cannot be
read are left out and listed in a file beside the manifest, manifest.left-out.txt.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from captioner.data.adapters.checks import check_collected
from captioner.data.adapters.clear_faces import clear_faced
from captioner.data.adapters.emvidcap import read_emvidcap
from captioner.data.adapters.layout import Collected, Videos, check_root
from captioner.data.adapters.mafw import read_mafw
from captioner.data.adapters.msrvtt import read_msrvtt
from captioner.data.adapters.msvd import read_msvd
from captioner.data.manifest import Record, write_manifest
from captioner.errors import CaptionerError
from captioner.files import write_text


def parser() -> argparse.ArgumentParser:
    """The command line."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sets = flags.add_subparsers(dest="dataset", required=True)
    for name in ("mafw", "emvidcap", "msvd", "msrvtt"):
        one = sets.add_parser(name, help=f"the layout of {name}")
        one.add_argument("--root", type=Path, required=True, help="the dataset's folder, unpacked")
        one.add_argument("--out", type=Path, required=True, help="manifest to write, a .jsonl file")
        one.add_argument("--videos", type=Path, help="folder of the clips (default: --root)")
        one.add_argument("--check-videos", action="store_true", help="also decode eight frames of each video")
        if name == "mafw":
            one.add_argument("--fold", type=int, default=1, help="1 to 5 (default 1, the paper's by its sizes)")
        if name == "emvidcap":
            one.add_argument("--part", choices=("S", "L"), help="one part only (default: the parts that are there)")
            one.add_argument("--faces-only", action="store_true", help="clips of one clear face")
    return flags


def collect(options: argparse.Namespace) -> Collected:
    """What the dataset's files say."""
    check_root(options.root)
    if options.dataset == "mafw":
        return read_mafw(options.root, options.fold)
    if options.dataset == "emvidcap":
        return read_emvidcap(options.root, options.part)
    return read_msvd(options.root) if options.dataset == "msvd" else read_msrvtt(options.root)


def run(options: argparse.Namespace) -> None:
    """Read, check, report, write."""
    only_faces = getattr(options, "faces_only", False)
    collected = collect(options)
    if options.videos is not None:
        check_root(options.videos)
    # the face rule decodes every clip, so that what cannot be decoded must be known before it
    videos = Videos(options.videos or options.root)
    prepared = check_collected(collected, videos, options.check_videos or only_faces, _bar)
    print("\n".join(prepared.report))
    records = prepared.records
    if only_faces:
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


def _bar(records: Sequence[Record]) -> Iterable[Record]:
    return tqdm(records, desc="videos", unit="clip", disable=None)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        run(options)
    except CaptionerError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)  # a name may hold a line end
        return 2
    except OSError as error:
        print(f"error: {error.filename or options.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
