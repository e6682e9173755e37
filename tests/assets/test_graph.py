"""The whole graph over real rows: what it makes, and exactly what a change computes again."""

import shutil

import dagster as dg
import numpy as np
import polars as pl
import pytest

from hybrid_assets import queries
from hybrid_assets.assets import embeddings
from hybrid_assets.assets.scores import chosen_weights
from hybrid_assets.catalog import Catalog
from hybrid_assets.definitions import build_definitions
from hybrid_assets.orchestration import incremental
from hybrid_assets.orchestration.automation import MADE
from hybrid_assets.orchestration.staleness import due, judge, recipes_of
from hybrid_assets.recommender.encoders.encoder_metrics import popularity_matched_auc
from hybrid_assets.recommender.facts import genre_shares
from hybrid_assets.recommender.metrics import miscalibration
from hybrid_assets.recommender.tables import encoder_towers
from hybrid_assets.system_settings import SystemSettings

PAPER = ["most_popular", "mf_only", "mf_minilm", "mf_minilm_notebook"]
RERANKED = ["ease_diverse", "ease_less_popular"]
SYSTEMS = [
    *PAPER,
    "content_minilm",
    "ease",
    "sequence_ease",
    "text_ease",
    *RERANKED,
    "models_minilm",
    "stacked_minilm",
    "stacked",
    "gated_minilm",
]
MODELS = [
    "most_popular",
    "pmf",
    "ease",
    "ease_liked",
    "ease_all",
    "sequence_ease",
    "text_ease",
    "als",
    "als_liked",
    "user_knn",
]
EXPECTED = {
    *("raw_files", "movies", "ratings", "tags", "movie_documents", "train_ratings", "test_ratings"),
    *(f"factors/{model}" for model in MODELS),
    *(
        "candidates/stacked_minilm",
        "shortlists/stacked_minilm",
        "stackers/stacked_minilm",
        "stackers/stacked",
        "gates/gated_minilm",
    ),
    *("embeddings/minilm", "profiles/minilm", "leaderboard", "report"),
    *("comparisons", "strata", "contrastive_pairs", "encoder_metrics/minilm", "cold_start"),
    *(f"{stage}/{system}" for stage in ("scores", "user_metrics", "metrics") for system in SYSTEMS),
}


def all_specs(graph):
    definitions = build_definitions(graph.catalog, graph.storage)
    return [spec for asset in definitions.assets for spec in asset.specs]


def test_a_refresh_makes_exactly_these_assets(built):
    assert set(built.run()) == EXPECTED


def test_every_encoder_has_its_branch(built):
    known = {spec.key.to_user_string() for spec in all_specs(built)}
    for encoder in built.catalog.encoders:
        assert {f"{stage}/{encoder}" for stage in ("embeddings", "profiles", "encoder_metrics")} <= known
        assert f"scores/content_{encoder}" in known
    assert {"encoders/minilm_ft", "adapters/qwen3_4b_lora"} <= known


def test_every_asset_explains_itself(built):
    for spec in all_specs(built):
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert spec.group_name != "default", spec.key
        assert "parquet" in spec.kinds, spec.key
        assert spec.code_version, spec.key


def test_the_code_location_loads(built):
    dg.Definitions.validate_loadable(build_definitions(built.catalog, built.storage))


def test_an_unchanged_run_computes_nothing(graph):
    assert graph.computed() == set()


@pytest.mark.slow
def test_two_machines_with_the_same_input_make_the_same_bytes(built, graph, tmp_path):
    graph.storage = str(tmp_path / "elsewhere")
    graph.run()
    raw = dg.AssetKey("raw_files")  # its settings have where they lie
    assert graph.store.stamp(raw).data_version == built.store.stamp(raw).data_version
    for key in sorted(EXPECTED - {"raw_files"}):
        path = dg.AssetKey.from_user_string(key)
        assert graph.store.path(path).read_bytes() == built.store.path(path).read_bytes(), key


def due_in(graph, recorded=EXPECTED) -> set[str]:
    selected, known = ([dg.AssetKey.from_user_string(key) for key in keys] for keys in (EXPECTED, recorded))
    recipes = recipes_of(build_definitions(graph.catalog, graph.storage).assets)
    return {key.to_user_string() for key in due(recipes, graph.store, selected, known)}


