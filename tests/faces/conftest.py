"""The face reader that ships, opened once for each file of tests."""

import pytest

from captioner.faces import FaceReader, open_reader


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    return open_reader()
