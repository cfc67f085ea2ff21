"""Drawing of three-dimensional people without their optional packages: a small stand-in body, OpenGL that records.

What is asserted is what the pictures' labels rest on: which vertices are drawn and moved, and where points land.
"""

import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from captioner.errors import ManifestError
from captioner.synth.body3d import bodies as bodies_module
from captioner.synth.body3d import decals, renderer, shaders
from captioner.synth.body3d.bodies import Bodies, BodyShape
from captioner.synth.body3d.renderer import HeadMesh, Renderer
from captioner.synth.body3d.scene import BodyLook, Skins, View3D, read_skins, sample_appearance
from captioner.train.experts import renders

EYES = ((0.032, -0.11, 0.64), (-0.032, -0.11, 0.64))
LABELS = ("gender", "age", "muscle", "weight", "proportions", "african", "asian", "caucasian")
CHANGES = ("l-eye-height1", "r-eye-height1", "nose-width", "mouth-angles", "belly-depth", "l-ear-size", "r-ear-size")


def ball(centre: tuple[float, float, float], radius: float) -> tuple[np.ndarray, np.ndarray]:
    """An octahedron: points (6, 3), triangles (8, 3) that face outwards."""
    points = np.concatenate([np.eye(3), -np.eye(3)]) * radius + centre
    triangles = [(0, 1, 2), (1, 3, 2), (3, 4, 2), (4, 0, 2), (1, 0, 5), (3, 1, 5), (4, 3, 5), (0, 4, 5)]
    return points, np.array(triangles)


def stand_in() -> tuple[np.ndarray, np.ndarray]:
    """A head with points at nose and chin, then a tongue, then two eyes, each a part of its own; a foot below."""
    front = np.array([(0.0, -0.12, 0.603), (0.0, -0.11, 0.552), (0.05, -0.05, 0.60), (-0.05, -0.05, 0.60),
                      (0.0, 0.05, 0.75), (0.0, -0.02, 0.1)])  # fmt: skip
    skin = np.array([(0, 2, 1), (0, 1, 3), (0, 4, 2), (0, 3, 4), (2, 4, 1), (5, 2, 1)])
    points, triangles = [front], [skin]
    for centre, radius in (((0.0, -0.08, 0.58), 0.01), *((eye, 0.012) for eye in EYES)):
        more, corners = ball(centre, radius)
        triangles.append(corners + sum(map(len, points)))
        points.append(more)
    return np.concatenate(points).astype(np.float32), np.concatenate(triangles)


class Anny:
    """The body model: an open jaw lowers the chin, the age slider makes everybody taller."""

    def __init__(self, **options: Any) -> None:
        assert options["facial_actions"] == "all"
        points, triangles = stand_in()
        self.points = torch.from_numpy(points)
        self.faces = torch.from_numpy(triangles)
        self.face_texture_coordinate_indices = self.faces
        self.texture_coordinates = torch.rand(len(points), 2, generator=torch.Generator().manual_seed(0))
        self.phenotype_labels, self.local_change_labels, self.bone_count = LABELS, CHANGES, 2

    def to(self, dtype: torch.dtype) -> "Anny":
        assert dtype == torch.float32
        return self

    def __call__(
        self,
        pose_parameters: torch.Tensor,
        phenotype_kwargs: Mapping[str, float],
        local_changes_kwargs: Mapping[str, float],
        facial_actions: Mapping[str, float],
    ) -> dict[str, torch.Tensor]:
        assert pose_parameters.shape == (1, 2, 4, 4)
        points = self.points.clone()
        points[1, 2] -= 0.02 * facial_actions.get("jawOpen", 0.0)
        points[:, 0] += 0.01 * local_changes_kwargs.get("nose-width", 0.0)
        return {"vertices": points[None] * (1 + 0.1 * (phenotype_kwargs["age"] - 0.5))}


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> Bodies:
    monkeypatch.setitem(sys.modules, "anny", SimpleNamespace(Anny=Anny))
    monkeypatch.setattr(bodies_module, "VERTICES", len(stand_in()[0]))
    return Bodies()


def test_bodies_move_by_their_sliders_and_actions(people: Bodies) -> None:
    np.testing.assert_allclose(people.rest, stand_in()[0])
    assert people.fall[1].tolist() == pytest.approx([0, 0, -0.02]) and not people.fall[[0, 2]].any()
    person = BodyShape(dict.fromkeys(LABELS, 0.5) | {"age": 1.0}, {"nose-width": 1.0}, male=True)
    moved = people.vertices(person, {"jawOpen": 0.5})
    assert moved[1].tolist() == pytest.approx([0.01 * 1.05, -0.11 * 1.05, 0.542 * 1.05], abs=1e-6)
    assert person.age == 1


