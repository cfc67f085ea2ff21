"""The head of a body drawn by OpenGL without a screen: a mesh with painted skin, shells of hair, teeth and eyes.

Axes: V vertices of the body, M of the mesh that is drawn (vertices are split along seams of the texture), T of teeth.
"""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from captioner.errors import ManifestError
from captioner.synth.body3d import decals, shaders
from captioner.synth.body3d.bodies import Bodies, Vertices
from captioner.synth.body3d.scene import BodyLook, Skins, View3D

_NECK = 0.46  # height from which on the body is drawn
_NEAR, _FAR = 0.2, 3.0
_TO_CAMERA = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)  # x right, y up, z towards the camera
_SAMPLES = 4
Project = Callable[[Vertices], NDArray[np.float64]]


class HeadMesh:
    """Which triangles are drawn, and what the vertices of the mesh always keep."""

    def __init__(self, bodies: Bodies) -> None:
        model, rest = bodies.model, bodies.rest
        faces, seams = model.faces.numpy(), model.face_texture_coordinate_indices.numpy()
        drawn = (rest[faces][:, :, 2] > _NECK).all(1)
        faces, seams = faces[drawn], seams[drawn]
        pairs, split = np.unique(np.c_[faces.ravel(), seams.ravel()], axis=0, return_inverse=True)
        self.used, local = np.unique(faces.ravel(), return_inverse=True)
        self.triangles = local.reshape(-1, 3)  # of used vertices
        self.source = np.searchsorted(self.used, pairs[:, 0])  # used vertex of each mesh vertex (M,)
        corners = (self.triangles.ravel(), np.repeat(np.arange(len(self.triangles)), 3))
        self.around = sparse.csr_matrix(
            (np.ones(self.triangles.size, np.float32), corners), shape=(len(self.used), len(self.triangles))
        )
        part = _parts(model.faces.numpy(), len(rest))
        self.eyes = [np.flatnonzero(part == eye) for eye in (2, 3)]
        self.globes = [part[pairs[:, 0]] == eye for eye in (2, 3)]
        self.tongue = part[pairs[:, 0]] == 1
        self.teeth, teeth_facing, teeth_triangles = _teeth()
        self.teeth_facing = teeth_facing
        count = len(pairs)
        places = model.texture_coordinates.numpy()[pairs[:, 1]]
        places[:, 1] = 1 - places[:, 1]
        material = np.where(self.tongue, shaders.TONGUE, np.where(part[pairs[:, 0]] > 1, shaders.EYE, shaders.SKIN))
        self.places = np.r_[places, np.zeros((len(self.teeth), 2))]
        self.rest = np.r_[rest[pairs[:, 0]], self.teeth]
        self.material = np.r_[material, np.full(len(self.teeth), shaders.TEETH)]
        self.all = np.r_[split.reshape(-1, 3), teeth_triangles + count].astype("i4")
        self.hair = self.all[self._hairy()]
        self.count = count

    def _hairy(self) -> NDArray[np.bool_]:
        """Triangles that may carry hair: above the jaw, not in the middle of the face."""
        corners = self.rest[self.all]
        face = (corners[:, :, 1].max(1) < -0.03) & (corners[:, :, 2].max(1) < 0.69)
        face &= np.abs(corners[:, :, 0]).max(1) < 0.046
        above = corners[:, :, 2].max(1) > 0.57
        return np.asarray(above & (self.material[self.all][:, 0] == shaders.SKIN) & ~face)

    def moved(self, posed: Vertices, teeth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Position, normal, place on the eyeball (M + T, 9) of posed vertices (V, 3)."""
        used = posed[self.used].astype(np.float32)
        a, b, c = (used[self.triangles[:, corner]] for corner in range(3))
        normals = self.around @ np.cross(b - a, c - a)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
        rows = np.zeros((self.count + len(teeth), 9), np.float32)
        body, rest = rows[: self.count], rows[self.count :]
        body[:, :3], body[:, 3:6] = used[self.source], normals[self.source]
        body[self.tongue, 1:3] += (0.014, -0.003)  # it lies too far in front
        for eye, globe in zip(self.eyes, self.globes, strict=True):
            centre = (posed[eye].max(0) + posed[eye].min(0)) / 2
            body[globe, 6:9] = (body[globe, :3] - centre) / np.linalg.norm(posed[eye] - centre, axis=1).max()
        rest[:, :3], rest[:, 3:6] = teeth, self.teeth_facing
        return rows


class Renderer:
    """Draws people `side` pixels wide."""

    def __init__(self, bodies: Bodies, skins: Skins, side: int = 192) -> None:
        self.bodies, self.mesh, self.side = bodies, HeadMesh(bodies), side
        self.gl = _context()
        self.program = self.gl.program(shaders.VERTEX, shaders.FRAGMENT)
        kept = np.c_[self.mesh.places, self.mesh.rest, self.mesh.material].astype("f4")
        self.moving = self.gl.buffer(reserve=len(kept) * 9 * 4)
        sources = [
            (self.gl.buffer(kept.tobytes()), "2f 3f 1f", "place", "rest", "material"),
            (self.moving, "3f 3f 3f", "position", "normal", "ball"),
        ]
        self.body, self.hair = (
            self.gl.vertex_array(self.program, sources, self.gl.buffer(index.tobytes()))
            for index in (self.mesh.all, self.mesh.hair)
        )
        size = (side, side)
        depth, colour = (
            self.gl.depth_renderbuffer(size, samples=_SAMPLES),
            self.gl.renderbuffer(size, 4, samples=_SAMPLES),
        )
        self.fine = self.gl.framebuffer(colour, depth)
        self.plain = self.gl.framebuffer(self.gl.renderbuffer(size, 4))
        textures = {"skin": skins.skin, "eye": skins.eye, "hair": skins.hair}
        self.textures = {
            (kind, name): self._texture(pixels) for kind, named in textures.items() for name, pixels in named.items()
        }
        grain = np.random.default_rng(0).integers(0, 256, (128, 128, 1)).astype(np.uint8)
        self.grain = self._texture(np.repeat(grain, 3, 2))
        self.layers, self.painted = decals.decals(), self.gl.texture((decals.SIDE, decals.SIDE), 4)
        self.painted.repeat_x = self.painted.repeat_y = False
        rest = bodies.rest
        self.nose = _near(rest, width=0.012, height=0.603, most=-0.10)
        chin = _near(rest, width=0.008, height=0.552, most=-0.09)
        self.chin_fall = bodies.fall[chin].mean(0)

    def draw(
        self, posed: Vertices, calm: Vertices, jaw: float, look: BodyLook, view: View3D, lines: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint8], Project]:
        """RGBA picture (side, side, 4) of posed vertices (V, 3), and the map of points to its pixels.

        calm: the same person at rest; jaw: how far the jaw has fallen; lines: depth of the wrinkles.
        """
        teeth = self.mesh.teeth + (calm[self.nose] - self.bodies.rest[self.nose]).mean(0)
        teeth[len(teeth) // 2 :] += jaw * self.chin_fall * 0.9  # the lower row
        self.moving.write(self.mesh.moved(posed, teeth.astype(np.float32)).tobytes())
        camera, turn = self._camera(posed, view)
        self._set("camera", camera.T.astype("f4"))
        self._set("turn", turn.T.astype("f4"))
        self._set("light", view.lights.astype("f4"))
        self._set("lamp", view.lamps.astype("f4"))
        values = {**look.values, "above": view.above, "below": view.below, "gaze": view.gaze, "shine": view.shine}
        for name, value in values.items():
            self.program[name].value = value
        self._paint(look, lines)
        self.fine.use()
        self.gl.clear(0, 0, 0, 0)
        self.program["shell"].value = 0.0
        self.body.render()
        for shell in look.shells:
            self.program["shell"].value = shell
            self.hair.render()
        self.gl.copy_framebuffer(self.plain, self.fine)
        pixels = np.frombuffer(self.plain.read(components=4), np.uint8).reshape(self.side, self.side, 4)[::-1]

        def project(points: Vertices) -> NDArray[np.float64]:
            seen = np.c_[points, np.ones(len(points))] @ camera.T
            return np.asarray(np.c_[seen[:, 0] / seen[:, 3] + 1, 1 - seen[:, 1] / seen[:, 3]] / 2 * self.side)

        return pixels, project

    def _camera(self, posed: Vertices, view: View3D) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The map of points to the screen (4, 4) and the turn of normals (3, 3), about the middle of the head."""
        eyes = posed[np.concatenate(self.mesh.eyes)].mean(0)
        turn = _turn(view.yaw, view.pitch, view.roll) @ _TO_CAMERA
        place = np.eye(4)
        place[:3, :3], place[:3, 3] = turn, -turn @ (eyes + np.array([0, 0.05, -0.018]))
        place[2, 3] -= view.distance
        zoom, depth = 2 * view.distance / view.span, _FAR - _NEAR
        lens = np.array([
            [zoom, 0, -view.shift[0], 0], [0, zoom, -view.shift[1], 0],
            [0, 0, -(_FAR + _NEAR) / depth, -2 * _FAR * _NEAR / depth], [0, 0, -1, 0],
        ])  # fmt: skip
        return lens @ place, turn

    def _paint(self, look: BodyLook, lines: NDArray[np.float64]) -> None:
        """Brows, wrinkles, beard and lips as the four channels of one texture; all textures in their places."""
        first = decals.BROWS
        folds = np.tensordot(lines.astype(np.float32), self.layers[first : first + decals.WRINKLES], 1)
        channels = [
            self.layers[look.brow],
            0.5 + 0.5 * folds.clip(-1, 1),
            self.layers[decals.BEARD],
            self.layers[decals.LIPS],
        ]
        self.painted.write((np.stack(channels, -1) * 255).astype(np.uint8).tobytes())
        used = {
            "skin": self.textures["skin", look.skin], "decals": self.painted, "irises": self.textures["eye", look.eye],
            "hairs": self.textures["hair", look.hair], "grain": self.grain,
        }  # fmt: skip
        for unit, (name, texture) in enumerate(used.items()):
            texture.use(unit)
            self.program[name].value = unit

    def _set(self, name: str, value: NDArray[np.float32]) -> None:
        self.program[name].write(np.ascontiguousarray(value).tobytes())

    def _texture(self, pixels: NDArray[np.uint8]) -> Any:
        texture = self.gl.texture((pixels.shape[1], pixels.shape[0]), 3, np.ascontiguousarray(pixels).tobytes())
        texture.build_mipmaps()
        return texture


def _context() -> Any:
    try:
        moderngl: Any = importlib.import_module("moderngl")  # without types
    except ImportError:
        raise ManifestError(
            "renders need the package `moderngl`, which is not installed: pip install 'captioner[renders]'"
        ) from None
    try:
        gl: Any = moderngl.create_context(standalone=True, backend="egl")
    except Exception as error:  # the driver's own kinds
        reason = str(error).splitlines()[0]
        raise ManifestError(
            f"no OpenGL without a screen here ({reason}); on Debian: apt-get install libegl1 libgl1-mesa-dri"
        ) from None
    gl.enable(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
    return gl


def _parts(faces: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """Part of each vertex (V,): 0 the body, 1 the tongue, 2 and 3 the eyes."""
    ends = np.r_[faces[:, 0], faces[:, 1]], np.r_[faces[:, 1], faces[:, 2]]
    links = sparse.coo_matrix((np.ones(2 * len(faces)), ends), shape=(count, count))
    return np.asarray(sparse.csgraph.connected_components(links, directed=False)[1])


def _teeth() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Two strips: points (T, 3), the upper row first, normals (T, 3), triangles."""
    points: list[tuple[float, float, float]] = []
    triangles: list[tuple[int, int, int]] = []
    across = np.linspace(-0.021, 0.021, 25)
    for top, bottom, back in [(0.5935, 0.5795, 0.0), (0.5755, 0.5690, 0.0025)]:
        start, depth = len(points), -0.1125 + 22 * across**2 + back
        for x, y in zip(across, depth, strict=True):
            points += [(x, y, top), (x, y - 0.0008, bottom)]
        triangles += [
            corner for k in range(start, start + 48, 2) for corner in ((k, k + 1, k + 2), (k + 1, k + 3, k + 2))
        ]
    strips = np.array(points)
    facing = np.c_[strips[:, 0] * 44, -np.ones(len(strips)), np.zeros(len(strips))]
    return strips, facing / np.linalg.norm(facing, axis=1, keepdims=True), np.array(triangles)


def _near(rest: Vertices, width: float, height: float, most: float) -> NDArray[np.int64]:
    """Vertices on the front of the face, in its middle, at a height."""
    near = (np.abs(rest[:, 0]) < width) & (np.abs(rest[:, 2] - height) < 0.006) & (rest[:, 1] < most)
    return np.flatnonzero(near)


def _turn(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    (cy, cp, cr), (sy, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y)
