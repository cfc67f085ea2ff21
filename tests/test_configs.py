"""Every shipped configuration loads, says how to run it, and builds its network's shape."""

from pathlib import Path

import pytest

from captioner.config import Config
from captioner.config_io import load_config
from captioner.train.emotion.run_config import EmotionRun, PairConfig
from captioner.train.experts.photo_recipe import PhotoRecipe
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
    else:
        assert command[1].startswith("scripts/") and (ROOT / command[1]).is_file()
        recipes = {"experts": PhotoRecipe}
        recipes |= {"clip_small": PairConfig, "clip_face": PairConfig}
        load_config(EmotionRun if path.parent.name == "emotion" else recipes.get(path.stem, Config), path)


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
