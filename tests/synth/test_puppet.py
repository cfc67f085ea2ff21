"""An animated photo, made from a painted oval with the mean face's landmarks: what moves, what stays, what it costs."""

import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from captioner.synth.actor import FacePlace
from captioner.synth.identity import State
from captioner.synth.photo.basis import LOWER_LIDS, MESH_POINTS, UPPER_LIDS, load_basis
from captioner.synth.photo.features import coverage
from captioner.synth.photo.mesh import build_net, rasterise
from captioner.synth.photo.photo_set import Photo, PhotoSet
from captioner.synth.photo.puppet import Canvas, Puppet, bare_canvas
from captioner.synth.photo.skin import gain
from captioner.synth.story.plot import PHOTO_AUS
from captioner.synth.teacher import RESPONDS, FaceTeacher, rise
from tests.helpers import ROOT

SHARED = ROOT.parent / "shared"
BASIS = load_basis()
SIZE = 192
PLACE = FacePlace(96, 100, 150)
CORNERS, BROWS = [61, 291], [105, 334]


def painted(gray: bool = False) -> Photo:
    """A face painted on the mean landmarks: skin, dark brows, white eyes with dark irises, red lips."""
    points = (BASIS.mean * 84 + np.array([96, 68, 0])).astype(np.float32)
    y, x = np.mgrid[:SIZE, :SIZE]
    image = np.full((SIZE, SIZE, 3), (70, 90, 110), np.float32)
    image[np.hypot((x - 96) / 72, (y - 98) / 84) < 1] = (205, 165, 140)
    pixels = np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)
    for side in (0, 1):
        lids = points[list(UPPER_LIDS[side]), :2], points[list(LOWER_LIDS[side]), :2]
        eye = coverage(pixels, *lids).reshape(SIZE, SIZE, 1)
        iris = (np.hypot(x - points[(468, 473)[side], 0], y - points[(468, 473)[side], 1]) < 4.5)[..., None]
        image += eye * (np.where(iris, 40.0, 235.0) - image)
    for brow in ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336)):
        for px, py in points[list(brow), :2]:
            image[np.hypot(x - px, y - py) < 4] = (60, 45, 35)
    mouth = points[[61, 291, 0, 17], :2]
    image[np.hypot((x - 96) / 25, (y - mouth[2:, 1].mean()) / (np.ptp(mouth[:, 1]) / 2)) < 1] = (170, 80, 80)
    if gray:
        image[:] = image.mean(2, keepdims=True)
    return Photo("00000", image.clip(0, 255).astype(np.uint8), points, {}, np.eye(4, dtype=np.float32), 0, gray)


PHOTO = painted()


@pytest.fixture(scope="module")
def puppet() -> Puppet:
    return Puppet(PHOTO, BASIS)


def shoot(puppet: Puppet, state: State, place: FacePlace = PLACE) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    picture = np.full((SIZE, SIZE, 3), 128, np.float32)
    return picture, puppet.draw(picture, state, place)


def random_state(rng: np.random.Generator) -> State:
    aus = {int(au): float(rng.uniform()) for au in rng.choice(PHOTO_AUS, 5, replace=False)}
    yaw, pitch, roll = (float(rng.uniform(-limit, limit)) for limit in (20, 15, 20))
    right, down = rng.uniform(-1, 1, 2).tolist()
    return State(aus, yaw, pitch, roll, gaze=(right, down), blink=float(rng.uniform() < 0.2), speech=0.3)


def test_rest_is_the_canvas(puppet: Puppet) -> None:
    low, high = PHOTO.landmarks[:, :2].min(0), PHOTO.landmarks[:, :2].max(0)
    centre = (low + high) / 2
    picture, landmarks = shoot(puppet, State(), FacePlace(centre[0], centre[1], high[1] - low[1]))
    np.testing.assert_allclose(landmarks, PHOTO.landmarks[:, :2], atol=0.01)
    inside = np.s_[20:-20, 20:-20]
    assert np.abs(picture - PHOTO.image)[inside].mean() < 0.2
    assert np.abs(picture - PHOTO.image)[inside].max() < 12


def test_place_says_where_and_how_large(puppet: Puppet) -> None:
    _, landmarks = shoot(puppet, State(), FacePlace(80, 90, 60))
    low, high = landmarks.min(0), landmarks.max(0)
    np.testing.assert_allclose((low + high) / 2, (80, 90), atol=0.01)
    assert high[1] - low[1] == pytest.approx(60, abs=0.01)
    _, larger = shoot(puppet, State(scale=1.5, x=0.1), FacePlace(80, 90, 60))
    assert np.ptp(larger[:, 1]) == pytest.approx(90, abs=0.01)
    assert larger[:, 0].mean() - landmarks[:, 0].mean() == pytest.approx(0.1 * SIZE, abs=1)


