"""More pictures for the finder: rendered heads seen from all sides, and pictures of all kinds without a face."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from captioner.synth.body3d.acting import sample_acting
from captioner.synth.body3d.bodies import LANDMARKS, Bodies
from captioner.synth.body3d.renderer import Renderer
from captioner.synth.body3d.scene import finish, read_skins, sample_appearance, sample_view, wrinkles
from captioner.synth.film.faceless import FACELESS
from captioner.train.faces.mosaic import PictureSet, squares

SIDE = 192  # pixels, as of the photos
EACH = 6  # pictures of a person
MOST_TURNED = 72.0  # degrees; the profile of somebody who looks past the camera is no face to find
PLACES = 5  # cut from a picture without a face


def rendered_heads(folder: str, count: int, seed: int = 0) -> PictureSet:
    """`count` heads turned evenly to all sides, with the skins of a folder, before backdrops; one face in each."""
    skins, bodies = read_skins(folder), Bodies()
    renderer = Renderer(bodies, skins, SIDE)
    pixels: list[NDArray[np.uint8]] = []
    marks: list[NDArray[np.float64]] = []
    for number in range(-(-count // EACH)):
        rng = np.random.default_rng([seed, number])
        person = bodies.sample(rng)
        look, calm = sample_appearance(rng, skins, person), bodies.vertices(person, {})
        acting = sample_acting(rng)
        posed, lines = bodies.vertices(person, acting.shapes), wrinkles(rng, acting.strength, person.age, look.wrinkled)
        for _ in range(min(EACH, count - len(pixels))):
            turned = float(np.radians(rng.choice([-1, 1]) * rng.uniform(0, MOST_TURNED)))
            view = replace(sample_view(rng, look), yaw=turned, span=float(rng.uniform(0.25, 0.42)))
            picture, project = renderer.draw(posed, calm, acting.jaw, look, view, lines)
            pixels.append(finish(rng, picture, SIDE))
            marks.append(project(posed[list(LANDMARKS)]) - 0.5)
    faces = squares(torch.from_numpy(np.stack(marks)).float())
    return PictureSet(torch.from_numpy(np.stack(pixels))[:, None], faces[:, None])


def faceless_pictures(count: int, seed: int = 0) -> PictureSet:
    """`count` cuts of synthetic pictures of all kinds that hold no face."""
    pixels: list[NDArray[np.uint8]] = []
    kinds = list(FACELESS.values())
    for number in range(-(-count // PLACES)):
        rng = np.random.default_rng([seed, number])
        wide = Image.fromarray(kinds[number % len(kinds)](rng)).convert("L")
        for _ in range(PLACES):
            side = int(min(wide.size) * rng.uniform(0.15, 0.9))
            left, top = (int(rng.integers(0, length - side + 1)) for length in wide.size)
            smaller = Image.Resampling.BOX if side > SIDE else Image.Resampling.BICUBIC
            cut = wide.resize((SIDE, SIDE), smaller, box=(left, top, left + side, top + side))
            pixels.append(np.asarray(cut))
    images = torch.from_numpy(np.stack(pixels[:count]))[:, None]
    return PictureSet(images, torch.full((count, 1, 3), torch.nan))
