"""One process of test_engines.py: every engine on the same invented batches, its losses written as JSON.

python tests/engine_worker.py FOLDER ENGINES STEPS     (ENGINES: plain, zero0 ... zero3, zero2_offload, ...)
Under torchrun it shares the batches with the others. After half of the steps each engine's state is written as a
checkpoint; FOLDER/NAME.from says whose checkpoint an engine goes on from in a second run.
"""

import json
import sys
from pathlib import Path

import torch
from conftest import ROOT, tiny_batch, tiny_model
from torch import Tensor, nn

from captioner.config import TrainConfig
from captioner.model.captioner import Batch, EmotionCaptioner
from captioner.train.checkpoints import Store
from captioner.train.deepspeed_engine import DeepSpeedEngine
from captioner.train.engine import Engine, PlainEngine, learning_rate
from captioner.train.processes import World, join

CLIPS = (5, 1, 4, 2)  # of the steps in turn: uneven shares, and fewer clips than processes


def part(batch: Batch, rows: list[int]) -> Batch:
    """Some clips of a batch."""

    def chosen(value: object) -> object:
        if isinstance(value, Tensor):
            return value[rows]
        return [value[i] for i in rows] if isinstance(value, list) else value

    return Batch(**{name: chosen(value) for name, value in vars(batch).items()})


def without_chance(*overrides: str, seed: int = 0) -> EmotionCaptioner:
    """A tiny model in training mode that drops nothing: processes draw their own masks."""
    model = tiny_model("fusion.dropout=0", *overrides, seed=seed).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def make_engine(name: str, model: EmotionCaptioner, world: World, folder: Path) -> Engine:
    """An engine by name; ZeRO's thresholds for large models are taken down to this one's size."""
    train = {"lr": 2e-3, "clip_norm": 1.0, "precision": "float32"}
    if name == "plain":
        return PlainEngine(model, TrainConfig(**train), world.device, world)
    settings = json.loads((ROOT / "configs" / f"ds_{name}.json").read_text())
    if settings["zero_optimization"]["stage"] == 3:
        settings["zero_optimization"]["stage3_param_persistence_threshold"] = 100
    path = folder / f"{name}.{world.rank}.json"
    path.write_text(json.dumps(settings))
    return DeepSpeedEngine(model, TrainConfig(**train, deepspeed=str(path)), world.device, world)


def run(name: str, world: World, folder: Path, steps: int) -> list[list[float]]:
    """Losses and gradient norm of every step, from a checkpoint on where one is asked for."""
    model = without_chance()
    whole = tiny_batch(model.config, clips=max(CLIPS))
    engine = make_engine(name, model, world, folder)
    start, asked = 0, folder / f"{name}.from"
    if asked.exists():
        found = Store(folder / asked.read_text(), world).newest()
        assert found is not None
        tensors = found.tensors(world.rank)
        model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        engine.restore(tensors, found.values["engine"])
        start = found.values["step"]
    rows = []
    for step in range(start, steps):
        clips = CLIPS[step % len(CLIPS)]
        for micro in range(2):
            chosen = [(i + micro) % max(CLIPS) for i in range(clips)]
            mine = [chosen[i] for i in world.share(clips)] or chosen[:1]
            found = engine.losses(part(whole, mine), step < 2, clips)
            engine.backward(torch.stack(list(found.live.values())).sum() / 2, micro == 1)
        norm = engine.step(learning_rate(step, steps, 0.1))
        rows.append([float(loss.detach()) for loss in found.live.values()] + [norm])
        if step + 1 == steps // 2:
            keep(engine, model, world, folder / f"kept-{name}", step + 1)
    return rows


def keep(engine: Engine, model: EmotionCaptioner, world: World, folder: Path, step: int) -> None:
    """The engine's state and the weights as a checkpoint."""
    folder.mkdir(exist_ok=True)
    tensors, values = engine.state()
    with engine.whole(), torch.no_grad():  # the model is whole, in the middle of training
        batch = tiny_batch(model.config, clips=2)
        seen = [float(loss) for loss in model.eval()(batch).live.values()]
        model.train()
        if world.main:
            (folder / "seen.json").write_text(json.dumps(seen))
            tensors |= {f"model.{k}": v.detach().clone() for k, v in model.state_dict().items()}
        Store(folder, world).save(lambda staging: staging.mkdir(), tensors, {"engine": values, "step": step})


def main() -> None:
    """All engines in turn."""
    folder, names, steps = Path(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3])
    torch.set_num_threads(1)
    world = join(torch.device("cpu"))
    for name in names:
        rows = run(name, world, folder, steps)
        if world.main:
            (folder / f"{name}.losses").write_text(json.dumps(rows))
    world.leave()


if __name__ == "__main__":
    main()
