"""What a learned fusion is taught: candidates with what was known of them, marked by ratings that were held out.

Belongs here: folds of train, and examples. Does not: candidates and their features (features.py), fitting the
branches (learned_systems.py), learning (stacking.py, gate.py).
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from hybrid_assets.recommender.learned.features import Aligned, Block, Known, candidate_blocks, content_features, named
from hybrid_assets.recommender.systems import Candidates
from hybrid_assets.recommender.towers import Index, positions

# How many examples a row stands for: a column of what teaches.
STANDS_FOR = "stands_for"


def cross_folds(train: pl.DataFrame, folds: int, seed: int) -> Index:
    """Fold of each train rating: each user's ratings, shuffled, are dealt out evenly from a random fold on.

    Every fold is held out once, and the branches fitted on the others have not seen it.
    """
    generator = np.random.default_rng(seed)
    _, user = np.unique(train["user_id"].to_numpy(), return_inverse=True)
    order = np.lexsort((generator.random(len(user)), user))
    counts = np.bincount(user)
    place = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    fold = np.empty(len(user), dtype=np.int64)
    fold[order] = (place + np.repeat(generator.integers(0, folds, len(counts)), counts)) % folds
    return fold


def examples(known: Known, held_out: pl.DataFrame, size: int) -> pl.DataFrame:
    """The candidates from `known` with what models and context tell of them, marked by the held-out ratings.

    Users without a hit teach nothing and are left out.

    Returns:
        `user_id`, `movie_id`, `hit` (1 where the held-out ratings like the film, else 0), a column a feature; a user's
        candidates stand together.
    """
    pool = known.pool
    liked = held_out.filter(pl.col("rating") >= known.films.threshold)
    rows = positions(pool.user_ids, liked["user_id"].to_numpy())
    items = positions(pool.item_ids, liked["movie_id"].to_numpy())
    width = len(pool.item_ids)
    wanted = (rows * width + items)[(rows >= 0) & (items >= 0)]

    def marked(block: Block) -> pl.DataFrame:
        hit = np.isin(block.users * width + block.items, wanted)
        rows = named(block, pool).insert_column(2, pl.Series("hit", hit.astype(np.int8)))
        return rows.filter(np.isin(block.users, block.users[hit]))

    return pl.concat(candidate_blocks(known, size, marked))


def drawn_negatives(taught: pl.DataFrame, count: int, draws: np.random.Generator) -> pl.DataFrame:
    """The examples with a hit, and `count` of each user's others, drawn at random: all where there are no more.

    Trees learn as much from half of them as from all, in half the time; a gate needs to be told how many it does not
    see (docs/results.md).

    Returns:
        The same columns, and behind `hit` STANDS_FOR, how many examples a row stands for: 1, or more where others were
        not drawn.
    """
    others, is_hit = pl.len().over("user_id", "hit"), pl.col("hit") == 1
    return (
        taught.with_columns(
            pl.when(is_hit).then(1.0).otherwise((others / count).clip(1.0)).cast(pl.Float32).alias(STANDS_FOR),
            pl.Series("draw", draws.permutation(taught.height)),
        )
        .filter(is_hit | (pl.col("draw").rank("ordinal").over("user_id", "hit") <= count))
        .select("user_id", "movie_id", "hit", STANDS_FOR, pl.exclude("user_id", "movie_id", "hit", STANDS_FOR, "draw"))
    )


def with_contents(
    taught: pl.DataFrame,
    ratings: pl.DataFrame,
    pool: Candidates,
    contents: Mapping[str, Aligned],
    threshold: float,
    text_models: Mapping[str, Aligned] | None = None,
) -> pl.DataFrame:
    """Examples with what the texts tell of them (`content_features`, whose arguments these are)."""
    users, items = (
        positions(ids, taught[name].to_numpy())
        for ids, name in ((pool.user_ids, "user_id"), (pool.item_ids, "movie_id"))
    )
    return taught.with_columns(**content_features(ratings, pool, contents, threshold, text_models)(users, items))
