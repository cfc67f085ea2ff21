"""Turn public checkpoints into ours; what finds no place is named, and a file of another kind is refused.

    python scripts/convert.py swinbert model.bin --out models/swinbert --vocab vocab.txt
    python scripts/convert.py video-swin swin_base_patch244_window877_kinetics600_22k.pth --out b.safetensors
    python scripts/convert.py pytorchvideo X3D_M.pyth --arch x3d_m --out x3d_m.safetensors
    python scripts/convert.py emotionclip emotionclip_latest.pt --out models/emotionclip
    python scripts/convert.py opengraphau OpenGraphAU-ResNet50_first_stage.pth --clips MAFW/manifest.jsonl --out experts
    python scripts/convert.py opinions aligned_50.pkl --out mosi.safetensors
    python scripts/convert.py er-resnet50 emotions.pth --labels anger,disgust,... --out experts

The second or third file starts the video encoder of a training run: model.video.pretrained=b.safetensors. The fourth is
a recogniser without labels: configs/emotion/emotionclip_mafw.yaml fits a probe on it (emotion.source=FOLDER). The fifth
and last together make a folder of frozen experts: model.experts.source=experts.
"""

import hashlib
import sys
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import asdict
from pathlib import Path

from _command import run_subcommand
from safetensors.torch import save_file

from captioner.config import ModelConfig
from captioner.data.adapters.toolkit_features import convert_toolkit
from captioner.data.manifest import read_manifest
from captioner.emotion.emotion_clip.released import convert_released, read_released
from captioner.emotion.folder import save_recogniser
from captioner.errors import CheckpointError
from captioner.files import atomic, missing
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.model import checkpoint
from captioner.model.convert import Report, convert_swin, convert_swinbert, read_tensors
from captioner.model.experts import MAKERS, load_experts
from captioner.model.tokenizer import Tokenizer, _open
from captioner.model.video_nets import headless_state
from captioner.train.cards import render_card
from captioner.train.experts.converted import add_half, crop_rule, emotion_net, measure_aus
from prompts.action_units import MAIN_AUS
from prompts.released import load_released


def convert_captioner(parser: ArgumentParser, arguments: list[str]) -> None:
    """SwinBERT's model.bin -> a checkpoint folder: config.json, model.safetensors, tokenizer.json, CARD.md."""
    parser.add_argument("source", type=Path, help="the downloaded file")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder, new or empty")
    parser.add_argument(
        "--vocab",
        default="bert-base-uncased",
        help="vocab.txt, tokenizer.json, their folder, or a hub name (default bert-base-uncased)",
    )
    parser.add_argument("--size", type=_positive, default=224, help="side of the frames in pixels (default 224)")
    parser.add_argument("--frames", type=_positive, help="frames a clip (default: as the learned mask, or 32)")
    parser.add_argument("--heads", type=_positive, help="attention heads of a layer (default: width / 64)")
    parser.add_argument(
        "--max-text",
        type=_positive,
        default=50,
        help="longest caption in pieces, [CLS] and [SEP] among them (default 50; published scores: 20)",
    )
    options = parser.parse_args(arguments)
    source, out = options.source, options.out
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise CheckpointError(f"{out} exists already: name a new folder")
    sizes = {"size": options.size, "frames": options.frames, "heads": options.heads, "max_text": options.max_text}
    model, report = convert_swinbert(read_tensors(source), str(source), **sizes)
    tokenizer = read_vocabulary(options.vocab)
    if tokenizer.vocab_size != model.config.vocab_size:
        raise CheckpointError(
            f"{source} has {model.config.vocab_size} word pieces, --vocab {options.vocab} has "
            f"{tokenizer.vocab_size}: give the vocabulary it was trained with"
        )
    digest, about = file_digest(source), describe_network(model.config)
    meta = {"licence": "see CARD.md", "converted_from": f"SwinBERT {source.name}, sha256 {digest}"}
    card = render_card("swinbert", name=source.name, digest=digest, about=about, unused=report.unused)
    checkpoint.save_checkpoint(out, model, tokenizer, meta=meta, card=card)
    print(f"{out}: {about}")
    print_leftovers(report)


