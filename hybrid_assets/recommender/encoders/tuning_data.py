"""Tables to what fine-tuning takes: indices in place of ids, and the held-out likes an encoder is judged on.

Belongs here: that conversion, with polars. Does not: the training (tuning.py), which runs without polars.
"""

import numpy as np
import polars as pl

from hybrid_assets.recommender.encoders.contrastive_pairs import PairReading
from hybrid_assets.recommender.encoders.tuning import TuningData, Validation
from hybrid_assets.recommender.tables import fold_of
from hybrid_assets.recommender.towers import Ids, TowerPair, finder, positions

# Which of the paper's readings each loss learns from.
READING_OF: dict[str, PairReading] = {
    "multiple_negatives": "notebook",
    "multiple_negatives_cached": "notebook",
    "co_like": "notebook",
    "contrastive": "text",
    "alignment": "notebook",
}
# Validation during training is a seeded sample, so that it costs seconds.
VALIDATION_USERS = 200
VALIDATION_MOVIES = 1000
HISTORY = 20


def tuning_data(
    documents: pl.DataFrame,
    pairs: pl.DataFrame,
    train: pl.DataFrame,
    *,
    loss: str,
    liked: float,
    towers: TowerPair | None,
    cold: Ids,
) -> TuningData:
    """What an encoder learns from, of the part of train without validation, and never from a cold movie.

    Args:
        documents: `movie_id`, `document`.
        pairs: from `contrastive_pairs`.
        train: train ratings with the column `validation`.
        loss: decides which reading of the pairs is taken.
        liked: a rating of at least this is liked.
        towers: a model fitted on train without validation, for the loss `alignment`.
        cold: movies that nothing may be learnt from.

    Raises:
        ValueError: a pair holds a cold movie.
    """
    movie_ids = documents["movie_id"].to_numpy()
    chosen = pairs.filter(pl.col("reading") == READING_OF[loss])
    likes = fold_of(train, "fit").filter(pl.col("rating") >= liked)
    user_ids = np.unique(likes["user_id"].to_numpy())
    learnt = None if towers is None else ~np.isin(towers.item_ids, cold)
    data = TuningData(
        documents=documents["document"].to_list(),
        users=positions(user_ids, chosen["user_id"].to_numpy()),
        anchors=positions(movie_ids, chosen["anchor_id"].to_numpy()),
        others=positions(movie_ids, chosen["other_id"].to_numpy()),
        labels=chosen["label"].to_numpy().astype(np.int64),
        liked_users=positions(user_ids, likes["user_id"].to_numpy()),
        liked_movies=positions(movie_ids, likes["movie_id"].to_numpy()),
        factor_movies=None if towers is None else positions(movie_ids, towers.item_ids[learnt]),
        factors=None if towers is None else towers.item_vectors[learnt],
    )
    learnt_from = [data.anchors, data.others, *([] if data.factor_movies is None else [data.factor_movies])]
    leaked = np.intersect1d(movie_ids[np.concatenate(learnt_from)], cold)
    if len(leaked):
        raise ValueError(f"{len(leaked)} cold movies would be learnt from, the first {leaked[0]}")
    return data


def validation_likes(
    documents: pl.DataFrame, train: pl.DataFrame, *, liked: float, k: int, seed: int
) -> Validation | None:
    """A seeded sample of users with likes in both parts of train, and of the movies that are ranked for them.

    Args:
        documents: `movie_id`, `document`.
        train: train ratings with the column `validation`.
        liked: a rating of at least this is liked.
        k: cutoff.
        seed: of the sample.

    Returns:
        None where no user liked a movie in both parts.
    """
    movie_ids = documents["movie_id"].to_numpy()
    likes, rated = pl.col("rating") >= liked, fold_of(train, "fit")
    rated_by, learnt, held_out = (
        dict(rows.group_by("user_id", maintain_order=True).agg("movie_id").iter_rows())
        for rows in (rated, rated.filter(likes), train.filter(likes & pl.col("validation")))
    )
    users = sorted(set(learnt) & set(held_out))
    if not users:
        return None
    place, generator = finder(movie_ids), np.random.default_rng(seed)
    users = sorted(generator.permutation(users)[:VALIDATION_USERS].tolist())
    histories = [place(generator.permutation(learnt[user])[:HISTORY]) for user in users]
    relevant = [place(np.array(held_out[user])) for user in users]
    others = generator.permutation(len(movie_ids))[:VALIDATION_MOVIES]
    candidates = np.unique(np.concatenate([*histories, *relevant, others]))
    rated_candidates = [np.intersect1d(place(np.array(rated_by[user])), candidates) for user in users]
    return Validation(histories, rated_candidates, relevant, candidates, k)
