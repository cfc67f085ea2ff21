"""Every shipped configuration loads, says how to run it, and builds its network's shape."""

from pathlib import Path

import pytest
import train

from captioner.config import Config
from captioner.config_io import load_config, read_yaml
from captioner.errors import ConfigError
from captioner.train.emotion.run_config import EmotionRun, load_emotion_run
from eval.ablation import AblationFamily
from eval.benchmarks import Benchmark
from tests.helpers import ROOT

CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_config(path: Path) -> None:
    head = path.read_text().split("\n\n")[0].splitlines()
    assert head[0].startswith("# ")
    command = next(line.split()[1:] for line in head if line.startswith("#   python "))
    if path.parent.name == "bench":
        assert command[:5] == ["python", "-m", "eval", "bench", str(path.relative_to(ROOT))]
        load_config(Benchmark, path)
    elif path.parent.name == "ablate":
        assert command[:4] == ["python", "-m", "eval", "ablation"]
        family = load_config(AblationFamily, path)
        assert command[command.index("--table") + 1] in [table.name for table in family.tables]
    else:
        by_script = command[1].startswith("scripts/") and (ROOT / command[1]).is_file()
        assert by_script or command[:4] == ["python", "-m", "eval", "ablation"]
        kind, _ = train.RECIPES[train.recipe_of(read_yaml(path), str(path))]
        load_emotion_run(path) if kind is EmotionRun else load_config(kind, path)


def test_recipes_are_told_by_a_key_or_by_what_older_files_hold(tmp_path: Path) -> None:
    runs = [path for path in CONFIGS if path.parent.name not in ("bench", "ablate")]
    names = {path.stem: train.recipe_of(read_yaml(path), str(path)) for path in runs}
    assert (names["tiny"], names["experts"], names["faces"], names["ve8"], names["clip_face"]) == (
        "captioner", "experts", "faces", "emotion", "pair",
    )  # fmt: skip
    for path in runs:
        keys = {key: value for key, value in read_yaml(path).items() if key != "recipe"}
        newer = ("experts", "faces", "actions", "appearance", "phrases")
        if path.stem not in newer and not path.stem.startswith("emotionclip"):
            assert train.recipe_of(keys, str(path)) == names[path.stem]
    assert train.recipe_of({"source": "photos", "ferplus": "x"}, "old.yaml") == "experts"
    with pytest.raises(ConfigError, match=r"x\.yaml: unknown recipe 'captoner' \(did you mean 'captioner'\?\)"):
        train.recipe_of({"recipe": "captoner"}, "x.yaml")


def test_paper_config_is_the_paper() -> None:
    config = load_config(Config, ROOT / "configs" / "paper.yaml").model
    assert (config.fusion.layers, config.fusion.heads, config.fusion.width, config.fusion.visual_width) == (
        12,
        12,
        768,
        512,
    )
    assert (config.prompts.k, config.prompts.threshold, config.prompts.margin) == (3, 0.3, 0.5)
    assert (config.video.arch, config.text.arch, config.experts.er_arch) == ("swin3d_b", "bert", "resnet50")
    assert len(config.labels) == 11
