"""Pictures of three-dimensional people with known action units (synthetic), kept in a cache folder."""

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from captioner.files import atomic
from captioner.synth.body3d.acting import sample_acting
from captioner.synth.body3d.bodies import LANDMARKS, Bodies
from captioner.synth.body3d.renderer import Renderer
from captioner.synth.body3d.scene import finish, read_skins, sample_appearance, sample_view, wrinkles
from captioner.train.experts.portraits import align, join_tables
from captioner.train.experts.posed import SIDE, Posed

log = logging.getLogger(__name__)

EACH = 7  # pictures of a person
PART = 700  # pictures of a file of the cache
PERSONS = 1_000_000  # numbers from here on: no portrait shows them
_VERSION = 1  # of what a number draws


def rendered(folder: str | Path, count: int, seed: int, cache: str | Path) -> Posed:
    """About `count` pictures with skins of a folder, in whole parts of PART, read from the cache folder once made."""
    parts = []
    for part in range(-(-count // PART)):
        path = Path(cache) / f"rendered-{seed}-{part}-{_VERSION}.npz"
        if not path.exists():
            log.info("rendering %d pictures into %s", PART, path)
            made = render_people(folder, PART, seed, part)
            with atomic(path) as temporary:
                np.savez(temporary, **{name: value.numpy() for name, value in vars(made).items()})
        with np.load(path, allow_pickle=False) as stored:
            parts.append(Posed(**{name: torch.from_numpy(stored[name]) for name in stored.files}))
    return join_tables(parts)


def render_people(folder: str | Path, count: int, seed: int, part: int = 0) -> Posed:
    """`count` pictures, EACH of a person; the emotion of none is known."""
    skins, bodies = read_skins(folder), Bodies()
    renderer = Renderer(bodies, skins)
    pixels: list[NDArray[np.uint8]] = []
    points, labels, persons = [], [], []
    for number in range(-(-count // EACH)):
        rng = np.random.default_rng([seed, part, number])
        person = bodies.sample(rng)
        look, calm = sample_appearance(rng, skins, person), bodies.vertices(person, {})
        for _ in range(min(EACH, count - len(pixels))):
            acting, view = sample_acting(rng), sample_view(rng, look)
            posed = bodies.vertices(person, acting.shapes)
            lines = wrinkles(rng, acting.strength, person.age, look.wrinkled)
            picture, project = renderer.draw(posed, calm, acting.jaw, look, view, lines)
            pixels.append(finish(rng, picture, SIDE))
            points.append(project(posed[list(LANDMARKS)]) / renderer.side)
            labels.append(acting.labels)
            persons.append(PERSONS + part * PART + number)
    frames = align(torch.from_numpy(np.stack(points)).float())
    emotions = torch.full((len(pixels),), -1)
    return Posed(
        torch.from_numpy(np.stack(pixels)), frames, torch.from_numpy(np.stack(labels)), emotions, torch.tensor(persons)
    )
