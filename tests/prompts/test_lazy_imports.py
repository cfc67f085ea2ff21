"""Imports without torch's compiler, and the compiler itself afterwards."""

import subprocess
import sys

import pytest

BEFORE = """
import sys
from prompts.lazy_imports import without_compiler
with without_compiler():
    stand_in = sys.modules["torch._dynamo"]
    import torch
    {lines}
"""
AFTER = """
assert sys.modules.get("torch._dynamo") is not stand_in
double = torch.compile(lambda x: x * 2, backend="eager")
assert double(torch.ones(3)).tolist() == [2.0] * 3
from torchvision.ops.roi_align import is_compile_supported
assert is_compile_supported("cpu")
print("fine")
"""


def run(script: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_a_captioner_is_loaded_without_the_compiler() -> None:
    assert run("import sys, captioner; captioner.load('default'); print('torch._dynamo' in sys.modules)") == "False"


@pytest.mark.slow
@pytest.mark.parametrize(
    "lines",
    [
        "import torchvision, timm",
        "import torch._dynamo.config as config; assert config.cache_size_limit",
        "assert torch._dynamo.reset and torch._dynamo.config.cache_size_limit",
        "from torch._dynamo import optimize",
        "from torch._dynamo.utils import counters, is_compile_supported",
    ],
)
def test_whatever_is_asked_meanwhile_the_compiler_works(lines: str) -> None:
    assert run(BEFORE.format(lines=lines) + AFTER) == "fine"


@pytest.mark.slow
def test_where_the_compiler_is_loaded_it_stays() -> None:
    script = BEFORE.replace("from prompts", "import torch._dynamo\nfrom prompts")
    script = script.format(lines="assert stand_in.optimize") + "print(stand_in is sys.modules['torch._dynamo'])"
    assert run(script) == "True"
