"""The web UI in a real browser: the graph opens, the job refresh is launched, the run finishes, assets show.

HYBRID_SCREENSHOTS=docs/images keeps the pictures that the docs show.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_dataset import write_small_dataset

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# a closed network refuses what Chromium asks for on its own
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
LOCATION = "hybrid_assets.definitions"
STATUS = "{ runsOrError(limit: 1) { ... on Runs { results { status } } } }"


@pytest.fixture(scope="module")
def web_ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`dagster dev` over the small dataset; yields its address."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    base = tmp_path_factory.mktemp("ui")
    project = Path(__file__).resolve().parents[1]
    write_small_dataset(base / "raw", base / "cache")
    packaged = (project / "hybrid_assets" / "catalog.toml").read_text()
    (base / "catalog.toml").write_text(
        packaged.replace('dataset = "sample"', 'dataset = "folder"', 1)
        .replace("epochs = 200", "epochs = 20")
        .replace("watch = true", "watch = false")
        + f'\n[folder]\npath = "{base / "raw"}"\n'
    )
    home = base / "home"
    home.mkdir()
    shutil.copy(project / "dagster_home" / "dagster.yaml", home)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (base / "dagster.log").open("w")
    server = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("dagster")),
            "dev",
            "-w",
            "workspace.yaml",
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
        ],
        cwd=project,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=os.environ
        | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HYBRID_CATALOG": str(base / "catalog.toml"),
            "HYBRID_STORAGE": str(base / "data"),
            "HYBRID_RAW": str(base / "cache"),
            "DAGSTER_HOME": str(home),
        },
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(address), seconds=90, what=f"the web UI; see {log.name}")
        yield address
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/server_info", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def run_status(address: str) -> str | None:
    request = urllib.request.Request(
        f"{address}/graphql", json.dumps({"query": STATUS}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        runs = json.load(reply)["data"]["runsOrError"]["results"]
    return runs[0]["status"] if runs else None


def wait_until(condition, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(1)


def picture(page, name: str) -> None:
    folder = os.environ.get("HYBRID_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / name))


def test_the_job_refresh_is_launched_and_finishes(web_ui):
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 2000, "height": 1500})
        page.goto(f"{web_ui}/asset-groups")
        for group in (
            "tuning",
            "raw",
            "split",
            "documents",
            "factors",
            "embeddings",
            "profiles",
            "scores",
            "metrics",
            "report",
        ):
            expect(page.get_by_text(group, exact=True).first).to_be_visible(timeout=30_000)
        assert run_status(web_ui) is None
        # all assets but those that need minutes or a GPU
        page.goto(f"{web_ui}/locations/{LOCATION}/jobs/refresh")
        button = page.get_by_role("button", name="Materialize all")
        expect(button).to_be_visible(timeout=60_000)
        button.click()
        # the leaderboard can do without the systems that are left out; Dagster asks all the same
        page.get_by_role("button", name="Confirm").click(timeout=30_000)
        wait_until(lambda: run_status(web_ui) in ("SUCCESS", "FAILURE", "CANCELED"), 240, "the run to finish")
        assert run_status(web_ui) == "SUCCESS"

        page.goto(f"{web_ui}/locations/{LOCATION}/jobs/refresh")
        expect(button).to_be_visible(timeout=60_000)
        page.mouse.click(1400, 1450)
        page.keyboard.press("Alt+e")  # expand all groups
        expect(page.get_by_text("mf_minilm_notebook").first).to_be_visible(timeout=30_000)
        page.wait_for_timeout(2000)
        page.mouse.move(560, 700)
        page.mouse.wheel(0, 240)
        page.wait_for_timeout(2000)
        picture(page, "graph.png")

        page.set_viewport_size({"width": 1600, "height": 1400})
        page.goto(f"{web_ui}/assets/leaderboard")
        expect(page.get_by_text("Every system with its metrics and their intervals").first).to_be_visible(
            timeout=30_000
        )
        expect(page.get_by_text("mf_minilm_notebook").first).to_be_visible(timeout=30_000)
        picture(page, "leaderboard.png")

        page.goto(f"{web_ui}/assets/report")
        page.get_by_text("Show Markdown").last.click(timeout=30_000)
        expect(page.locator('img[src^="data:image/png"]').first).to_be_visible(timeout=30_000)
        page.locator('img[src^="data:image/png"]').first.scroll_into_view_if_needed()
        picture(page, "report.png")
        browser.close()