def test_nothing_is_due_where_all_is_fresh_but_what_dagster_does_not_know(graph):
    assert due_in(graph) == set()
    assert due_in(graph, EXPECTED - {"leaderboard"}) == {"leaderboard"}


def test_one_tag_encodes_one_document_and_leaves_ratings_and_factors_alone(graph):
    tags = graph.raw / "tags.csv"
    tags.write_text(tags.read_text().replace("heist", "slow"))
    before = graph.table("embeddings/minilm")
    looked_at = due_in(graph)
    computed = graph.computed()
    assert computed <= looked_at, "a run of what is due computes all that a run of everything does"
    chosen = {"candidates/stacked_minilm", "shortlists/stacked_minilm"}
    assert not looked_at & {"ratings", "train_ratings", "scores/ease", *chosen}, sorted(looked_at)
    assert {"tags", "movie_documents", "embeddings/minilm", "profiles/minilm", "stackers/stacked_minilm"} <= computed
    assert not computed & {"train_ratings", "factors/pmf", "scores/mf_only", "scores/most_popular"}
    assert not computed & {"stackers/stacked", "scores/stacked"}
    after = graph.table("embeddings/minilm")
    changed = before.join(after, on=["movie_id", "document_key"], how="anti")
    assert changed.height == 1


def test_another_folder_is_another_dataset_until_a_run_has_looked_at_it(graph, tmp_path):
    def why_stale() -> str:
        definitions = build_definitions(graph.catalog, graph.storage)
        return queries.stale_reason(graph.store, recipes_of(definitions.assets), ["leaderboard"])

    assert why_stale() == ""
    shutil.copytree(graph.raw, tmp_path / "elsewhere")
    folder = graph.catalog.folder.model_copy(update={"path": tmp_path / "elsewhere"})
    graph.catalog = graph.catalog.model_copy(update={"folder": folder})
    assert why_stale() == "raw_files: its settings changed"
    assert graph.computed() == {"raw_files"}, "it holds the same"
    assert why_stale() == ""


def test_the_sensor_sees_a_changed_catalog_and_a_table_that_was_deleted(graph, monkeypatch):
    # as if the graph's tables had been made by runs that Dagster knows
    monkeypatch.setattr("hybrid_assets.definitions.materialized", lambda instance, keys: set(keys))
    cursor = None

    def settled_look() -> dg.SensorResult | dg.SkipReason:
        nonlocal cursor
        [sensor] = build_definitions(graph.catalog, graph.storage).sensors
        for _ in range(2):
            context = dg.build_sensor_context(instance=instance, cursor=cursor)
            answer = sensor(context)
            cursor = context.cursor
        return answer

    with dg.DagsterInstance.ephemeral() as instance:
        assert MADE in str(settled_look().skip_message)
        evaluation = graph.catalog.evaluation
        graph.catalog = graph.catalog.model_copy(update={"evaluation": evaluation.model_copy(update={"k": 4})})
        assert isinstance(settled_look(), dg.SensorResult)
        graph.catalog = graph.catalog.model_copy(update={"evaluation": evaluation})
        cursor = None
        assert MADE in str(settled_look().skip_message)
        graph.store.path(dg.AssetKey(["scores", "ease"])).unlink()
        assert isinstance(settled_look(), dg.SensorResult)


def test_a_whitespace_edit_stops_at_the_table_it_is_in(graph):
    ratings = graph.raw / "ratings.csv"
    ratings.write_text(ratings.read_text() + "\n")
    assert graph.computed() == {"raw_files", "ratings"}


def test_a_title_leaves_what_knows_only_of_years_and_genres_alone(graph):
    movies = graph.raw / "movies.csv"
    header, first, *rest = movies.read_text().splitlines()
    title = first.split(",")[1]
    movies.write_text("\n".join([header, first.replace(title, f"Another {title}"), *rest]) + "\n")
    computed = graph.computed()
    assert {"movies", "movie_documents", "embeddings/minilm", "scores/stacked_minilm"} <= computed
    assert not computed & {"stackers/stacked", "scores/stacked", "scores/ease"}
    assert not computed & {"candidates/stacked_minilm", "shortlists/stacked_minilm"}


