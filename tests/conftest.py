"""Fixtures that all tests share; models and batches are in helpers.py."""

import pytest

from captioner.model.tokenizer import Tokenizer
from tests.helpers import CAPTIONS


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A vocabulary of a few captions."""
    return Tokenizer.build(CAPTIONS)
