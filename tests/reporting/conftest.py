"""Small plausible tables for the reports: six systems, one of them without results, and a dozen users."""

import numpy as np
import polars as pl
import pytest

from hybrid_assets.recommender.comparison import compare
from hybrid_assets.recommender.strata import strata_table

METRIC_NAMES = [
    "hits",
    "precision",
    "recall",
    "ndcg",
    "ndcg_list",
    "mrr",
    "map",
    "hit_rate",
    "coverage",
    "novelty",
    "diversity",
    "popularity_bias",
    "miscalibration",
]
PUBLISHED = {"mf_only": (0.049, 0.088, 0.277), "mf_qwen3_4b_lora": (0.056, 0.106, 0.305)}
# system -> NDCG, precision, recall, list-NDCG, coverage; None: no results.
RESULTS = {
    "ease": (0.3261, 0.1582, 0.3363, 0.5521, 0.081),
    "most_popular": (0.1705, 0.0934, 0.1783, 0.3902, 0.013),
    "mf_minilm": (0.1012, 0.0551, 0.1021, 0.2912, 0.205),
    "mf_only": (0.0888, 0.0493, 0.0883, 0.2768, 0.184),
    "random": (0.0029, 0.0021, 0.0031, 0.0162, 0.81),
    "mf_qwen3_4b_lora": None,
}


def leaderboard_row(system: str, results: tuple[float, ...] | None, state: str) -> dict[str, object]:
    row: dict[str, object] = {
        "system": system,
        "state": state,
        "dataset": "ml-latest-small",
        "split": "random per user, 0.2 test, seed 42",
        "k": 25,
        "users": None if results is None else 600,
    }
    values: dict[str, float] = {}
    if results is not None:
        ndcg, precision, recall, ndcg_list, coverage = results
        values = {"hits": round(precision * 15000), "precision": precision, "recall": recall, "ndcg": ndcg}
        values |= {"ndcg_list": ndcg_list, "mrr": 0.31, "map": 0.07, "hit_rate": 0.62, "coverage": coverage}
        values |= {"novelty": 2.9, "diversity": 0.72, "popularity_bias": 1.4, "miscalibration": 0.4}
    for metric in METRIC_NAMES:
        value = values.get(metric)
        row[metric] = value
        row[f"{metric}_low"] = None if value is None else value * 0.94
        row[f"{metric}_high"] = None if value is None else value * 1.06
    for name, value in zip(("precision", "recall", "ndcg_list"), PUBLISHED.get(system, (None,) * 3), strict=True):
        row[f"published_{name}"] = value
    return row


def leaderboard_of(rows: list[dict[str, object]]) -> pl.DataFrame:
    texts, counts = ("system", "state", "dataset", "split"), ("k", "users")
    schema = {name: pl.String if name in texts else pl.Int64 if name in counts else pl.Float64 for name in rows[0]}
    return pl.DataFrame(rows, schema=schema)


# Frames cannot be changed in place, so one of each serves all tests.
@pytest.fixture(scope="session")
def leaderboard() -> pl.DataFrame:
    return leaderboard_of(
        [
            leaderboard_row(system, results, "needs a GPU" if results is None else "materialized")
            for system, results in RESULTS.items()
        ]
    )


@pytest.fixture(scope="session")
def without_published(leaderboard: pl.DataFrame) -> pl.DataFrame:
    return leaderboard.with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in leaderboard.columns if "publ" in name
    )


@pytest.fixture(scope="session")
def unmeasured(leaderboard: pl.DataFrame) -> pl.DataFrame:
    """Nothing has results yet."""
    return leaderboard.filter(pl.col("ndcg").is_null())


@pytest.fixture(scope="session")
def user_metrics() -> dict[str, pl.DataFrame]:
    """40 users with 10, 20, .. 400 train ratings, so five bins of eight."""
    users = pl.DataFrame({"user_id": range(1, 41)}).with_columns((pl.col("user_id") * 10).alias("train_ratings"))
    return {
        system: users.with_columns(
            (pl.lit(results[0]) * (1 + pl.col("user_id") % 3) / 2).alias("ndcg"),
            (pl.lit(results[2]) * (1 + pl.col("user_id") % 5) / 3).alias("recall"),
            *(pl.lit(4).alias(f"relevant_{stratum}") for stratum in ("head", "middle", "tail")),
            *(
                (pl.col("user_id") % 5 < results[2] * 5 - place).cast(pl.Int64).alias(f"hits_{stratum}")
                for place, stratum in enumerate(("head", "middle", "tail"))
            ),
        )
        for system, results in RESULTS.items()
        if results is not None
    }