def test_a_genre_changes_what_lists_are_measured_by(graph):
    movies = graph.raw / "movies.csv"
    header, first, *rest = movies.read_text().splitlines()
    movies.write_text("\n".join([header, first + "|War", *rest]) + "\n")
    assert {"movie_documents", "user_metrics/ease"} <= graph.computed()


def test_a_new_rating_leaves_documents_and_embeddings_alone(graph):
    ratings = graph.raw / "ratings.csv"
    lines = ratings.read_text().splitlines()
    user, movie, _, timestamp = lines[1].split(",")
    seen = {line.split(",")[1] for line in lines if line.split(",")[0] == user}
    other = next(line.split(",")[1] for line in lines[1:] if line.split(",")[1] not in seen)
    ratings.write_text("\n".join([*lines, f"{user},{other},4.5,{timestamp}"]) + "\n")
    assert movie != other
    looked_at = due_in(graph)
    computed = graph.computed()
    assert computed <= looked_at
    assert {"ratings", "factors/pmf", "leaderboard"} <= computed
    assert not computed & {"movies", "movie_documents", "embeddings/minilm"}


def test_a_bad_row_is_named_and_everything_keeps_its_last_good_version(graph):
    ratings = graph.raw / "ratings.csv"
    good = ratings.read_text()
    before = graph.table("leaderboard")
    lines = good.splitlines()
    lines[3] = ",".join([*lines[3].split(",")[:2], "77", "0"])
    ratings.write_text("\n".join(lines) + "\n")
    with pytest.raises(AssertionError, match=r"ratings\.csv.*line 4.*rating"):
        graph.run()
    assert graph.table("leaderboard").equals(before)
    ratings.write_text(good)
    assert graph.computed() == {"raw_files"}, "the file that was restored is the one that was known"


def test_a_setting_computes_what_depends_on_it(graph):
    settings = graph.catalog.model_dump()
    settings["systems"]["mf_minilm_notebook"]["alpha"] = 0.5
    graph.catalog = Catalog.model_validate(settings)
    computed = graph.computed()
    assert computed == {
        *("scores/mf_minilm_notebook", "user_metrics/mf_minilm_notebook", "metrics/mf_minilm_notebook"),
        *("leaderboard", "comparisons", "strata", "report"),
    }


def test_alpha_is_the_weight_of_the_model():
    system = SystemSettings(model="pmf", encoder="minilm", alpha=0.75)
    assert chosen_weights(system, {}) == (0.75, 0.25)
    free = SystemSettings(model="pmf", encoder="minilm")
    assert chosen_weights(free, {"alpha": 0.1}) == (0.1, 0.9)


def test_the_leaderboard_is_the_metrics_of_the_lists(built):
    board = built.table("leaderboard")
    assert sorted(board["system"]) == sorted(built.catalog.systems)
    assert sorted(board.filter(state="materialized")["system"]) == sorted(SYSTEMS)
    assert board.drop_nulls("ndcg")["ndcg"].is_sorted(descending=True)
    for system in SYSTEMS:
        users = built.table(f"user_metrics/{system}")
        row = board.row(by_predicate=pl.col("system") == system, named=True)
        assert row["precision"] == pytest.approx(users["precision"].mean())
        assert row["precision_low"] <= row["precision"] <= row["precision_high"]
        assert row["hits"] == users["hits"].sum()
        assert row["published_precision"] is None, "the paper measured another dataset"


