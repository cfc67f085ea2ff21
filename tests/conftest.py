"""Fixtures that all tests share; models and batches are in helpers.py."""

import os

import pytest
from hypothesis import HealthCheck, settings

from captioner.model.tokenizer import Tokenizer
from tests.helpers import CAPTIONS

# Generated inputs: the same few every time, or as many others as EXAMPLES says.
_WANTED = os.environ.get("EXAMPLES")
settings.register_profile(
    "generated", max_examples=int(_WANTED or 20), derandomize=not _WANTED, database=None, deadline=None,
    suppress_health_check=list(HealthCheck) if _WANTED else [HealthCheck.function_scoped_fixture],
)  # fmt: skip
settings.load_profile("generated")


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A vocabulary of a few captions."""
    return Tokenizer.build(CAPTIONS)
