"""Dagster's records that cannot be opened or written: one sentence with what to do."""

import fcntl
import shutil
import sqlite3
import threading
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from hybrid_assets.orchestration.console import terminal_logger
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.orchestration.records import _without_password, open_records
from hybrid_assets.orchestration.running import run_in_process
from hybrid_assets.orchestration.storage import TableStore

HOME = Path(__file__).parents[2] / "dagster_home"


def home_in(folder: Path) -> Path:
    shutil.copy(HOME / "dagster.yaml", folder)
    return folder


def refused(home: Path) -> str:
    with pytest.raises(dg.Failure) as failure:
        open_records(home)
    told = str(failure.value.description)
    assert "\n" not in told
    return told


def test_records_are_made_and_opened(tmp_path):
    home = home_in(tmp_path)
    with open_records(home) as instance:
        assert instance.get_runs() == []
    with open_records(home) as instance:
        assert instance.run_retries_max_retries == 1
    assert {file.name for file in home.iterdir() if file.is_file()} == {"dagster.yaml", "opening.lock"}


def test_a_second_command_in_a_new_home_waits_until_the_first_has_made_the_tables(tmp_path):
    home = home_in(tmp_path)
    opened = threading.Event()

    def second() -> None:
        open_records(home).dispose()
        opened.set()

    with (home / "opening.lock").open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        thread = threading.Thread(target=second)
        thread.start()
        assert not opened.wait(1.0)
    thread.join()
    assert opened.is_set()


def test_a_read_only_home_is_named(mount):
    home = home_in(mount("size=8m"))
    open_records(home).dispose()
    mount("remount,ro")
    told = refused(home)
    assert told.startswith(str(home))
    assert "make that file system writable, or set DAGSTER_HOME to another home" in told


def test_a_full_home_is_noticed_before_a_run_starts(mount):
    home = home_in(mount("size=512k"))
    assert "free space on that disk, or set DAGSTER_HOME to another home" in refused(home)


def test_a_home_that_runs_full_in_the_middle_of_a_run_is_named_and_the_next_run_finishes(mount, tmp_path):
    home, filler = home_in(mount("size=8m")), tmp_path / "mounted" / "filler"

    def definitions(*, fill: bool) -> dg.Definitions:
        @incremental_asset(key="a", group="g", version=str(fill), columns={"x": "a number"})
        def a(step: Step) -> Computed:
            with filler.open("wb", buffering=0) as file:
                while fill and shutil.disk_usage(home).free:
                    file.write(bytes(4096))
            return Computed(pl.DataFrame({"x": [1]}))

        return dg.Definitions(
            assets=[a],
            jobs=[dg.define_asset_job("refresh")],
            loggers={"terminal": terminal_logger},
            resources={"io_manager": TableStore(url=str(tmp_path / "data"))},
        )

    with pytest.raises(dg.Failure) as failure:
        run_in_process(definitions(fill=True), home)
    told = str(failure.value.description)
    assert "\n" not in told
    assert told.startswith(str(home))
    assert "set DAGSTER_HOME to another home" in told
    filler.unlink()
    assert run_in_process(definitions(fill=False), home).computed == ("a",)


@pytest.mark.parametrize("damage", ["not a database", "no table"])
def test_damaged_records_can_be_moved_away(tmp_path, damage):
    home = home_in(tmp_path)
    open_records(home).dispose()
    [file] = (home / "history").glob("runs.db")
    if damage == "not a database":
        for one in (home / "history").glob("runs.db*"):
            one.write_bytes(b"not a database, and long enough to be looked at: " * 100)
    else:
        with sqlite3.connect(file) as database:
            database.execute("DROP TABLE runs")
    told = refused(home)
    assert f"where {home / 'history'} is damaged, move it away" in told
    shutil.rmtree(home / "history")
    open_records(home).dispose()


@pytest.mark.parametrize("told", ["a/b c", "a%2Fb%20c", "b c", "host a"])
def test_no_piece_of_a_password_gets_into_a_message(told):
    url = "postgresql+psycopg2://me:a%2Fb%20c@host/database"
    assert _without_password(f"cannot parse {told!r}", url) == "its message would show the password"
    harmless = "refused on port 5432"
    assert _without_password(harmless, "postgresql+psycopg2://me:zzz@host/database") == harmless
