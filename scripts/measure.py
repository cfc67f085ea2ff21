"""Measure how good parts are; `measure.py COMMAND --help` shows the options.

    python scripts/measure.py faces --photos photos --split test               the face reader
    python scripts/measure.py animator --faces photos --bundle FILE            animated photos, read by MediaPipe
    python scripts/measure.py evidence --manifest data/clips/manifest.jsonl    links from phrases to action units
    python scripts/measure.py claims --manifest data/clips/manifest.jsonl      captions against what clips show
    python scripts/measure.py golden emotionclip|lisf|mfcc FOLDER              what public code computed, and ours
    python scripts/measure.py voices sound|rules|words                         recognisers that hear and read, synthetic

Photos are folders of annotated photos, clips folders of scripts/make_clips.py.
"""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path

from _command import run_subcommand

from captioner.data.manifest import SPLITS, read_manifest
from captioner.errors import ConfigError
from captioner.files import write_text


def measure_faces(parser: ArgumentParser, arguments: list[str]) -> None:
    """A face reader: landmarks and expression on annotated photos, finding and following on synthetic clips (--clips, a
    folder of scripts/make_clips.py), false faces in synthetic videos without one (--empty), agreement with MediaPipe on
    any videos (--videos). With --dense as in dense reading: ten frames a second, people judged by their whole life."""
    from captioner.faces import BACKENDS, open_reader
    from eval.quality.faces import measure_beside, measure_on_clips, measure_on_nothing, measure_on_photos

    parser.add_argument("--reader", choices=BACKENDS, default="builtin")
    parser.add_argument("--bundle", type=Path, help="weights of the reader, instead of its own")
    parser.add_argument("--photos", type=Path, help="folder of annotated photos")
    parser.add_argument("--clips", type=Path, help="folder of synthetic clips with labels")
    parser.add_argument("--empty", type=int, default=0, metavar="N", help="N synthetic videos of each kind, faceless")
    parser.add_argument("--dense", action="store_true", help="ten frames a second, as `caption -f faces` reads them")
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="videos to compare with MediaPipe on")
    parser.add_argument("--teacher", type=Path, help="MediaPipe's bundle; default: fetched once")
    parser.add_argument("--split", choices=SPLITS, default="val")
    parser.add_argument("--json", type=Path, help="file the tables are added to")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    _use_threads(options.threads)
    reader = open_reader(options.reader, bundle=options.bundle, dense=options.dense)
    tables = {}
    if options.photos:
        tables[f"photos, {options.split}"] = measure_on_photos(reader, options.photos, options.split)
    if options.clips:
        tables[f"synthetic clips, {options.split}"] = measure_on_clips(
            reader, options.clips, options.split, options.dense
        )
    if options.empty:
        tables["synthetic videos without a face"] = measure_on_nothing(reader, options.empty)
    if options.videos:
        teacher = open_reader("mediapipe", bundle=options.teacher)
        tables["videos"] = measure_beside(reader, teacher, options.videos)
    for title, scores in tables.items():
        print(title, *(f"  {name:22s} {value:8.4f}" for name, value in scores.items()), sep="\n")
    if options.json:
        before = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {}
        rounded = {title: {k: round(v, 4) for k, v in scores.items()} for title, scores in tables.items()}
        write_text(options.json, json.dumps(before | rounded, indent=1) + "\n")


def measure_claims(parser: ArgumentParser, arguments: list[str]) -> None:
    """Is it true what a captioner says? Claims against what synthetic clips are known to show (--manifest), and photos
    captioned as clips that stand still (--photos)."""
    from captioner.inference.predictor import Captioner
    from eval.quality.told import measure_photos, measure_told

    parser.add_argument("-m", "--model", default="default")
    parser.add_argument("--manifest", type=Path, help="of synthetic clips")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--clips", type=int, default=0, help="the first so many (default: all)")
    parser.add_argument("--style", default="faces")
    parser.add_argument("--mirror", action="store_true", help="also of the mirror images: do sides swap?")
    parser.add_argument("--photos", type=Path, help="folder of annotated photos")
    parser.add_argument("--count", type=int, default=200, help="of photos (default: %(default)s)")
    options = parser.parse_args(arguments)
    captioner = Captioner.from_pretrained(options.model)
    tables = {}
    if options.manifest:
        records = read_manifest(options.manifest, split=options.split)[: options.clips or None]
        told = measure_told(captioner, records, options.style, options.mirror)
        tables[f"{len(records)} synthetic clips, {options.style}"] = told
    if options.photos:
        tables["photos"] = measure_photos(captioner, options.photos, SPLITS.index(options.split), options.count)
    for title, scores in tables.items():
        print(title, *(f"  {name:28s} {value:8.4f}" for name, value in scores.items()), sep="\n")


