"""How good an encoder's space is for recommending, apart from any list: what the leaderboard cannot show.

Belongs here: measures of user profiles against item embeddings. Does not: the metrics of ranked lists (metrics.py).
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from hybrid_assets.recommender.fusion import identity
from hybrid_assets.recommender.intervals import mean_with_interval
from hybrid_assets.recommender.metrics import ndcg
from hybrid_assets.recommender.ranking import Branch, rank
from hybrid_assets.recommender.systems import Candidates, candidates, items_by_user, items_of, relevant_items
from hybrid_assets.recommender.tables import profiles_of
from hybrid_assets.recommender.towers import Ids, TowerPair, Values, Vectors, align, finder

# Negatives of a liked movie: the unrated ones nearest to it in popularity.
NEGATIVES = 20


def popularity_matched_auc(towers: TowerPair, train: pl.DataFrame, test: pl.DataFrame, threshold: float) -> Values:
    """For each user, how often a liked test movie scores above an unrated one that is as popular; chance is 0.5.

    Each liked test movie is compared with the NEGATIVES movies next to it in the order of train ratings that the user
    rated neither in train nor in test, as many before as after it: near either end fewer, at the end none. Equal scores
    count half. So a space that only knows what is popular gets 0.5.

    Args:
        towers: profiles and embeddings.
        train: train ratings.
        test: test ratings.
        threshold: a test rating of at least this is liked.

    Returns:
        (users,) in [0, 1], of the users with a profile and a liked test movie that occurs in train and is at no end.
    """
    pool = candidates(train)
    by_popularity = np.argsort(pool.item_counts, kind="stable")
    place = np.empty_like(by_popularity)
    place[by_popularity] = np.arange(len(by_popularity))
    items = align(towers.item_ids, towers.item_vectors, pool.item_ids, missing="refuse")
    both = pl.concat([rows.select("user_id", "movie_id", "rating") for rows in (train, test)])
    rated = dict(both.group_by("user_id").agg("movie_id").iter_rows())
    liked = test.filter((pl.col("rating") >= threshold) & pl.col("movie_id").is_in(pool.item_ids.tolist()))
    user_place, item_place = finder(towers.user_ids), finder(pool.item_ids)
    of_users = []
    for user, movies in liked.group_by("user_id", maintain_order=True).agg("movie_id").sort("user_id").iter_rows():
        row = user_place(np.array([user]))[0]
        if row < 0:
            continue
        scores = items @ towers.user_vectors[row]
        known = np.isin(pool.item_ids, rated[user])
        unrated = by_popularity[~known[by_popularity]]
        at = place[unrated]
        wins = []
        for item in item_place(np.array(movies)):
            middle = int(np.searchsorted(at, place[item]))
            half = min(NEGATIVES // 2, middle, len(unrated) - middle)
            others = scores[unrated[middle - half : middle + half]]
            if len(others):
                wins.append(np.mean((scores[item] > others) + 0.5 * (scores[item] == others)))
        if wins:
            of_users.append(np.mean(wins))
    return np.array(of_users)


def cold_ndcg(
    embedded_ids: Ids,
    embeddings: Vectors,
    cold: Ids,
    train: pl.DataFrame,
    test: pl.DataFrame,
    *,
    threshold: float,
    k: int,
) -> Values:
    """For each user, NDCG@k among movies that no encoder learnt from; a new movie is in the same place.

    Candidates are the cold movies that the user has not rated in train; relevant are those rated at least `threshold`
    in test. Profiles are made of the other movies only.

    Args:
        embedded_ids: (m,) movies.
        embeddings: (m, d) their unit vectors.
        cold: movies left out of all pairs.
        train: train ratings.
        test: test ratings.
        threshold: liked.
        k: cutoff.

    Returns:
        (users,) in [0, 1], of the users with a profile and a relevant cold movie.
    """
    warm = train.filter(~pl.col("movie_id").is_in(cold.tolist()))
    user_ids, profiles = profiles_of(warm, "liked", threshold, embedded_ids, embeddings)
    pool = Candidates(user_ids, cold, items_by_user(train, user_ids, cold))
    judged, relevant = relevant_items(test, pool, threshold)
    if len(judged) == 0:
        return np.empty(0)
    vectors = align(embedded_ids, embeddings, cold, missing="refuse")
    content = Branch("content", profiles[judged], vectors, identity, 1.0)
    return ndcg(rank([content], items_of(pool.seen, judged), k).items, relevant)


def encoder_metric_table(values: Mapping[str, Values], *, resamples: int, confidence: float, seed: int) -> pl.DataFrame:
    """`metric`, `value`, `low`, `high`, `users`: means over users with their percentile bootstrap intervals.

    A metric without a user has nulls.
    """
    rows = []
    for metric, of_users in values.items():
        value, low, high = mean_with_interval(of_users, seed=seed, resamples=resamples, confidence=confidence)
        rows.append({"metric": metric, "value": value, "low": low, "high": high, "users": len(of_users)})
    schema = {"metric": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64, "users": pl.Int64}
    return pl.DataFrame(rows, schema=schema)