def convert_encoder(parser: ArgumentParser, arguments: list[str]) -> None:
    """An official Video Swin .pth -> one .safetensors file with torchvision's names."""
    parser.add_argument("source", type=Path, help="the downloaded file")
    parser.add_argument("--out", type=Path, required=True, help="file, ending in .safetensors")
    options = parser.parse_args(arguments)
    source, out = options.source, options.out
    if out.suffix != ".safetensors":
        raise CheckpointError(f"--out {out} must end in .safetensors, by which a configuration knows it")
    config, state, report = convert_swin(read_tensors(source), str(source))
    about = {"format": "pt", "arch": config.arch, "converted_from": source.name}
    with atomic(out) as path:
        mode = path.stat().st_mode
        save_file(state, path, metadata=about)
        path.chmod(mode)  # safetensors writes 0600, which other users of a shared folder cannot read
    print(f"{out}: use model.video.arch={config.arch} and model.video.pretrained={out}")
    print_leftovers(report)


def convert_recogniser(parser: ArgumentParser, arguments: list[str]) -> None:
    """EmotionCLIP's released file -> a recogniser's folder: config.json, model.safetensors, CARD.md. All 379 names must
    be there and no other; nothing but tensors is unpickled."""
    parser.add_argument("source", type=Path, help="the downloaded file")
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    parser.add_argument("--head-width", type=_positive, default=64, help="channels of an attention head (default 64)")
    parser.add_argument("--text-head-width", type=_positive, help="of the text tower (default: the same)")
    parser.add_argument("--fusion-heads", type=_positive, default=8, help="heads over the frames (default 8)")
    options = parser.parse_args(arguments)
    source, out = options.source, options.out
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise CheckpointError(f"{out} exists already: name a new folder")
    sizes = {"head_width": options.head_width, "text_head_width": options.text_head_width or 0}
    state = read_released(source)
    model = convert_released(state, str(source), fusion_heads=options.fusion_heads, **sizes)
    digest = file_digest(source)
    meta = {"licence": "see CARD.md", "converted_from": f"EmotionCLIP {source.name}, sha256 {digest}"}
    save_recogniser(out, model, meta=meta, card=render_card("emotionclip", name=source.name, digest=digest, fit=None))
    clip = model.config.clip
    print(
        f"{out}: {len(state)} tensors, {clip.vision_layers} + {clip.text_layers} layers of width {clip.vision_width} "
        f"and {clip.text_width}, {model.config.frames} frames, {clip.activation}"
    )


def convert_pytorchvideo(parser: ArgumentParser, arguments: list[str]) -> None:
    """A published X3D or MViT of pytorchvideo (.pyth) -> one .safetensors file without its classification head."""
    parser.add_argument("source", type=Path, help="the downloaded file")
    parser.add_argument("--arch", choices=("x3d_xs", "x3d_s", "x3d_m", "x3d_l", "mvit_b"), required=True)
    parser.add_argument("--out", type=Path, required=True, help="file, ending in .safetensors")
    options = parser.parse_args(arguments)
    if options.out.suffix != ".safetensors":
        raise CheckpointError(f"--out {options.out} must end in .safetensors, by which a configuration knows it")
    state = headless_state(options.arch, read_tensors(options.source), str(options.source))
    with atomic(options.out) as path:
        save_file(state, path, metadata={"format": "pt", "arch": options.arch, "converted_from": options.source.name})
        path.chmod(0o644)
    print(f"{options.out}: use model.video.arch={options.arch} and model.video.pretrained={options.out}")