def test_everybody_is_grown_up_and_nearly_even(people: Bodies) -> None:
    drawn = [people.sample(np.random.default_rng(seed)) for seed in range(60)]
    assert all(0.42 <= each.age <= 1 for each in drawn)
    assert all((each.sliders["gender"] < 0.5) == each.male for each in drawn)
    assert all(sum(each.sliders[name] for name in LABELS[-3:]) == pytest.approx(1) for each in drawn)
    assert all("belly-depth" not in each.features for each in drawn)  # no part of a face
    ears = [each.features for each in drawn if "l-ear-size" in each.features]
    assert len(ears) > 15 and max(abs(each["l-ear-size"] - each["r-ear-size"]) for each in ears) < 0.3


def test_a_body_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anny", SimpleNamespace(Anny=Anny))
    with pytest.raises(ManifestError, match=r"this `anny` has 24 vertices, 13718 are known; install anny==0\.6\.2"):
        Bodies()


def test_the_mesh_is_the_head_with_its_parts(people: Bodies) -> None:
    mesh = HeadMesh(people)
    assert 5 not in mesh.used  # the foot is not drawn
    assert [sorted(eye.tolist()) for eye in mesh.eyes] == [[*range(12, 18)], [*range(18, 24)]]
    body = mesh.material[: mesh.count]
    assert (body == shaders.TONGUE).sum() == 6 and (body == shaders.EYE).sum() == 12
    assert set(mesh.material[mesh.count :]) == {shaders.TEETH}
    corners = mesh.rest[mesh.hair]
    assert len(corners) and (mesh.material[mesh.hair] == shaders.SKIN).all() and (corners[:, :, 2].max(1) > 0.57).all()


def test_normals_point_outwards_and_eyes_are_unit_balls(people: Bodies) -> None:
    mesh = HeadMesh(people)
    rows = mesh.moved(people.rest, mesh.teeth.astype(np.float32))
    assert rows.shape == (mesh.count + len(mesh.teeth), 9)
    for eye, centre in zip(mesh.globes, EYES, strict=True):
        outwards = rows[: mesh.count][eye, :3] - np.array(centre)
        assert (np.einsum("ij,ij->i", outwards, rows[: mesh.count][eye, 3:6]) > 0.011).all()
        np.testing.assert_allclose(np.linalg.norm(rows[: mesh.count][eye, 6:9], axis=1), 1, atol=1e-4)
    lifted = people.rest + np.float32([0, 0, 0.1])
    np.testing.assert_allclose(mesh.moved(lifted, mesh.teeth.astype(np.float32))[:, 3:], rows[:, 3:], atol=1e-4)
    tongue = rows[: mesh.count][mesh.tongue, 1]
    assert tongue.min() == pytest.approx(-0.09 + 0.014, abs=1e-6)  # moved back


SKINS = Skins({"pale": np.full((8, 8, 3), 200, np.uint8)}, {"blue": np.zeros((8, 8, 3), np.uint8)},
              {"short": np.zeros((8, 8, 3), np.uint8)})  # fmt: skip
LOOK = BodyLook("pale", "blue", "short", 0, (0.003, 0.01), {"beard": 0.0}, dark=False, wrinkled=0.5)


UNIFORMS = ("camera", "turn", "light", "lamp", "above", "below", "gaze", "shine", "beard", "shell", "skin", "decals",
            "irises", "hairs", "grain")  # fmt: skip


painted_layers = lru_cache(decals.decals)  # half a second


@pytest.fixture
def drawing(people: Bodies, monkeypatch: pytest.MonkeyPatch) -> Renderer:
    """A renderer over OpenGL that keeps what it is given; the picture read back is red in its upper half."""
    gl = MagicMock()
    gl.program.return_value = {name: MagicMock() for name in UNIFORMS}
    body, hair = MagicMock(), MagicMock()
    gl.vertex_array.side_effect = [body, hair]
    fine, plain = MagicMock(), MagicMock()
    gl.framebuffer.side_effect = [fine, plain]
    rows = np.zeros((40, 40, 4), np.uint8)
    rows[20:, :, 0] = 255  # OpenGL's first row is the lowest
    plain.read.return_value = rows.tobytes()
    gl.texture.side_effect = lambda *_, **__: MagicMock()
    monkeypatch.setattr(renderer, "_context", lambda: gl)
    monkeypatch.setattr(decals, "decals", painted_layers)
    return Renderer(people, SKINS, side=40)


def draw(drawing: Renderer, posed: np.ndarray, view: View3D, jaw: float = 0.0) -> tuple[np.ndarray, Any]:
    lines = np.zeros(decals.WRINKLES)
    return drawing.draw(posed, drawing.bodies.rest, jaw, LOOK, view, lines)