def test_the_net_covers_every_pixel_in_any_state(puppet: Puppet) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        state = random_state(rng)
        skin = puppet.net.move(puppet.muscles.shift(state.aus, state.sides), state.yaw, state.pitch, state.roll)
        scale, shift = rng.uniform(0.5, 1.5), rng.uniform(-30, 30, 2)
        target = (skin[:, :2] * scale + shift).astype(np.float32)
        height, width = (np.array(puppet.canvas.alpha.shape) * scale).astype(int)
        where = rasterise(target - shift, puppet.net.rest[:, :2], skin[:, 2], puppet.net.triangles, height, width)
        assert not np.isnan(where).any()


def test_the_face_is_never_see_through(puppet: Puppet) -> None:
    canvas = Canvas(np.full((240, 240, 3), 200, np.float32), np.ones((240, 240), np.float32), (24, 24))
    flat = Puppet(PHOTO, BASIS, canvas)
    rng = np.random.default_rng(1)
    for _ in range(25):
        state = random_state(rng)
        state = State({au: v for au, v in state.aus.items() if au < 9}, state.yaw, state.pitch, state.roll)
        picture = np.zeros((SIZE, SIZE, 3), np.float32)
        landmarks = flat.draw(picture, state, PLACE)
        x, y = landmarks[[1, 4, 5, 50, 280, 152, 10, 151, 199]].round().astype(int).clip(0, SIZE - 1).T
        assert picture[y, x].min() > 90


@pytest.mark.parametrize(
    ("au", "points", "direction"),
    [
        (1, [107, 336], (0, -1)), (2, [63, 293], (0, -1)), (4, BROWS, (0, 1)), (9, [98, 327], (0, -1)),
        (10, [37, 267], (0, -1)), (12, CORNERS, (0, -1)), (15, CORNERS, (0, 1)), (17, [17, 200], (0, -1)),
        (18, [291], (-1, 0)), (20, [291], (1, 0)), (24, [17], (0, -1)), (26, [152, 14], (0, 1)),
        (27, [152, 14], (0, 1)), (25, [14], (0, 1)), (5, [159, 386], (0, -1)), (43, [159, 386], (0, 1)),
        (7, [145, 374], (0, -1)), (6, [145, 374], (0, -1)), (6, [50, 280], (0, -1)),
    ],
)  # fmt: skip
def test_landmarks_follow_the_action_unit(
    puppet: Puppet, au: int, points: list[int], direction: tuple[float, float]
) -> None:
    rest = shoot(puppet, State())[1]
    way = [(shoot(puppet, State({au: v}))[1] - rest)[points] @ np.array(direction) for v in (0.3, 0.6, 1.0)]
    assert (way[0] > 0.05).all()
    assert (way[1] > way[0]).all()
    assert (way[2] > way[1]).all()


@pytest.mark.parametrize("au", PHOTO_AUS)
def test_every_action_unit_shows(puppet: Puppet, au: int) -> None:
    rest, _ = shoot(puppet, State())
    assert np.abs(shoot(puppet, State({au: 1.0}))[0] - rest).mean() > 0.04


def test_a_one_sided_smile(puppet: Puppet) -> None:
    rest = shoot(puppet, State())[1]
    left = shoot(puppet, State({12: 1.0}, sides={12: (1, 0)}))[1] - rest
    assert np.abs(left[61]).max() < 0.01  # the person's right, on the viewer's left
    assert left[291, 1] < -2
    wink = shoot(puppet, State({43: 1.0}, sides={43: (0, 1)}))[1] - rest
    assert wink[159, 1] > 1
    assert abs(wink[386, 1]) < 0.01


def test_eyes_close_and_lose_their_white(puppet: Puppet) -> None:
    open_, rest = shoot(puppet, State())
    shut, landmarks = shoot(puppet, State(blink=1.0))
    gap = np.linalg.norm(landmarks[[159, 386]] - landmarks[[145, 374]], axis=1)
    assert (gap < 0.05).all()
    assert (np.linalg.norm(rest[[159, 386]] - rest[[145, 374]], axis=1) > 4).all()
    x, y = rest[[155, 382]].mean(0).round().astype(int)  # between the eyes nothing changes
    np.testing.assert_allclose(open_[y, x], shut[y, x], atol=1)
    box = np.s_[int(rest[159, 1]) : int(rest[145, 1]), int(rest[33, 0]) : int(rest[133, 0])]
    assert (open_[box] > 220).mean() > 5 * (shut[box] > 220).mean()