TITLES = {
    1: "Heat (1995)",
    2: "Donnie Darko (2001)",
    3: "Requiem for a Dream (2000)",
    4: "<script>alert(1)</script> (1999)",
    5: "Toy Story (1995)",
    6: "Tom & Jerry (1992)",
    7: "Fight Club (1999)",
    8: "Memento (2000)",
}


@pytest.fixture(scope="session")
def movies() -> pl.DataFrame:
    return pl.DataFrame({"movie_id": list(TITLES), "title": list(TITLES.values()), "genres": "Drama"})


def ratings_of(rows: list[tuple[int, int, float]]) -> pl.DataFrame:
    """user, movie, rating; later rows are more recent."""
    return pl.DataFrame(rows, schema=["user_id", "movie_id", "rating"], orient="row").with_columns(
        pl.col("rating").cast(pl.Float32), pl.int_range(pl.len()).alias("timestamp")
    )


@pytest.fixture(scope="session")
def train_ratings() -> pl.DataFrame:
    """Train ratings per user: 1 has 2, 2 has 3, 3 has 4, 4 has 5, 5 has 1 (but no relevant test movie)."""
    return ratings_of(
        [
            *[(1, 5, 4.0), (1, 6, 3.0)],
            *[(2, 1, 5.0), (2, 2, 4.5), (2, 4, 5.0)],
            *[(3, 1, 4.0), (3, 5, 2.0), (3, 6, 3.5), (3, 7, 5.0)],
            *[(4, 1, 2.0), (4, 2, 1.0), (4, 3, 3.0), (4, 5, 5.0), (4, 8, 4.0)],
            (5, 7, 5.0),
        ]
    )


@pytest.fixture(scope="session")
def test_ratings() -> pl.DataFrame:
    return ratings_of([(1, 8, 4.0), (2, 7, 5.0), (2, 8, 2.0), (3, 8, 4.5), (4, 7, 4.0), (5, 1, 3.5)])


@pytest.fixture(scope="session")
def scores() -> dict[str, pl.DataFrame]:
    """Two systems that list two or three movies for every user."""

    def listing(movie_ids: list[int]) -> pl.DataFrame:
        ranks = pl.Series(range(1, len(movie_ids) + 1), dtype=pl.UInt32)
        one = pl.DataFrame({"rank": ranks, "movie_id": movie_ids, "score": [1.0 / rank for rank in ranks]})
        return pl.concat([one.select(pl.lit(user).alias("user_id"), pl.all()) for user in (1, 2, 3, 4, 5)])

    return {"ease": listing([7, 8, 4]), "most_popular": listing([5, 7])}


@pytest.fixture(scope="session")
def comparisons(user_metrics: dict[str, pl.DataFrame]) -> pl.DataFrame:
    kinds = {"ease": "collaborative", "mf_minilm": "hybrid", "mf_only": "collaborative"}
    values = {system: user_metrics[system]["ndcg"].to_numpy() for system in kinds}
    return compare(values, seed=0, resamples=200, confidence=0.95).with_columns(
        pl.col("system").replace_strict(kinds).alias("kind"), pl.col("other").replace_strict(kinds).alias("other_kind")
    )


@pytest.fixture(scope="session")
def strata(user_metrics: dict[str, pl.DataFrame]) -> pl.DataFrame:
    return strata_table(user_metrics, np.array([90, 50, 40, 9, 1]), seed=0, resamples=100, confidence=0.95)


COLD_START_KINDS = {"ease": "collaborative", "content": "content", "both": "hybrid"}


@pytest.fixture(scope="session")
def cold_start() -> pl.DataFrame:
    """The table of both protocols."""
    made = []
    for place, (system, kind) in enumerate(COLD_START_KINDS.items(), start=1):
        keys = [("movies", "cold", None), ("movies", "all", None), ("people", "warm", 1), ("people", "warm", 5)]
        for protocol, candidates, known in keys:
            value = 0.1 * place if system != "content" or protocol == "movies" else None
            made.append(
                {"protocol": protocol, "candidates": candidates, "system": system, "kind": kind, "known": known}
                | {"users": None if value is None else 12, "state": "measured" if value else "has [learnt] too much"}
                | {f"{metric}{end}": value and value + add for metric in ("ndcg", "recall")
                   for end, add in (("", 0), ("_low", -0.01), ("_high", 0.01))}
            )  # fmt: skip
    return pl.DataFrame(made)
