"""Learned fusions for people who are not in the ratings: what they are taught by, and how they rank.

A fusion that was taught by users with all their ratings trusts the branches as far as these know such users; of
somebody with three ratings they know little. So it is taught anew by users who leave the ratings whole and come back
with a few. Belongs here: those users, what is known of them, lists. Does not: learning itself (stacking.py, gate.py).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.cold_start import ColdSplit, cold_split
from hybrid_assets.recommender.learned.context import Films
from hybrid_assets.recommender.learned.examples import examples, with_contents
from hybrid_assets.recommender.learned.features import Aligned, Known, content_features, shortlists
from hybrid_assets.recommender.learned.learned_ranking import LearnedFusion, learned_ranking
from hybrid_assets.recommender.models.fold_in import UserOf
from hybrid_assets.recommender.newcomers import NOBODY, Arrivals, NewcomerSystem, arrive
from hybrid_assets.recommender.profiles import centred
from hybrid_assets.recommender.ranking import Ranking
from hybrid_assets.recommender.split import drawn_ids
from hybrid_assets.recommender.systems import Candidates
from hybrid_assets.recommender.towers import Ids, TowerPair, Vectors, align, positions

Models = Mapping[str, tuple[UserOf, TowerPair]]
Embeddings = Mapping[str, tuple[Ids, Vectors]]


def leave_out(train: pl.DataFrame, share: float, seed: int) -> ColdSplit | None:
    """Users who leave train whole, to come back as new people; None where that is nobody, or everybody."""
    ids = train["user_id"].unique().sort().to_numpy()
    users = drawn_ids(ids, share, seed)
    if len(users) in (0, len(ids)):
        return None
    return cold_split(train, train.clear(), users=users, movies=NOBODY, seed=seed)


def newcomer_examples(models: Models, films: Films, left_out: ColdSplit, known: int, size: int) -> pl.DataFrame:
    """Candidates of those left out when `known` of their ratings are folded in, marked by their other ratings.

    Args:
        models: fold-in and vectors, fitted on the ratings of the others.
        films: what the others' ratings tell of films.
        left_out: who left.
        known: how many of their ratings are known, at random.
        size: candidates of each.

    Returns:
        As `examples.examples`.
    """
    given, wanted = _divided(left_out, known)
    pool, branches, _ = _arriving(models, {}, films.item_ids, films.threshold)(given, None)
    return examples(Known(given, pool, films, branches), wanted, size)


def with_newcomer_contents(
    taught: pl.DataFrame,
    embeddings: Embeddings,
    left_out: ColdSplit,
    known: int,
    threshold: float,
    text_models: Models | None = None,
) -> pl.DataFrame:
    """`newcomer_examples` with what the texts tell of them.

    Args:
        taught: the examples.
        embeddings: encoder -> movies and their unit vectors.
        left_out: whose they are.
        known: as they were made with.
        threshold: a rating of at least this is liked.
        text_models: fold-in and vectors of the models that read texts, fitted on the ratings of the others.

    Raises:
        ValueError: a rated film has no text.
    """
    given, _ = _divided(left_out, known)
    rated = left_out.warm["movie_id"].unique(maintain_order=True).to_numpy()
    pool, told, contents = _arriving(text_models or {}, embeddings, rated, threshold)(given, None)
    return with_contents(taught, given, pool, contents, threshold, told)


def learned_newcomer_system(
    models: Models,
    embeddings: Embeddings,
    films: Films,
    *,
    few: LearnedFusion,
    many: LearnedFusion,
    most_few: int,
    choosing: Sequence[str],
    size: int,
    explained: int,
) -> NewcomerSystem:
    """A system of learned fusion over the films that somebody rated.

    A newcomer is described as a user of the data is: by their own ratings, among the films as everybody rated them.

    Args:
        models: collaborative branches: fold-in and vectors.
        embeddings: content branches.
        films: what everybody's ratings tell of films.
        few: what was learned by new people with few ratings.
        many: what was learned by users of the data.
        most_few: the largest number of ratings that are few.
        choosing: names of the models that choose the candidates.
        size: candidates of each newcomer; a list is no longer.
        explained: of how many, from the first on, the parts of the score are computed.

    Raises:
        ValueError: a film has no vector.
    """
    arriving = _arriving(models, embeddings, films.item_ids, films.threshold)

    def lists(ratings: pl.DataFrame, k: int, *, seen: pl.DataFrame | None = None) -> tuple[Ranking, Candidates]:
        pool, branches, contents = arriving(ratings, seen)
        chosen = shortlists(Known(ratings, pool, films, {name: branches[name] for name in choosing}), size)
        text_models = {name: sides for name, sides in branches.items() if name not in choosing}
        told = content_features(ratings, pool, contents, films.threshold, text_models)
        row = positions(pool.user_ids, ratings["user_id"].to_numpy())
        has_few = np.bincount(row, minlength=len(pool.user_ids)) <= most_few
        if has_few.all() or not has_few.any():
            fusion = few if has_few.all() else many
            return learned_ranking(fusion, chosen, pool, told, k, explained=explained), pool
        of_few, of_many = (
            learned_ranking(fusion, chosen, pool, told, k, explained=explained) for fusion in (few, many)
        )
        return _by_user(has_few, of_few, of_many), pool

    return lists


def _by_user(first: npt.NDArray[np.bool_], one: Ranking, other: Ranking) -> Ranking:
    """The lists of `one` for the users in `first`, those of the other for the rest."""

    def chosen(ones: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.where(first[:, None], ones, others)

    own, parts = (
        {name: chosen(values, others[name]) for name, values in ones.items()}
        for ones, others in ((one.branch_scores, other.branch_scores), (one.branch_parts, other.branch_parts))
    )
    return Ranking(chosen(one.items, other.items), chosen(one.scores, other.scores), own, parts)


def _divided(left_out: ColdSplit, known: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What those who were left out bring, and the rest of their ratings."""
    is_known = pl.col("place") < known
    return left_out.of_users.filter(is_known), left_out.of_users.filter(~is_known)


def _arriving(
    models: Models, embeddings: Embeddings, item_ids: Ids, threshold: float
) -> Callable[[pl.DataFrame, pl.DataFrame | None], tuple[Candidates, dict[str, Aligned], dict[str, Aligned]]]:
    """(ratings, seen) of newcomers -> they and the candidates `item_ids`; collaborative and content branches."""
    items = {
        name: align(pair.item_ids, pair.item_vectors, item_ids, missing="refuse") for name, (_, pair) in models.items()
    }
    texts = {name: centred(*embedded, item_ids) for name, embedded in embeddings.items()}
    folds_in = {name: user_of for name, (user_of, _) in models.items()}
    arrivals = Arrivals(
        item_ids, folds_in, {name: (item_ids, vectors) for name, vectors in texts.items()}, "liked", threshold
    )

    def branches(
        ratings: pl.DataFrame, seen: pl.DataFrame | None
    ) -> tuple[Candidates, dict[str, Aligned], dict[str, Aligned]]:
        vectors, pool = arrive(arrivals, ratings, seen)
        collaborative, content = (
            {name: (vectors[name], of_items) for name, of_items in sides.items()} for sides in (items, texts)
        )
        return pool, collaborative, content

    return branches