@pytest.mark.parametrize("system", ["ease", "most_popular"])
def test_what_a_list_is_beside_its_hits_by_hand(built, system):
    train, movies, k = built.table("train_ratings"), built.table("movies"), built.catalog.evaluation.k
    users, scores = built.table(f"user_metrics/{system}"), built.table(f"scores/{system}").filter(pl.col("rank") <= k)
    ids = train["movie_id"].unique(maintain_order=True).to_numpy()
    shares, place = genre_shares(movies, ids), {int(movie): row for row, movie in enumerate(ids)}
    counts, everybody = dict(train.group_by("movie_id").len().iter_rows()), train["user_id"].n_unique()
    for row in users.iter_rows(named=True):
        listed = scores.filter(user_id=row["user_id"])["movie_id"].to_list()
        own = train.filter(user_id=row["user_id"])["movie_id"].to_list()
        items = np.array([[place[movie] for movie in listed]])
        rated = (np.array([0, len(own)]), np.array([place[movie] for movie in own]))
        assert row["train_ratings"] == len(own)
        assert row["miscalibration"] == pytest.approx(miscalibration(items, rated, shares)[0])
        assert row["novelty"] == pytest.approx(np.mean([np.log2(everybody / counts[movie]) for movie in listed]))
    told = dict(built.table(f"metrics/{system}").select("metric", "value").iter_rows())
    of_judged = scores.filter(pl.col("user_id").is_in(users["user_id"].implode()))
    assert told["coverage"] == pytest.approx(of_judged["movie_id"].n_unique() / len(ids))


def test_an_encoder_is_judged_by_profiles_of_all_of_train(built):
    profiles, embedded = (built.table(f"{stage}/minilm").lazy() for stage in ("profiles", "embeddings"))
    towers = encoder_towers(profiles, embedded, "train", "liked")
    expected = popularity_matched_auc(towers, built.table("train_ratings"), built.table("test_ratings"), 4.0).mean()
    found = built.table("encoder_metrics/minilm").filter(metric="popularity_matched_auc")["value"].item()
    assert found == pytest.approx(expected)


def test_every_check_passes_on_good_tables_and_is_recorded(built):
    definitions = build_definitions(built.catalog, built.storage)
    declared = definitions.resolve_asset_graph().asset_check_keys
    assert {check.name for check in declared} >= {"no_test_row_in_train", "unit_length", "sound_lists", "not_fallen"}
    for check in declared:
        stamp = built.store.stamp(check.asset_key)
        if stamp is not None and check.name != "above_most_popular":
            assert stamp.checked[check.name] == "", check


def test_a_preview_shows_all_genres_in_their_own_column(graph):
    definitions = build_definitions(graph.catalog, graph.storage)
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize(
            definitions.assets, resources=definitions.resources, instance=instance,
            selection=dg.AssetSelection.assets("raw_files", "movies"),
        )  # fmt: skip
        made = instance.get_latest_materialization_event(dg.AssetKey("movies")).asset_materialization
    first = graph.table("movies").row(0, named=True)
    assert "|" in first["genres"]
    assert first["genres"].replace("|", "\\|") in made.metadata["preview"].value
    assert made.metadata["dataset"].value == "folder"


def test_comparisons_are_those_of_the_users_metrics(built):
    pairs = built.table("comparisons")
    assert pairs.height == len(SYSTEMS) * (len(SYSTEMS) - 1) // 2
    for row in pairs.iter_rows(named=True):
        one, two = (built.table(f"user_metrics/{row[side]}")["ndcg"] for side in ("system", "other"))
        assert row["difference"] == pytest.approx(one.mean() - two.mean())
        assert row["difference"] >= 0
        content = "content" if row["system"].startswith("content_") else "hybrid"
        by_text = "minilm" in row["system"] or row["system"] in ("ease_diverse", "text_ease")
        assert row["kind"] == (content if by_text else "collaborative")


def test_lists_hold_unseen_movies_in_descending_order_and_parts_sum_to_the_score(built):
    train = built.table("train_ratings")
    for system in SYSTEMS:
        scores = built.table(f"scores/{system}")
        assert scores.join(train, on=["user_id", "movie_id"]).is_empty()
        assert scores.select(pl.struct("user_id", "movie_id").is_duplicated().any()).item() is False
        descending = scores.select((pl.col("score").diff().over("user_id") <= 0).all()).item()
        assert descending
        parts = scores.select(pl.sum_horizontal(pl.col("^part_.*$"))).to_series()
        assert (parts - scores["score"]).abs().max() < 1e-5


def test_a_reranked_list_holds_the_movies_of_the_list_it_was_made_from(built):
    plain = built.table("scores/ease")
    for system in RERANKED:
        again = built.table(f"scores/{system}").join(plain, on=["user_id", "movie_id"], suffix="_before", how="full")
        assert again.height == plain.height
        assert (again["rank"] != again["rank_before"]).any()
        assert again["part_ease"].equals(again["part_ease_before"])
        assert again["part_rerank"].max() <= 0


