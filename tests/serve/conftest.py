"""A server over a fake captioner, and videos to give it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.video.reading import write_video
from tests.output.fakes import FakeModel

pytest.importorskip("fastapi", reason="the extra [serve] is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from starlette.testclient import TestClient

from captioner.serve.api import create_app
from captioner.serve.serve_limits import ServeLimits


class Server:
    """A server in this process: `with Server(...) as client`."""

    def __init__(self, model: FakeModel, **limits: Any) -> None:
        self.app = create_app(model, ServeLimits(**{"hosts": ("testserver",)} | limits))
        self.board = _board_of(self.app)
        self.client = TestClient(self.app)

    def __enter__(self) -> Any:
        return self.client.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.client.__exit__(*error)


def _board_of(guards: Any) -> Any:
    routes = [route for route in guards.app.routes if getattr(route, "path", "") == "/v1/captions"]
    return routes[0].endpoint.__self__.board


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def server(model: FakeModel) -> Iterator[Any]:
    made = Server(model)
    with made as client:
        client.board = made.board
        yield client


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Clips of three frames, each of its own brightness: 20, 40, 60, ..."""
    folder = tmp_path_factory.mktemp("clips")
    paths = [folder / f"{level}.mp4" for level in range(20, 220, 20)]
    for path in paths:
        write_video(path, np.full((3, 16, 16, 3), int(path.stem), np.uint8), 25)
    return paths
