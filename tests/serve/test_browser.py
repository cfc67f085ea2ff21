"""The web app and the page of `-f html` in a real browser: upload, wait, seek, errors, two users, camera, Ctrl-C."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import captioner
from captioner.cli import main
from tests.helpers import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
EXAMPLE = ROOT / "examples" / "surprise.mp4"

pytest.importorskip("fastapi", reason="the extra [serve] is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed on this machine"),
]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, serving on a free port."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from captioner.cli import main\n"
        "sys.exit(main(['--serve', '--port', '0', '-d', 'cpu', '--offline']))"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    assert process.stdout is not None
    address = ""
    while not address:
        line = process.stdout.readline()
        assert line, "the server ended"
        found = re.search(r"http://[\d.:]+", line)
        address = found[0] if found else ""
    yield process, address
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as tools:
        camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        found = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, running: tuple[Any, str]) -> Iterator[Any]:
    """The app, open; whatever the browser complains of fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    tab, complaints = context.new_page(), list[str]()
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda asked: re.match("http://127|data:|blob:", asked.url) or complaints.append(asked.url))
    tab.goto(running[1])
    tab.wait_for_selector("#examples button")
    yield tab
    context.close()
    assert not complaints


def result_of(tab: Any) -> Any:
    tab.wait_for_selector("#result:not([hidden]) .caption", timeout=120_000)
    return tab.locator("#result")


def until(tab: Any, condition: str, seconds: float = 60.0) -> None:
    """Wait for a condition; the pages' own policy lets no text be run as a script, so it is asked from outside."""
    end = time.monotonic() + seconds
    while not tab.evaluate(condition):
        assert time.monotonic() < end, condition
        tab.wait_for_timeout(50)


def seek(tab: Any, link: Any) -> tuple[float, float]:
    """The second that a link names, and where the player is after a click on it."""
    link.click()
    until(tab, "!document.querySelector('video').seeking")
    return float(link.get_attribute("data-seek")), tab.evaluate("document.querySelector('video').currentTime")


def test_an_upload_plays_and_its_phrases_seek(page: Any) -> None:
    page.set_input_files("#file", EXAMPLE)
    result = result_of(page)
    until(page, "document.querySelector('video').readyState >= 1")
    for number in range(result.locator(".caption a.phrase").count()):
        wanted, reached = seek(page, result.locator(".caption a.phrase").nth(number))
        assert abs(wanted - reached) <= 0.1
        assert result.locator(".card.chosen").count() == 1
    shares = result.locator("article").evaluate("node => getComputedStyle(node).getPropertyValue('--at')")
    assert float(shares) == pytest.approx(100 * reached / 3.4, abs=6)  # the playhead over the curves
    assert result.locator(".units li").count() >= 6
    assert result.locator(".player .boxes rect").count() == 1
    with page.expect_download() as saved:
        result.locator("#downloads a", has_text="srt").click()
    assert "-->" in Path(saved.value.path()).read_text()
    assert page.locator("#history button").count() == 1


def test_an_example_people_and_the_keyboard(page: Any) -> None:
    page.locator("summary", has_text="Options").click()
    page.select_option("#people", "2")
    page.select_option("#style", "feelings")
    button = page.locator("#examples button", has_text="smile")
    button.focus()
    page.keyboard.press("Enter")
    result = result_of(page)
    assert "person 1" in result.inner_text()
    assert page.evaluate("document.activeElement.id") == "result"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") in ("VIDEO", "A")


def test_errors_are_told_and_work_goes_on(page: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("I am no video")
    page.set_input_files("#file", tmp_path / "notes.mp4")
    page.wait_for_selector("#fault:not([hidden])")
    assert page.inner_text("#fault") == "'notes.mp4' holds text, not a video"
    page.click("#examples button:has-text('frown')")
    result_of(page)
    assert page.is_hidden("#fault")


def test_two_users_at_once_and_one_cancels(page: Any, browser: Any, running: tuple[Any, str]) -> None:
    other = browser.new_context().new_page()
    other.goto(running[1])
    other.click("#examples button:has-text('talk')")
    page.click("#examples button:has-text('sad')")
    page.click("#cancel")
    assert page.inner_text("#fault") == "Cancelled"
    page.click("#examples button:has-text('smile')")
    for tab, name in ((page, "smile.mp4"), (other, "talk.mp4")):
        told = result_of(tab).locator(".caption").first.inner_text()
        assert tab.locator("#history button").count() == 1
        assert told.split(".")[0][:20] in tab.inner_text("#history") and name in tab.inner_text("#history")
    other.context.close()


def test_the_camera_records(page: Any) -> None:
    page.click("#camera")
    page.wait_for_selector("#recorder[open]")
    page.click("#record")
    page.wait_for_timeout(1500)
    page.click("#record")
    assert "face" in result_of(page).inner_text()  # of a test picture nobody is claimed
    refused = "Promise.reject(new DOMException('', 'NotFoundError'))"
    page.evaluate(f"() => {{ navigator.mediaDevices.getUserMedia = () => {refused} }}")
    page.click("#camera")
    page.wait_for_selector("#fault:not([hidden])")
    assert "No camera was found" in page.inner_text("#fault")


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (400, "dark"), (1400, "light"), (1400, "dark")])
def test_it_fits_and_axe_finds_no_serious_fault(
    browser: Any, running: tuple[Any, str], width: int, scheme: str, tmp_path: Path
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    tab = context.new_page()
    tab.goto(running[1])
    tab.click("#examples button:has-text('surprise')")
    result_of(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    axe = os.environ.get("AXE_JS", "")  # axe.min.js of npm's axe-core, where somebody has it
    if axe and Path(axe).is_file():
        tab.evaluate(Path(axe).read_text())
        found = tab.evaluate("axe.run().then(result => result.violations)")
        grave = [each for each in found if each["impact"] in ("serious", "critical")]
        assert not [f"{each['id']}: {each['nodes'][0]['html']}" for each in grave]
    context.close()


def test_the_page_of_a_film_plays_and_seeks(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "a film#1.mp4").write_bytes(EXAMPLE.read_bytes())
    assert main([str(tmp_path / "a film#1.mp4"), "-o", str(tmp_path / "out"), "-f", "html", "-q", "-d", "cpu"]) == 0
    tab = browser.new_context().new_page()
    tab.goto((tmp_path / "out" / "a film#1.html").as_uri())
    until(tab, "document.querySelector('video').readyState >= 1")
    wanted, reached = seek(tab, tab.locator(".caption a.phrase").first)
    assert abs(wanted - reached) <= 0.1
    tab.context.close()
    caption = captioner.load(device="cpu").caption(tmp_path / "a film#1.mp4", evidence=True)
    caption.save(tmp_path / "saved.html")
    assert "<video" in (tmp_path / "saved.html").read_text()


def test_control_c_ends_it(running: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = running
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    assert time.monotonic() - began < 15
    assert process.stdout is not None
    assert "stopped; uploads are deleted" in process.stdout.read()