def convert_au_net(parser: ArgumentParser, arguments: list[str]) -> None:
    """A released OpenGraphAU checkpoint -> the AU half of an experts folder; its scores are measured on the training
    clips of a manifest. With `er-resnet50` into the same folder the experts are whole."""
    _crop_options(parser)
    parser.add_argument("--clips", type=Path, required=True, metavar="MANIFEST", help="made by scripts/prepare.py")
    parser.add_argument("--fold", type=int, help="of the manifest (default: its only one)")
    parser.add_argument("--most", type=_positive, default=400, help="training clips that are read (default: 400)")
    parser.add_argument("--neighbors", type=_positive, default=4, help="of a unit in the graph (default: 4)")
    parser.add_argument("--metric", choices=("dots", "cosine", "l1", "l2"), default="dots", help="(default: dots)")
    options = parser.parse_args(arguments)
    rule = crop_rule(options.size, options.margin, options.mean, options.std)
    state = read_tensors(options.source)
    records = read_manifest(options.clips, split="train", fold=options.fold)
    try:
        net = load_released(state, options.neighbors, options.metric)
    except ValueError as error:
        raise CheckpointError(f"{options.source}: {error}") from None
    if net.config.main != len(MAIN_AUS):
        raise CheckpointError(
            f"{options.source} knows {net.config.main} action units, as BP4D's and DISFA's nets do: "
            f"the captioner needs OpenGraphAU's {len(MAIN_AUS)}"
        )
    chosen = records[:: max(1, len(records) // options.most)][: options.most]
    measures = asdict(measure_aus(net, rule, chosen))
    about = {"source": options.source.name, "sha256": file_digest(options.source), "manifest": options.clips.name}
    whole = add_half(options.out, "action units", net, rule, {**about, "measures": measures})
    kind = f"{net.config.backbone}, stage {net.config.stage}"
    print(f"{options.out}: AU net of {kind}; scores measured on {measures['clips']} clips")
    _print_half(options.out, whole, MAKERS["emotion"])


def convert_emotion_net(parser: ArgumentParser, arguments: list[str]) -> None:
    """A ResNet50 of emotions in torchvision's or timm's layout, or experts that the recipe `experts` trained (their
    emotion net) -> the emotion half of an experts folder."""
    _crop_options(parser)
    parser.add_argument("--labels", default=",".join(MAFW_LABELS), help="of its outputs, in order, with commas between")
    options = parser.parse_args(arguments)
    rule = crop_rule(options.size, options.margin, options.mean, options.std)
    labels, source = options.labels.split(","), options.source
    if source.is_dir():
        made = load_experts(source)
        net, labels = made.er, list(made.config.labels)
        source = source / "model.safetensors"
    else:
        net = emotion_net(read_tensors(source), labels, str(source))
    about = {"source": options.source.name, "sha256": file_digest(source), "labels": labels}
    whole = add_half(options.out, "emotion", net, rule, about)
    print(f"{options.out}: emotion net of {len(labels)} emotions")
    _print_half(options.out, whole, MAKERS["action units"])


def _crop_options(parser: ArgumentParser) -> None:
    """Source, folder and crops of a half of the experts."""
    parser.add_argument("source", type=Path, help="the downloaded file")
    parser.add_argument("--out", type=Path, required=True, help="experts folder, of both halves")
    parser.add_argument("--size", type=_positive, default=224, help="side of the crops in pixels (default: 224)")
    parser.add_argument("--margin", type=float, default=0.3, help="round the face, as a share of it (default: 0.3)")
    parser.add_argument("--mean", type=float, nargs=3, help="of the colours (default: ImageNet's)")
    parser.add_argument("--std", type=float, nargs=3, help="of the colours (default: ImageNet's)")


def _print_half(out: Path, whole: bool, other: str) -> None:
    print(f"{out}: whole; use model.experts.source={out}" if whole else f"{out}: still to come: convert.py {other}")


def _positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def read_vocabulary(name: str) -> Tokenizer:
    """The tokenizer of a vocab.txt, a tokenizer.json, their folder or a hub repository."""
    path = Path(name)
    if not path.is_file():
        if path.suffix in (".txt", ".json"):
            raise CheckpointError(f"--vocab: {missing(path)}")
        return Tokenizer.from_pretrained(name)
    try:
        return _open(path)
    except UnicodeDecodeError:
        raise CheckpointError(f"--vocab {name} is no text: give a vocab.txt or a tokenizer.json") from None


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def describe_network(config: ModelConfig) -> str:
    """One line of what was found."""
    video, fusion = config.video, config.fusion
    mask = f"learned mask of {fusion.video_tokens} video tokens" if fusion.video_mask else "no video mask"
    return (
        f"{video.arch}, {video.frames} frames of {video.size} pixels, {fusion.layers} layers of width "
        f"{fusion.width} with {fusion.heads} heads, {config.vocab_size} word pieces, {mask}"
    )


def print_leftovers(report: Report) -> None:
    """What found no counterpart, by name."""
    for title, names in [("not used", report.unused), ("not in the file, set to zero", report.unfilled)]:
        print(f"{title} ({len(names)}): {', '.join(names) or 'none'}")


def convert_opinions(parser: ArgumentParser, arguments: list[str]) -> None:
    """A pickled feature file of the MMSA toolkit (CMU-MOSI, CMU-MOSEI) -> safetensors; nothing in the pickle is run."""
    parser.add_argument("source", type=Path, help="the toolkit's .pkl")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    options = parser.parse_args(arguments)
    counts = convert_toolkit(options.source, options.out)
    print(", ".join(f"{split}: {count} clips" for split, count in counts.items()))
    print(options.out)


COMMANDS = {
    "swinbert": convert_captioner,
    "video-swin": convert_encoder,
    "emotionclip": convert_recogniser,
    "pytorchvideo": convert_pytorchvideo,
    "opengraphau": convert_au_net,
    "er-resnet50": convert_emotion_net,
    "opinions": convert_opinions,
}


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_subcommand(__doc__, COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
