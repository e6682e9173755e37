"""The kinds of split in the graph: each from the files to the leaderboard, its promises recorded as checks."""

from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from hybrid_assets.catalog import Catalog

SYSTEMS = ["most_popular", "ease", "mf_minilm"]
PROMISES = {
    "leave_last_out": {"test_users_in_train", "test_last_of_user"},
    "temporal": {"test_later_than_all"},
    "user_folds": {"test_users_in_train", "validation_users_not_in_test"},
}


def split_by(catalog: Catalog, **split: object) -> Catalog:
    settings = catalog.model_dump()
    settings["split"] |= split
    settings["cold_start"]["systems"] = []
    settings["systems"] = {name: settings["systems"][name] for name in SYSTEMS}
    settings["evaluation"]["relevance_threshold"] = 3.0
    # chosen on validation where that has something to choose by
    settings["systems"]["mf_minilm"]["alpha"] = 0.9 if split["kind"] == "temporal" else None
    return Catalog.model_validate(settings)


def spread_over_time(ratings: Path) -> None:
    """Users of MovieLens rate in one sitting; here each comes back again and again, so that one moment divides all."""
    table = pl.read_csv(ratings)
    visit = pl.col("timestamp").rank("ordinal").over("userId")
    table.with_columns(timestamp=visit.cast(pl.Int64) * 1000 + pl.col("userId")).write_csv(ratings)


@pytest.mark.parametrize("kind", list(PROMISES))
def test_a_split_is_judged_end_to_end_and_keeps_its_promise(graph, kind):
    of_folds = {"folds": 3, "fold": 1} if kind == "user_folds" else {}
    graph.catalog = split_by(graph.catalog, kind=kind, test_share=0.3, **of_folds)
    before = graph.table("test_ratings")
    spread_over_time(graph.raw / "ratings.csv")
    graph.run(dg.AssetSelection.assets("report").upstream())
    train, test = graph.table("train_ratings"), graph.table("test_ratings")
    assert not test.equals(before)
    assert pl.concat([train.drop("validation"), test]).height == graph.table("ratings").height
    stamp = graph.store.stamp(dg.AssetKey("test_ratings"))
    assert set(stamp.checked) == PROMISES[kind] | {"no_test_row_in_train"}
    assert not any(stamp.checked.values())
    board = graph.table("leaderboard")
    assert set(board.drop_nulls("ndcg")["system"]) == set(SYSTEMS)
    assert set(board["split"]) == {graph.catalog.split.in_words}
    judged = graph.table("user_metrics/ease")["user_id"]
    assert 0 < judged.len() <= test["user_id"].n_unique()
    assert set(judged) <= set(test["user_id"])


def test_a_broken_promise_keeps_the_last_good_table(graph, monkeypatch):
    graph.catalog = split_by(graph.catalog, kind="temporal")
    before = graph.table("train_ratings")

    def by_chance(ratings: pl.DataFrame, **settings: object) -> tuple[pl.DataFrame, pl.DataFrame]:
        return ratings.with_columns(validation=pl.int_range(pl.len()) % 7 == 0), ratings.head(0)

    monkeypatch.setattr("hybrid_assets.assets.split.split_ratings", by_chance)
    with pytest.raises(AssertionError, match=r"validation_later_than_all: not later than \d+ in \d+ rows: user_id"):
        graph.run(dg.AssetSelection.assets("train_ratings"))
    assert graph.table("train_ratings").equals(before)


def test_by_time_documents_know_no_tag_of_later_than_train(graph):
    graph.catalog = split_by(graph.catalog, kind="temporal", test_share=0.3)
    spread_over_time(graph.raw / "ratings.csv")
    graph.run(dg.AssetSelection.assets("train_ratings").upstream())
    last = graph.table("train_ratings")["timestamp"].max()
    movie = graph.table("movies")["movie_id"][0]
    (graph.raw / "tags.csv").write_text(
        f"userId,movieId,tag,timestamp\n1,{movie},attheend,{last}\n1,{movie},afterwards,{last + 1}\n"
    )
    graph.run(dg.AssetSelection.assets("movie_documents").upstream())
    documents = " ".join(graph.table("movie_documents")["document"])
    assert "attheend" in documents
    assert "afterwards" not in documents
    by_time, graph.catalog = graph.catalog, split_by(graph.catalog, kind="random")
    graph.run(dg.AssetSelection.assets("movie_documents").upstream())
    assert "afterwards" in " ".join(graph.table("movie_documents")["document"])
    graph.catalog = by_time
    (graph.raw / "tags.csv").write_text(f"userId,movieId,tag\n1,{movie},whenever\n")
    with pytest.raises(AssertionError, match="the tags have no times"):
        graph.run(dg.AssetSelection.assets("movie_documents").upstream())
