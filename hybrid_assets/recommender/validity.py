"""What must hold of each table before anything is made from it, as functions that name what does not.

Each takes tables and returns what is wrong in words, "" where nothing is. Belongs here: rules about tables this project
made. Does not: reading people's files, which has errors of its own (datasets/reading.py).
"""

import numpy as np
import polars as pl

from hybrid_assets.recommender.encoders.contrastive_pairs import leaked_pairs
from hybrid_assets.recommender.towers import Ids

NAMED = 5
UNIT_TOLERANCE = 1e-3
ROUNDING = 1e-6
# Of a system's metrics (intervals.MEAN_OF) those that say how many liked movies are found, and how far up.
ACCURACY = ("hits", "precision", "recall", "ndcg", "ndcg_list", "mrr", "map", "hit_rate")


def repeated(table: pl.DataFrame, *columns: str) -> str:
    """Rows whose values of `columns` stand more than once."""
    return _name("stands more than once", table.filter(pl.struct(columns).is_duplicated()), *columns)


def outside(table: pl.DataFrame, column: str, low: float, high: float) -> str:
    """Rows whose value is null, not a number, or not in [low, high]."""
    value = pl.col(column)
    wrong = table.filter(value.is_null() | value.is_nan() | ~value.is_between(low, high))
    return _name(f"{column} is not in [{low:g}, {high:g}]", wrong, *table.columns)


def unknown(table: pl.DataFrame, known: pl.DataFrame, column: str) -> str:
    """Rows whose value of `column` is not in the other table."""
    return _name(f"{column} is unknown", table.join(known, on=column, how="anti", maintain_order="left"), column)


def shared_pairs(table: pl.DataFrame, other: pl.DataFrame) -> str:
    """User-movie pairs that stand in both."""
    pairs = ("user_id", "movie_id")
    return _name("stands in both", table.join(other, on=pairs, how="semi", maintain_order="left"), *pairs)


def not_later(table: pl.DataFrame, before: pl.DataFrame) -> str:
    """Rows that are not later than every row of the other table."""
    latest = before.select(pl.col("timestamp").max()).item()
    wrong = table.filter(pl.col("timestamp") <= pl.lit(latest))
    return _name(f"not later than {latest}", wrong, "user_id", "movie_id", "timestamp")


def before_own_last(table: pl.DataFrame, before: pl.DataFrame) -> str:
    """Rows that are earlier than the last one of the same user in the other table."""
    last = before.group_by("user_id").agg(pl.col("timestamp").max().alias("last"))
    wrong = table.join(last, on="user_id", maintain_order="left").filter(pl.col("timestamp") < pl.col("last"))
    return _name("earlier than the user's last in train", wrong, "user_id", "movie_id", "timestamp")


def shared_users(table: pl.DataFrame, other: pl.DataFrame) -> str:
    """Users who stand in both."""
    both = table.select("user_id").unique(maintain_order=True).join(other, on="user_id", how="semi")
    return _name("user stands in both", both.sort("user_id"), "user_id")


def leaked(pairs: pl.DataFrame, train: pl.DataFrame, cold: Ids) -> str:
    """Contrastive pairs that know a held-out rating, or a movie that encoders are judged by."""
    wrong = leaked_pairs(pairs, train, cold)
    return _name("knows a held-out rating or a cold movie", wrong, "user_id", "anchor_id", "other_id")


def empty_texts(table: pl.DataFrame, column: str) -> str:
    """Rows whose text is null or blank."""
    text = pl.col(column)
    return _name(f"{column} is empty", table.filter(text.is_null() | (text.str.strip_chars() == "")), "movie_id")


def not_unit_length(table: pl.DataFrame) -> str:
    """Rows whose `vector` holds something not finite or is not 1 long."""
    vectors = table["vector"].to_numpy().astype(np.float64)
    length = np.linalg.norm(vectors, axis=1)
    wrong = ~(np.abs(length - 1) <= UNIT_TOLERANCE)  # a length that is not a number is wrong too
    return _name("vector is not of unit length", table.filter(pl.Series(wrong)), *_ids(table))