def measure_animator(parser: ArgumentParser, arguments: list[str]) -> None:
    """Does an animated photo show what it is told? Photos of a split are animated and read by an independent reader
    (MediaPipe). For each action unit: the mean rise of its reading at full intensity over rest, the share of photos
    that respond, and over a ramp from rest to the apex and back the rank correlation (Spearman) of commanded and
    measured intensity."""
    parser.add_argument("--faces", required=True, help="folder with annotations.npz")
    parser.add_argument("--bundle", required=True, help="MediaPipe's face_landmarker.task")
    parser.add_argument("--photos", type=int, default=60, help="how many photos (default: %(default)s)")
    parser.add_argument("--split", default="test", choices=SPLITS)
    parser.add_argument("--ramps", type=int, default=10, help="photos of which ramps are read (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    import numpy as np

    from captioner.synth.photo.photo_set import PhotoSet
    from captioner.synth.teacher import FaceTeacher
    from eval.quality.animator import measure_responses, response_table, usable_photos

    _use_threads(1)
    photos, teacher = PhotoSet(options.faces), FaceTeacher(options.bundle)
    order = np.random.default_rng(options.seed).permutation(photos.rows(options.split))
    tallies = measure_responses(usable_photos(photos, order)[: options.photos], teacher, options.ramps)
    teacher.close()
    print(response_table(tallies))


def measure_evidence(parser: ArgumentParser, arguments: list[str]) -> None:
    """How often the action unit behind a facial phrase is the one that a synthetic clip was told to show: shares with
    95 % intervals over all phrases of the captions, over those that are true, over those whose source confirms them;
    and, where the manifest holds the units' curves, how often the linked second shows the unit."""
    parser.add_argument("--manifest", type=Path, required=True, help="clips with known action units")
    parser.add_argument("--split", default="test", help="part of the manifest (default test)")
    parser.add_argument("--model", help="shipped name, folder or hub name (default: the shipped one)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default auto)")
    parser.add_argument("--clips", type=int, help="only so many, spread evenly over the split (default all)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="also write shares and every link here")
    options = parser.parse_args(arguments)
    records = read_manifest(options.manifest, split=options.split)
    step = max(1, len(records) // options.clips) if options.clips else 1
    import captioner
    from eval.quality.links import judge_clips, link_shares

    verdicts = judge_clips(captioner.load(options.model, device=options.device), records[::step][: options.clips])
    shares = link_shares(verdicts)
    for name, row in shares.items():
        print(f"{name:32} {row['share']:.3f}  [{row['low']:.3f}, {row['high']:.3f}]  of {row['count']}")
    if not verdicts:
        print("no caption names a facial phrase")
    if options.out:
        links = [vars(verdict) for verdict in verdicts]
        write_text(options.out, json.dumps({"shares": shares, "links": links}, indent=1) + "\n")


def measure_golden(parser: ArgumentParser, arguments: list[str]) -> int:
    """What public code computed with random weights beside what ours does with the same: the largest difference of
    each output. The folder holds weights, inputs and outputs; exit code 1 where a difference is above what is allowed.
    """
    from eval.quality.goldens import GOLDENS

    parser.add_argument("what", choices=GOLDENS)
    parser.add_argument("folder", type=Path, help="weights, inputs and outputs as safetensors, sizes as JSON")
    parser.add_argument("--heads", type=int, help="of lisf's attention (default: a quarter of its width)")
    options = parser.parse_args(arguments)
    compare, allowed = GOLDENS[options.what]
    if options.heads is not None and options.what != "lisf":
        raise ConfigError(f"--heads is for lisf, not for {options.what}: leave it out")
    differences = compare(options.folder, **({} if options.heads is None else {"heads": options.heads}))
    for name, value in differences.items():
        print(f"{name:24} {value:.2e}")
    largest = max(differences.values())
    print(f"{'largest difference':24} {largest:.2e}  (allowed {allowed:.0e})")
    return int(not largest <= allowed)


def measure_voices(parser: ArgumentParser, arguments: list[str]) -> None:
    """What recognisers that hear and read learn on synthetic voices and sentences and on faces as made-up features, of
    persons, voices and sentences that training never had: `sound` the emotion of a voice, `rules` face and voice that
    disagree by a rule, `words` face, voice and words that vote. Mean and standard error over seeds; all is synthetic.
    """
    from eval.quality.voices import LESSONS, SIZES, mean_and_error

    parser.add_argument("lesson", choices=LESSONS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clips", type=int, help="to learn from (default 480, of words 1200)")
    parser.add_argument("--epochs", type=int, help="(default 9, of words 16)")
    options = parser.parse_args(arguments)
    _use_threads(1)
    clips, epochs = SIZES[options.lesson]
    size = (options.clips or clips, options.epochs or epochs)
    rows = [LESSONS[options.lesson](seed, *size) for seed in range(options.seeds)]
    for name in rows[0]:
        mean, error = mean_and_error([row[name] for row in rows])
        print(f"{name:28} {mean:.3f} ± {error:.3f}")


def _use_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


COMMANDS = {
    "faces": measure_faces,
    "claims": measure_claims,
    "animator": measure_animator,
    "evidence": measure_evidence,
    "golden": measure_golden,
    "voices": measure_voices,
}


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_subcommand(__doc__, COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
