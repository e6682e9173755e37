"""The doctor opens Dagster's records and reads the tables; each problem is one line with its fix."""

import shutil
from dataclasses import replace
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import torch
from quick_graph import quick_catalog

from hybrid_assets import doctor
from hybrid_assets.definitions import table_store
from hybrid_assets.doctor import Finding, examine
from hybrid_assets.orchestration.records import SETTINGS
from hybrid_assets.orchestration.running import run_in_process
from hybrid_assets.orchestration.storage import Stamp, StampedTable, content_hash, replace_file

HOMES = Path(__file__).parents[1] / "dagster_home"
KEY = dg.AssetKey("ratings")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A storage with one table, and a home whose records are in SQLite."""
    (tmp_path / "home").mkdir()
    shutil.copy(HOMES / "dagster.yaml", tmp_path / "home")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HYBRID_STORAGE", str(tmp_path / "data"))
    catalog = quick_catalog(tmp_path)
    table = pl.DataFrame({"x": range(1000)})
    stamp = Stamp("ratings", "1", {}, content_hash(table))
    store = table_store(catalog)
    store.handle_output(dg.build_output_context(asset_key=KEY), StampedTable(table, stamp))
    return catalog, store, tmp_path / "home"


def found(catalog, subject: str) -> Finding:
    [finding] = [finding for finding in examine(catalog) if finding.subject == subject]
    return finding


def test_tables_and_records_are_opened(machine):
    catalog, store, home = machine
    assert found(catalog, "tables") == Finding("tables", True, f"{store.url}, 1 tables as they were written")
    assert found(catalog, "Dagster home") == Finding("Dagster home", True, f"{home}, records in Sqlite, 0 runs")


def test_a_package_that_is_missing_or_of_another_version_is_a_line_with_the_fix(machine, monkeypatch):
    catalog, *_ = machine
    assert "lightgbm 4." in found(catalog, "packages").found
    needs = ["numpy>=99", "no-such-package", "pyarrow", 'no-such-tool; extra == "dev"']
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: needs)
    assert found(catalog, "numpy").found.endswith(", needed >=99")
    assert found(catalog, "no-such-package") == Finding("no-such-package", False, "not installed", "make install")
    assert found(catalog, "packages").found.startswith("pyarrow ")
    assert "no-such-tool" not in [finding.subject for finding in examine(catalog)]


def test_files_that_may_not_be_read_are_named_with_what_to_do(machine, tmp_path, monkeypatch):
    catalog, _, _ = machine
    for name in ("ratings", "movies"):
        (tmp_path / f"{name}.csv").write_text("a\n1\n")
    assert found(catalog, "your files").ok
    opened = Path.open

    def refusing(self, *arguments, **options):
        if self.name == "ratings.csv":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refusing)  # root may read what nobody may
    finding = found(catalog, "your files")
    assert not finding.ok
    assert str(tmp_path / "ratings.csv") in finding.fix
    assert finding.fix.endswith("make it readable and writable for this user")


def test_weights_that_may_not_be_read_and_a_full_gpu_are_a_line_each(machine, monkeypatch):
    catalog, _, _ = machine

    def refusing(*_, **__):
        raise PermissionError(13, "Permission denied", "/cache/model.safetensors")

    def full(index):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(doctor, "weights_folder", refusing)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Example GPU")
    monkeypatch.setattr(torch.cuda, "mem_get_info", full)
    weights = found(catalog, "encoder minilm")
    assert not weights.ok
    assert weights.fix.endswith("'/cache/model.safetensors'; make it readable and writable for this user")
    assert found(catalog, "GPU").found == "Example GPU, which refuses (CUDA error: out of memory)"


def test_a_table_that_is_not_what_its_stamp_says_is_named(machine):
    catalog, store, _ = machine
    stamp = replace(store.stamp(KEY), data_version="another")
    other = StampedTable(pl.DataFrame({"x": range(1000)}), stamp)
    store.handle_output(dg.build_output_context(asset_key=KEY), other)
    finding = found(catalog, "tables")
    assert not finding.ok
    assert str(store.path(KEY)) in finding.fix
    assert "Delete the file and run again" in finding.fix


def test_records_that_cannot_be_opened_are_one_line_with_the_fix(machine, monkeypatch):
    catalog, _, home = machine
    monkeypatch.delenv("HYBRID_POSTGRES", raising=False)
    shutil.copy(HOMES / "postgres" / "dagster.yaml", home)
    finding = found(catalog, "Dagster home")
    assert not finding.ok
    assert "set HYBRID_POSTGRES to postgresql+psycopg2://" in finding.fix
    assert "\n" not in finding.found + finding.fix


def test_a_storage_that_cannot_be_written_is_one_line_with_the_fix(machine, monkeypatch, mount):
    catalog, _, _ = machine
    folder = mount("size=64k")
    replace_file(table_store(catalog, str(folder)).path(KEY), b"x")
    mount("remount,ro")
    monkeypatch.setenv("HYBRID_STORAGE", str(folder))
    finding = found(catalog, "storage")
    assert not finding.ok
    assert "make that file system writable, or set HYBRID_STORAGE to another place" in finding.fix


def test_a_home_without_settings_is_given_those_of_the_checkout(machine):
    catalog, _, home = machine
    (home / "dagster.yaml").unlink()
    assert found(catalog, "Dagster home") == Finding("Dagster home", True, f"{home}, which the first run makes")
    assert list(home.iterdir()) == []
    assert SETTINGS.read_bytes() == (HOMES / "dagster.yaml").read_bytes()


@pytest.mark.parametrize("place", ["file", "file/home", "/proc/home"])
def test_a_home_that_cannot_be_made_is_one_line_with_the_fix_and_no_run_starts(machine, monkeypatch, place):
    catalog, _, home = machine
    (home.parent / "file").write_text("")
    monkeypatch.setenv("DAGSTER_HOME", str(home.parent / place))
    finding = found(catalog, "Dagster home")
    assert not finding.ok
    for told in (finding.fix, refused(home.parent / place)):
        assert told.startswith(f"{home.parent / place}: cannot be written (")
        assert "set DAGSTER_HOME to another home" in told


def refused(home: Path) -> str:
    with pytest.raises(dg.Failure) as failure:
        run_in_process(dg.Definitions(), home)
    assert failure.value.description
    return failure.value.description