def test_the_report_is_one_page_that_needs_nothing_else(built):
    folder = built.store.path(dg.AssetKey("report"), "")
    page = (folder / "report.html").read_text()
    assert "mf_minilm_notebook" in page
    assert not pl.Series([page]).str.contains(r'(?:src|href)="https?://').item()
    assert (folder / "leaderboard.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_that_was_deleted_is_made_again_and_nothing_else(graph):
    page = graph.store.path(dg.AssetKey("report"), "") / "report.html"
    before = page.read_bytes()
    page.unlink()
    recipes = recipes_of(build_definitions(graph.catalog, graph.storage).assets)
    [behind] = [key for key, verdict in judge(recipes, graph.store).items() if verdict.state == "stale"]
    assert behind == dg.AssetKey("report")
    graph.run(dg.AssetSelection.assets("report"))
    assert page.read_bytes() == before
    assert graph.computed(dg.AssetSelection.assets("report")) == set()


def test_a_file_that_is_replaced_while_a_run_reads_is_not_taken_for_the_one_before(graph):
    graph.run(dg.AssetSelection.assets("raw_files"))
    ratings, before = graph.raw / "ratings.csv", graph.table("ratings")
    ratings.write_text("\n".join(ratings.read_text().splitlines()[:-1]) + "\n")
    graph.store.path(dg.AssetKey("ratings")).unlink()
    with pytest.raises(AssertionError, match=r"ratings\.csv was changed while this run was reading; run again"):
        graph.run(dg.AssetSelection.assets("ratings"))
    graph.run(dg.AssetSelection.assets("ratings").upstream())
    assert graph.table("ratings").height == before.height - 1


@pytest.mark.parametrize("name", ["step", "leaderboard", "train_ratings", "candidates"])
def test_a_system_may_have_the_name_of_an_asset(graph, name):
    settings = graph.catalog.model_dump()
    settings["systems"] = {name: settings["systems"].pop("most_popular"), "ease": settings["systems"]["ease"]}
    settings["cold_start"]["systems"] = []
    graph.catalog = Catalog.model_validate(settings)
    graph.run()
    assert set(graph.table("leaderboard").drop_nulls("ndcg")["system"]) == {name, "ease"}


def test_a_system_that_is_not_materialized_stands_on_the_leaderboard_with_the_reason(graph):
    settings = graph.catalog.model_dump()
    settings["systems"]["popular_minilm"] = {"model": "most_popular", "encoder": "minilm", "fusion": "zscore"}
    graph.catalog = Catalog.model_validate(settings)
    graph.run(dg.AssetSelection.assets("leaderboard"))
    row = graph.table("leaderboard").row(by_predicate=pl.col("system") == "popular_minilm", named=True)
    assert row["ndcg"] is None
    assert "not materialized" in row["state"]
    assert graph.computed() == {
        *("scores/popular_minilm", "user_metrics/popular_minilm", "metrics/popular_minilm"),
        *("leaderboard", "comparisons", "strata", "report"),
    }


def test_cold_start_says_which_encoder_a_systems_model_lacks_or_that_it_has_learnt_too_much(graph):
    settings = graph.catalog.model_dump()
    for encoder in ("smollm2", "minilm_ft"):
        settings["models"][f"by_{encoder}"] = {"algorithm": "text_ease", "encoder": encoder, "refresh": False}
        settings["systems"][f"by_{encoder}"] = {"model": f"by_{encoder}"}
    settings["cold_start"]["systems"] = ["ease", "by_smollm2", "by_minilm_ft", "models_minilm"]
    graph.catalog = Catalog.model_validate(settings)
    minilm = graph.store.path(dg.AssetKey(["embeddings", "minilm"]))
    shutil.copy(minilm, graph.store.path(dg.AssetKey(["embeddings", "minilm_ft"])))  # as if it were there
    assert graph.computed(dg.AssetSelection.assets("cold_start")) == {"cold_start"}
    states = graph.table("cold_start").filter(protocol="people").select("system", "state").unique()
    assert dict(states.iter_rows()) == {
        "ease": "measured",
        "models_minilm": "measured",
        "by_smollm2": "not materialized: hybrid-assets backfill smollm2 --dataset folder",
        "by_minilm_ft": "minilm_ft has learnt from what these users liked",
    }


def test_cold_start_judges_a_learned_system_on_new_people_alone(built):
    rows = built.table("cold_start").filter(pl.col("system") == "stacked_minilm")
    people, movies = rows.filter(pl.col("protocol") == "people"), rows.filter(pl.col("protocol") == "movies")
    assert people["state"].unique().to_list() == ["measured"]
    assert people["known"].to_list() == [1, 3, 5, 10]
    assert movies["state"].unique().to_list() == ["what it has learnt holds for movies that somebody rated"]
    others = built.table("cold_start").filter(pl.col("protocol") == "people", pl.col("state") == "measured")
    assert others["users"].n_unique() == 1, "all systems are judged by the same people"


def test_another_version_of_a_library_encodes_every_document_again(graph, monkeypatch):
    real = incremental.library_version
    monkeypatch.setattr(incremental, "library_version", lambda name: "0.0" if name == "transformers" else real(name))
    encode, encoded = embeddings.encode, []

    def counted(encoder, texts, **options):
        encoded.extend(texts)
        return encode(encoder, texts, **options)

    monkeypatch.setattr(embeddings, "encode", counted)
    before = graph.table("embeddings/minilm")
    selection = dg.AssetSelection.assets("embeddings/minilm", "profiles/minilm")
    assert graph.computed(selection) == {"embeddings/minilm"}, "the same vectors change nothing that is made from them"
    assert len(encoded) == before["document_key"].n_unique()
    assert graph.table("embeddings/minilm").equals(before)


def test_dimensions_that_are_not_the_encoders_are_refused_in_every_run_and_nothing_is_encoded(graph, monkeypatch):
    monkeypatch.setattr(embeddings, "encode", lambda *args, **options: pytest.fail("it encodes"))
    good, before = graph.catalog, graph.table("embeddings/minilm")
    selection = dg.AssetSelection.assets("embeddings/minilm", "profiles/minilm")
    settings = good.model_dump()
    settings["encoders"]["minilm"]["dimensions"] = 300
    graph.catalog = Catalog.model_validate(settings)
    for _ in range(2):
        with pytest.raises(AssertionError, match=r"gives 384 dimensions and the catalog says 300; correct encoders\.m"):
            graph.run(selection)
    recipes = recipes_of(build_definitions(graph.catalog, graph.storage).assets)
    [told] = [it for it in queries.status(recipes, graph.store, recipes, {}) if it["asset"] == "embeddings/minilm"]
    assert told["why"] == ["newer than the table: has_300_dimensions"]
    graph.catalog = good
    assert graph.computed(selection) == set()
    assert graph.table("embeddings/minilm").equals(before)


def test_status_tells_of_damaged_bytes_of_a_table_of_which_a_part_counts(graph):
    file = graph.store.path(dg.AssetKey(["movies"]))
    content = bytearray(file.read_bytes())
    content[4:400] = bytes(396)
    file.write_bytes(content)
    recipes = recipes_of(build_definitions(graph.catalog, graph.storage).assets)
    told = {record["asset"]: record for record in queries.status(recipes, graph.store, recipes, {})}
    assert told["user_metrics/ease"]["state"] == "blocked"
    assert "Delete the file and run again" in str(told["user_metrics/ease"]["why"])
    assert told["scores/ease"]["state"] == "fresh"


def test_status_tells_of_a_damaged_table_and_of_all_others(graph):
    graph.store.path(dg.AssetKey(["factors", "ease"])).write_bytes(b"not parquet")
    recipes = recipes_of(build_definitions(graph.catalog, graph.storage).assets)
    told = {record["asset"]: record for record in queries.status(recipes, graph.store, recipes, {})}
    assert told["factors/ease"]["state"] == told["leaderboard"]["state"] == "blocked"
    assert "Delete the file" in str(told["leaderboard"]["why"])
    assert told["embeddings/minilm"]["state"] == "fresh"