def degenerate_factors(factors: pl.DataFrame) -> str:
    """Vectors that are not finite, and folds whose item vectors are all the same, which rank nothing."""
    vectors = factors["vector"].to_numpy()
    finite = np.isfinite(vectors)
    if not finite.all():
        return _name("vector is not finite", factors.filter(pl.Series(~finite.all(axis=1))), "fold", "side", "id")
    for fold in factors["fold"].unique(maintain_order=True):
        of_items = vectors[((factors["fold"] == fold) & (factors["side"] == "item")).to_numpy()]
        if len(of_items) > 1 and (of_items == of_items[0]).all():
            return f"all {len(of_items):,} item vectors of fold {fold} are the same, so every movie scores the same"
    return ""


def users_without_profile(profiles: pl.DataFrame, train: pl.DataFrame, threshold: float) -> str:
    """Users who like something in train and have no profile in both readings."""
    liking = train.filter(pl.col("rating") >= threshold).select("user_id").unique(maintain_order=True)
    found = [
        _name(f"no profile of reading {reading!r}", liking.join(of_reading, on="user_id", how="anti"), "user_id")
        for reading in ("liked", "recency")
        for of_reading in [profiles.filter((pl.col("fold") == "train") & (pl.col("reading") == reading))]
    ]
    return "; ".join(filter(None, found))


def wrong_lists(scores: pl.DataFrame, train: pl.DataFrame) -> str:
    """Lists that hold a movie twice or one rated in train, that are out of order, or that are not there."""
    pair = ("user_id", "movie_id")
    wrongs = (
        _name("twice in a list", scores.filter(pl.struct(pair).is_duplicated()), *pair),
        _name("rated in train", scores.join(train, on=pair, how="semi", maintain_order="left"), *pair),
        _out_of_order(scores),
        _users_without_list(scores, train),
    )
    return "; ".join(filter(None, wrongs))


def fallen(metrics: pl.DataFrame, previous: pl.LazyFrame | None, share: float) -> str:
    """Metrics of accuracy (ACCURACY) that lost more than `share` of their last value; nothing without a last one."""
    if previous is None:
        return ""
    both = metrics.filter(pl.col("metric").is_in(ACCURACY)).join(
        previous.collect(), on="metric", suffix="_before", maintain_order="left"
    )
    lost = both.filter(pl.col("value") < pl.col("value_before") * (1 - share) - ROUNDING)
    return "; ".join(
        f"{metric} fell from {before:.4g} to {value:.4g}"
        for metric, before, value in lost.select("metric", "value_before", "value").iter_rows()
    )


def below_floor(leaderboard: pl.DataFrame, floor: str) -> str:
    """Systems that rank worse, by NDCG, than the system `floor`; nothing where that one has no figures."""
    of_floor = leaderboard.filter(pl.col("system") == floor)["ndcg"].to_list()
    if not of_floor or of_floor[0] is None:
        return ""
    worse = leaderboard.filter(pl.col("ndcg") < of_floor[0])["system"].to_list()
    return f"ranked worse than {floor}: {', '.join(worse)}" if worse else ""


def _out_of_order(scores: pl.DataFrame) -> str:
    """Lists whose ranks are not 1, 2, ... or whose scores rise from one rank to the next."""
    scores = scores.sort("user_id", "rank")
    ranks = pl.int_range(1, pl.len() + 1).over("user_id")
    wrong = scores.filter((pl.col("rank") != ranks) | (pl.col("score").diff().over("user_id") > 0))
    return _name("rank or score out of order", wrong, "user_id", "rank")


def _users_without_list(scores: pl.DataFrame, train: pl.DataFrame) -> str:
    """Users who have movies of train left to see, and no list."""
    movies = train["movie_id"].n_unique()
    users = train.group_by("user_id", maintain_order=True).agg(pl.col("movie_id").n_unique().alias("rated"))
    with_movies_left = users.filter(pl.col("rated") < movies)
    return _name("no list", with_movies_left.join(scores, on="user_id", how="anti", maintain_order="left"), "user_id")


def _ids(table: pl.DataFrame) -> list[str]:
    return [column for column in table.columns if column.endswith("id") or column in ("fold", "reading")]


def _name(problem: str, rows: pl.DataFrame, *columns: str) -> str:
    if rows.is_empty():
        return ""
    shown = [
        ", ".join(f"{column} {value}" for column, value in row.items())
        for row in rows.select(columns).head(NAMED).iter_rows(named=True)
    ]
    more = f" and {rows.height - NAMED:,} more" if rows.height > NAMED else ""
    return f"{problem} in {rows.height:,} row{'s' if rows.height > 1 else ''}: {' | '.join(shown)}{more}"