def test_the_gaze_moves_the_iris_within_the_eye(puppet: Puppet) -> None:
    rest = shoot(puppet, State())[1]
    picture, right = shoot(puppet, State(gaze=(1, 0)))
    assert right[468, 0] - rest[468, 0] > 3
    np.testing.assert_allclose(right[:MESH_POINTS], rest[:MESH_POINTS])
    x, y = right[468].round().astype(int)
    assert picture[y, x].max() < 90


def test_an_open_mouth_is_dark_with_teeth(puppet: Puppet) -> None:
    picture, landmarks = shoot(puppet, State({25: 1.0, 27: 1.0}))
    x = int(landmarks[13, 0].round())
    column = picture[int(landmarks[13, 1]) + 2 : int(landmarks[14, 1]) - 1, x].mean(1)
    assert column.min() < 60
    assert column[: len(column) // 3].max() > 100
    grey = Puppet(painted(gray=True), BASIS)
    picture, _ = shoot(grey, State({25: 1.0, 27: 1.0}))
    assert np.ptp(picture[40:, 30:-30], axis=2).max() < 0.1


def test_pressed_lips_stay_ordered(puppet: Puppet) -> None:
    for aus in ({24: 1.0}, {24: 1.0, 17: 1.0}, {23: 1.0, 24: 1.0}, {15: 1.0, 17: 1.0}):
        landmarks = shoot(puppet, State(aus))[1]
        rows = landmarks[[0, 11, 12, 13, 14, 15, 16, 17], 1]
        assert (np.diff(rows) > -1e-3).all(), aus
    rest = shoot(puppet, State())[1]
    pressed = shoot(puppet, State({24: 1.0}))[1]
    assert pressed[17, 1] - pressed[0, 1] < 0.75 * (rest[17, 1] - rest[0, 1])


def test_turns_go_the_way_the_state_says(puppet: Puppet) -> None:
    rest = shoot(puppet, State())[1]
    nose, ear = rest[4] - rest[[234, 454]].mean(0), [234, 454]
    for state, axis in ((State(yaw=15), 0), (State(pitch=12), 1)):
        turned = shoot(puppet, state)[1]
        assert (turned[4] - turned[ear].mean(0) - nose)[axis] > 4
    rolled = shoot(puppet, State(roll=15))[1]
    angle = np.degrees(np.arctan2(*(rolled[263] - rolled[33])[::-1]) - np.arctan2(*(rest[263] - rest[33])[::-1]))
    assert angle == pytest.approx(15, abs=0.5)


def test_shoulders_stay_when_the_head_turns() -> None:
    image = np.full((400, 360, 3), 90, np.float32)
    image[84 : 84 + SIZE, 84 : 84 + SIZE] = PHOTO.image
    puppet = Puppet(PHOTO, BASIS, Canvas(image, np.ones((400, 360), np.float32), (84, 84)))
    net = puppet.net
    moved = net.move(np.zeros((MESH_POINTS, 3), np.float32), 18, 10, 15)
    still = np.flatnonzero(net.weight == 0)
    np.testing.assert_allclose(moved[still], net.rest[still], atol=1e-4)
    below = np.flatnonzero((net.rest[:, 1] > 84 + PHOTO.landmarks[152, 1] + 70) & (net.rest[:, 1] < 400))
    assert len(below) > 3
    assert np.abs(moved - net.rest)[below, :2].max() < 8


def test_the_same_state_gives_the_same_picture() -> None:
    state = State({1: 0.5, 12: 0.8, 25: 0.4}, yaw=9, roll=-4, gaze=(0.3, 0.1))
    first, second = (shoot(Puppet(PHOTO, BASIS), state) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_movement_is_smooth(puppet: Puppet) -> None:
    before, _ = shoot(puppet, State({12: 0.50, 1: 0.50}, yaw=5))
    after, _ = shoot(puppet, State({12: 0.51, 1: 0.51}, yaw=5.1))
    assert np.abs(after - before).mean() < 0.5


def test_faces_outside_the_picture_do_no_harm(puppet: Puppet) -> None:
    picture, landmarks = shoot(puppet, State({27: 1.0}), FacePlace(-400, -400, 100))
    assert (picture == 128).all()
    assert landmarks.shape == (478, 2)
    shoot(puppet, State({27: 1.0, 43: 0.5}), FacePlace(5, 190, 150))
    shoot(puppet, State({27: 1.0, 43: 0.5}), FacePlace(96, 96, 6))


def test_a_bare_photo_fades_out_and_keeps_its_chin() -> None:
    low = PHOTO.landmarks.copy()
    low[:, 1] += SIZE * 1.05 - low[:, 1].max()
    canvas = bare_canvas(Photo("0", PHOTO.image, low, {}, PHOTO.pose, 0, False))
    assert canvas.alpha[0].max() == 0
    assert canvas.alpha[:, 0].max() == 0
    x, y = (low[152, :2] + canvas.offset).astype(int)
    assert canvas.alpha[y, x] > 0.9


def test_calm_faces_move_further() -> None:
    assert gain(12, {}) == 1
    assert gain(6, {"eyeSquintLeft": 0.5}) == gain(6, {}) > 1  # whatever the photo shows
    calm, usual = gain(1, {"browInnerUp": 0.0001}), gain(1, {"browInnerUp": 0.2})
    assert 1.4 >= calm > 1.3
    assert usual < 0.8


def test_narrowed_eyes_are_narrow_and_raised_cheeks_are_not_the_same(puppet: Puppet) -> None:
    upper, lower, cheek = UPPER_LIDS[0][4], LOWER_LIDS[0][4], 50
    face = puppet.muscles.face

    def opening(aus: dict[int, float]) -> float:
        moved = face + puppet.muscles.shift(aus, {})
        return float((moved[lower, 1] - moved[upper, 1]) / (face[lower, 1] - face[upper, 1]))

    assert opening({7: 0.65}) < 0.6 < opening({6: 0.65}) < 0.95
    way = {au: puppet.muscles.shift({au: 1.0}, {})[cheek, 1] for au in (6, 7)}
    assert way[6] < -1 < way[7]


def test_low_brows_have_less_way_to_go(puppet: Puppet) -> None:
    low = PHOTO.landmarks.copy()
    low[[46, 53, 52, 65, 55, 276, 283, 282, 295, 285], 1] += 5
    near = Puppet(Photo("0", PHOTO.image, low, {}, PHOTO.pose, 0, False), BASIS)
    assert near.muscles.shift({4: 1.0}, {})[52, 1] < 0.8 * puppet.muscles.shift({4: 1.0}, {})[52, 1]


def areas(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Areas (T,) of the basis' triangles, negative where they are turned over."""
    a, b, c = points[BASIS.triangles, :2].transpose(1, 0, 2)
    return (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]


def test_a_net_of_a_turned_face_is_not_folded() -> None:
    net = build_net(PHOTO.landmarks, BASIS, SIZE, SIZE)
    turned = net.turn(PHOTO.landmarks, 1.0, 14, 0, 0)
    folds = []
    large = areas(PHOTO.landmarks) > 4
    for landmarks in (PHOTO.landmarks, turned):
        folds.append(int((areas(build_net(landmarks, BASIS, SIZE, SIZE).rest)[large] < 0).sum()))
    assert folds[0] == 0
    assert folds[1] <= 4
    assert (areas(turned)[large] < 0).sum() > folds[1]


def test_a_frame_costs_little(puppet: Puppet) -> None:
    picture = np.full((224, 224, 3), 128, np.float32)
    state = State({1: 0.5, 2: 0.5, 12: 1, 25: 1, 26: 0.5}, yaw=8, roll=4)
    costs = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(4):
            puppet.draw(picture, state, FacePlace(112, 112, 150))
        costs.append((time.process_time() - start) / 4)
    assert min(costs) < 0.03  # 8 ms on an idle core; shared ones are slower


@pytest.mark.slow
def test_real_photos_show_what_they_are_told() -> None:
    """A teacher that never saw the animator reads photos that the basis never saw."""
    faces, bundle = SHARED / "data" / "faces", SHARED / "weights" / "face_landmarker.task"
    if not faces.is_dir() or not bundle.is_file():
        pytest.skip("no annotated photos or no MediaPipe bundle beside the repository")
    pytest.importorskip("mediapipe", reason="the optional extra `faces` is not installed")
    photos, teacher = PhotoSet(Path(faces)), FaceTeacher(bundle)
    shown: dict[int, list[bool]] = {au: [] for au in (1, 4, 12, 15, 27, 43)}
    for row in photos.rows("val")[:6].tolist():
        puppet = Puppet(photos.photo(row), BASIS)

        def read(state: State, puppet: Puppet = puppet) -> NDArray[np.uint8]:
            return shoot(puppet, state, FacePlace(96, 96, 130))[0].clip(0, 255).astype(np.uint8)

        rest = teacher.read(read(State()))
        assert rest is not None
        for au, seen in shown.items():
            now = teacher.read(read(State({au: 1.0})))
            seen.append(now is not None and rise(au, rest, now) >= RESPONDS[au])
        ramp = [teacher.read(read(State({12: v}))) for v in (0.2, 0.4, 0.6, 0.8, 1.0)]
        rises = [rise(12, rest, now) if now else 0.0 for now in ramp]
        assert spearmanr(range(5), rises).statistic > 0.85
    teacher.close()
    assert {au for au, seen in shown.items() if np.mean(seen) < 0.6} == set()