def test_points_land_where_the_camera_looks(drawing: Renderer) -> None:
    rest = drawing.bodies.rest
    pixels, project = draw(drawing, rest, View3D())
    assert pixels.shape == (40, 40, 4) and pixels[0, 0, 0] == 255 and pixels[-1, 0, 0] == 0
    left, right = project(np.float32(EYES))
    assert left[0] - 20 == pytest.approx(20 - right[0]) and left[1] == pytest.approx(right[1])
    nose, chin = project(rest[:2])
    assert nose[0] == pytest.approx(20) and chin[1] > nose[1] > left[1]  # downwards in the picture
    wide = draw(drawing, rest, View3D(span=0.6))[1](np.float32(EYES))
    assert (left[0] - right[0]) / (wide[0, 0] - wide[1, 0]) == pytest.approx(2)
    rolled = draw(drawing, rest, View3D(roll=np.pi / 2))[1](np.float32(EYES))
    assert abs(rolled[0, 1] - rolled[1, 1]) == pytest.approx(left[0] - right[0])
    assert rolled[0, 0] == pytest.approx(rolled[1, 0])
    turned = draw(drawing, rest, View3D(yaw=0.5))[1](rest[:1])
    assert abs(turned[0, 0] - 20) > 3
    shifted = draw(drawing, rest, View3D(shift=(0.5, 0.0)))[1](np.float32(EYES))
    assert shifted[:, 0].mean() == pytest.approx(20 + 0.5 * 20)


def test_body_and_shells_of_hair_are_drawn_with_what_is_known_of_the_person(drawing: Renderer) -> None:
    draw(drawing, drawing.bodies.rest, View3D(above=(0.1, 0.2, 0.3)))
    assert drawing.body.render.call_count == 1 and drawing.hair.render.call_count == len(LOOK.shells)
    assert drawing.program["above"].value == (0.1, 0.2, 0.3) and drawing.program["beard"].value == 0.0
    assert drawing.program["shell"].value == LOOK.shells[-1]
    painted = np.frombuffer(drawing.painted.write.call_args[0][0], np.uint8).reshape(decals.SIDE, decals.SIDE, 4)
    assert (painted[..., 1] == 127).all()  # no wrinkle: neither light nor dark
    assert painted[..., 0].max() > 70  # the brows


def test_the_lower_teeth_follow_the_jaw(drawing: Renderer) -> None:
    def teeth(jaw: float) -> np.ndarray:
        draw(drawing, drawing.bodies.rest, View3D(), jaw)
        rows = np.frombuffer(drawing.moving.write.call_args[0][0], np.float32).reshape(-1, 9)
        return rows[drawing.mesh.count :, :3]

    apart = teeth(1.0) - teeth(0.0)
    half = len(apart) // 2
    assert not apart[:half].any() and apart[half:, 2] == pytest.approx(-0.018, abs=1e-6)


def test_without_a_screen_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**_: Any) -> None:
        raise RuntimeError("no EGL\nsecond line")

    monkeypatch.setitem(sys.modules, "moderngl", SimpleNamespace(create_context=fails))
    with pytest.raises(ManifestError, match=r"no OpenGL without a screen here \(no EGL\); on Debian: apt-get install"):
        renderer._context()
    gl = MagicMock()
    monkeypatch.setitem(
        sys.modules, "moderngl", SimpleNamespace(create_context=lambda **_: gl, DEPTH_TEST=1, CULL_FACE=2)
    )
    assert renderer._context() is gl
    gl.enable.assert_called_once_with(3)


def test_looks_suit_the_person(tmp_path: Path) -> None:
    from PIL import Image

    for name, grey in (("skin_a_male", 200), ("skin_b_female", 40), ("eye_brown", 90), ("eye_blue", 90), ("hair_x", 9)):
        Image.new("RGB", (800, 800), (grey,) * 3).save(tmp_path / f"{name}.png")
    skins = read_skins(tmp_path)
    assert (skins.dark("a_male"), skins.dark("b_female")) == (False, True)
    for male in (True, False):
        person = BodyShape({"age": 0.5}, {}, male)
        looks = [sample_appearance(np.random.default_rng(seed), skins, person) for seed in range(60)]
        own = [look.skin == ("a_male" if male else "b_female") for look in looks]
        assert 0.8 < np.mean(own) <= 1
        assert all(look.eye == "brown" for look in looks if look.dark)
        assert any(look.values["beard"] for look in looks) == male  # type: ignore[arg-type]
        assert {len(look.shells) for look in looks} == {0, 2, 3}  # bald, short or high, long


def test_pictures_of_people_are_labelled_and_kept(
    people: Bodies, drawing: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renders, "read_skins", lambda folder: SKINS)
    monkeypatch.setattr(renders, "Bodies", lambda: people)
    monkeypatch.setattr(renders, "Renderer", lambda bodies, skins: drawing)
    monkeypatch.setattr(renders, "sample_appearance", lambda rng, skins, person: LOOK)
    monkeypatch.setattr(renders, "LANDMARKS", tuple(n % 24 for n in range(68)))
    monkeypatch.setattr(renders, "PART", 9)
    made = renders.rendered(tmp_path, 12, seed=1, cache=tmp_path)
    assert len(made.pixels) == 18 and made.emotions.unique().tolist() == [-1]  # whole parts
    first = renders.PERSONS
    assert made.persons.tolist() == [first] * 7 + [first + 1] * 2 + [first + 9] * 7 + [first + 10] * 2
    monkeypatch.setattr(renders, "render_people", None)  # the next time they are read
    again = renders.rendered(tmp_path, 12, seed=1, cache=tmp_path)
    assert all(torch.equal(getattr(made, name), value) for name, value in vars(again).items())
