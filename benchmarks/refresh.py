"""What the graph costs over the computation in it: a first run, a run with nothing to do, one edited document.

Runs the real command on the sample, with two tags of our own, in a new storage and Dagster home. The CPU seconds of the
computation are those that each asset's function took, as its materialization says. Usage: python benchmarks/refresh.py
[SYSTEM ...]: the packaged catalog, or what is left of it for these systems alone.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import tomlkit

from hybrid_assets.catalog import load_catalog
from hybrid_assets.datasets.sources import locate
from hybrid_assets.definitions import build_definitions
from hybrid_assets.environment import project_folder

COMMAND = [str(Path(sys.executable).with_name("hybrid-assets")), "run"]


@dataclass(frozen=True)
class Measured:
    """One run of the command: wall and CPU seconds, CPU seconds in functions, and wall seconds of each step."""

    wall: float
    cpu: float
    computing: float
    steps: dict[str, float]


def measure(home: Path) -> Measured:
    """Run the command, and ask Dagster's records about the run; without a new run in them there were no steps."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        known = {run.run_id for run in instance.get_runs()}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(COMMAND, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    computing, steps = 0.0, {}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for run in instance.get_runs():
            if run.run_id in known:
                continue
            for stats in instance.get_run_step_stats(run.run_id):
                if stats.start_time and stats.end_time:
                    steps[stats.step_key.replace("__", "/")] = stats.end_time - stats.start_time
            for event in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
                assert event.dagster_event
                spent = event.dagster_event.step_materialization_data.materialization.metadata.get("cpu_seconds")
                computing += float(spent.value) if spent else 0.0  # type: ignore[arg-type]
    return Measured(wall, cpu, computing, steps)


def catalog_text(raw: Path, systems: list[str]) -> str:
    """The packaged catalog over the files in a folder; with systems, without the others and the models they alone use.

    Raises:
        ValueError: a name stands under [systems] of no packaged catalog.
    """
    text = (project_folder() / "hybrid_assets" / "catalog.toml").read_text()
    catalog = tomlkit.parse(text.replace('dataset = "sample"', f'dataset = "folder"\nfolder = {{ path = "{raw}" }}'))
    if unknown := set(systems) - set(catalog["systems"]):
        raise ValueError(f"no such system in the packaged catalog: {', '.join(sorted(unknown))}")
    if systems:
        catalog["systems"] = {name: catalog["systems"][name] for name in systems}
        used = {model for name in systems for model in load_catalog().systems[name].model_names}
        catalog["models"] = {name: model for name, model in catalog["models"].items() if name in used}
        catalog["cold_start"]["systems"] = [name for name in catalog["cold_start"]["systems"] if name in systems]
    return tomlkit.dumps(catalog)


def main() -> None:
    """Measure and print."""
    systems = sys.argv[1:]
    for name in [name for name in os.environ if name.startswith("HYBRID_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        home, raw, catalog = base / "dagster_home", base / "raw", base / "catalog.toml"
        home.mkdir()
        shutil.copy(project_folder() / "dagster_home" / "dagster.yaml", home)
        source = locate("sample", cache=base / "cache", environment={}, on_progress=lambda done, total: None, say=print)
        shutil.copytree(source, raw)
        tags = raw / "tags.csv"
        tags.write_text("userId,movieId,tag,timestamp\n1,1,heist,0\n2,2,quirky,0\n")
        catalog.write_text(catalog_text(raw, systems))
        os.environ |= {"DAGSTER_HOME": str(home), "HYBRID_STORAGE": str(base / "data"), "HYBRID_CATALOG": str(catalog)}

        first = measure(home)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(f"first run: {first.wall:.1f} s (goal: under 300), peak memory {peak:.2f} GiB (goal: under 3)")
        print(
            f"  {first.cpu:.1f} s of CPU, {first.computing:.1f} of them in the {len(first.steps)} assets' functions: "
            f"{first.cpu - first.computing:.1f} s for starting, the graph and storing (goal: under 15)"
        )
        again = measure(home)
        print(f"nothing changed: {again.wall:.1f} s, {len(again.steps)} assets looked at (goal: under 10)")
        print(f"  first / second: {first.wall / again.wall:.1f} (goal: at least 20)")

        tags.write_text(tags.read_text().replace("heist", "slow"))
        edited = measure(home)
        graph = build_definitions(load_catalog()).resolve_asset_graph()
        behind = dg.AssetSelection.assets("movie_documents").downstream().resolve(graph)
        documents = {key.to_user_string() for key in behind}
        reached = sum(seconds for step, seconds in edited.steps.items() if step in documents)
        print(f"one tag edited: {edited.wall:.1f} s, {len(edited.steps)} assets looked at (goal: under 30)")
        print(f"  {reached / sum(edited.steps.values()):.1%} of the steps' time depends on documents (goal: 95 %)")
        for step, seconds in sorted(edited.steps.items(), key=lambda pair: -pair[1])[:8]:
            print(f"  {seconds:6.1f} s {step}")


if __name__ == "__main__":
    main()
