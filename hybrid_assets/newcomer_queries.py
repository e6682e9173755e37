"""Lists for somebody who is not in the data: their ratings from a file or a conversation, folded into a system.

Belongs here: loading a system for newcomers, reading and asking for ratings. Does not: the fold-in (recommender/),
titles and reasons (queries.py), printing (cli.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl

from hybrid_assets.assets.scores import explained_ranks, reordering, stored_weights
from hybrid_assets.assets.stackers import learned_asset
from hybrid_assets.catalog import Catalog
from hybrid_assets.datasets.reading import check_references, read_own_ratings
from hybrid_assets.orchestration.staleness import Recipe
from hybrid_assets.orchestration.storage import TableStore
from hybrid_assets.queries import (
    NotFound,
    able_systems,
    all_alike,
    check_made,
    explained,
    find_movie,
    find_title,
    known,
    knows_nothing,
    stale_reason,
    table,
    titles_of,
)
from hybrid_assets.recommender.facts import film_facts
from hybrid_assets.recommender.learned.context import films_of
from hybrid_assets.recommender.learned.learned_systems import learned_system
from hybrid_assets.recommender.models.algorithms import fold_in_models
from hybrid_assets.recommender.models.fold_in import FOLD_INS
from hybrid_assets.recommender.newcomers import NewcomerSystem, at_the_end, newcomer_system, reordered
from hybrid_assets.recommender.systems import candidates, score_table
from hybrid_assets.recommender.tables import ids_and_vectors, model_towers
from hybrid_assets.recommender.towers import Ids, Vectors
from hybrid_assets.reporting.recommendations import Recommendation
from hybrid_assets.specs import learned_spec, model_specs
from hybrid_assets.system_settings import SystemSettings

# What a newcomer is called in the tables of one list.
NEWCOMER = 0


def refusal(catalog: Catalog, system: str) -> str:
    """Why a system cannot rank for newcomers; "" where it can."""
    settings = catalog.systems[system]
    without = [name for name in settings.model_names if catalog.models[name].algorithm not in FOLD_INS]
    return f"{', '.join(without)} cannot take in a new user without being trained again" if without else ""


def newcomer_systems(store: TableStore, catalog: Catalog) -> list[str]:
    """The systems of the leaderboard that can rank for newcomers, best first; at least one.

    Raises:
        NotFound: none can.
    """
    return able_systems(store, catalog, partial(refusal, catalog))


@dataclass(frozen=True)
class Loaded:
    """A materialized system, loaded for any number of newcomers.

    Attributes:
        name: of the system.
        settings: of the system.
        system: what ranks.
        vectors: branch -> its movies and their vectors.
        titles: movie -> its title.
        known: the ratings that its models were fitted on.
    """

    name: str
    settings: SystemSettings
    system: NewcomerSystem
    vectors: Mapping[str, tuple[Ids, Vectors]]
    titles: Mapping[int, str]
    known: pl.DataFrame


def load_system(store: TableStore, catalog: Catalog, recipes: Mapping[dg.AssetKey, Recipe], system: str) -> Loaded:
    """A materialized system, loaded for any number of newcomers.

    Args:
        store: where its tables are.
        catalog: its settings.
        recipes: of the catalog's assets.
        system: its name.

    Raises:
        NotFound: no such system, or one that cannot rank for newcomers; the message names one that can.
        dagster.Failure: a table of it has not been materialized, or is not made from the ratings and settings here.
    """
    settings = catalog.systems[known(system, list(catalog.systems), "system")]
    reason = refusal(catalog, system)
    if reason:
        raise NotFound(
            f"{system} cannot rank for somebody who is not in the data: {reason}; {_another(store, catalog)}"
        )
    _check_one_run(store, catalog, recipes, system)
    threshold = catalog.evaluation.relevance_threshold
    train = table(store, "train_ratings").collect()
    fitted = {name: model_towers(table(store, f"factors/{name}"), "train") for name in settings.model_names}
    models = fold_in_models(model_specs(catalog, fitted), fitted, train)
    embeddings = {
        name: ids_and_vectors(table(store, f"embeddings/{name}").collect(), "movie_id")
        for name in settings.encoder_names
    }
    if settings.is_learned:
        learned = table(store, learned_asset(system, settings)).collect()
        films = films_of(train, film_facts(table(store, "movies").collect()), threshold)
        loaded = learned_system(
            learned_spec(catalog, settings),
            learned,
            models,
            embeddings,
            films,
            explained=explained_ranks(settings, catalog.evaluation.list_length),
        )
    else:
        loaded = newcomer_system(
            models,
            embeddings,
            candidates(train).item_ids,
            fusion=settings.fusion,
            weights=stored_weights(store, system, settings),
            threshold=threshold,
        )
    if settings.rerank:
        by = settings.rerank.encoder
        reorder = reordering(settings.rerank, candidates(train), table(store, f"embeddings/{by}") if by else None)
        loaded = reordered(loaded, reorder, catalog.evaluation.list_length)
    vectors = {name: (pair.item_ids, pair.item_vectors) for name, (_, pair) in models.items()} | embeddings
    return Loaded(system, settings, loaded, vectors, titles_of(store), train)


def _another(store: TableStore, catalog: Catalog) -> str:
    try:
        return f"take --system {newcomer_systems(store, catalog)[0]}"
    except NotFound as none:
        return str(none)


def _check_one_run(store: TableStore, catalog: Catalog, recipes: Mapping[dg.AssetKey, Recipe], system: str) -> None:
    """Ratings folded into factors of other ratings would give another list, and no error.

    Raises:
        dagster.Failure: what the system is made of is not of one run.
    """
    settings = catalog.systems[system]
    parts = [
        *(f"factors/{name}" for name in settings.model_names),
        *(f"embeddings/{name}" for name in settings.needed_encoders),
    ]
    parts += [learned_asset(system, settings)] if settings.is_learned else []
    parts += [f"scores/{system}"] if settings.weighs_branches else []
    check_made(store, catalog, system, parts)
    reason = stale_reason(store, recipes, parts)
    if reason:
        raise dg.Failure(
            f"{system} is not made from the ratings and settings here ({reason}); bring it up to date: "
            f"{catalog.command_for(system)}",
            allow_retries=False,
        )


def newcomer_recommendations(
    catalog: Catalog, loaded: Loaded, ratings: pl.DataFrame, k: int, why: bool
) -> list[Recommendation]:
    """The list of somebody who rated `movie_id`, `rating`; what they rated is left out.

    Raises:
        KnowsNothing: all scores are alike.
    """
    own = at_the_end(ratings, loaded.known).with_columns(pl.lit(NEWCOMER, pl.Int64).alias("user_id"))
    # a short list may well hold equal scores
    scores = score_table(*loaded.system(own, max(k, catalog.evaluation.list_length)))
    if all_alike(catalog, loaded.settings, scores):
        branches = loaded.vectors.values()
        of_known = own.filter(pl.any_horizontal(pl.Series(np.isin(own["movie_id"], ids)) for ids, _ in branches))
        raise knows_nothing(catalog, loaded.name, of_known, "you", "rate a movie you like, or ")
    listed = scores.filter(pl.col("rank") <= k)
    return explained(catalog, loaded.settings, listed, loaded.titles, own if why else None, loaded.vectors.__getitem__)


def ratings_of_file(store: TableStore, catalog: Catalog, path: Path) -> pl.DataFrame:
    """`movie_id`, `rating` of a CSV or Parquet file with the columns movieId or title, and rating.

    Raises:
        BadInput: the file cannot be used; the message names the row and the field.
    """
    titles = titles_of(store)
    ratings = read_own_ratings(path, lambda title: find_title(titles, title), catalog.rating_range)
    check_references(ratings, table(store, "movies").collect(), path)
    return ratings


def ratings_by_asking(
    store: TableStore, catalog: Catalog, ask: Callable[[str], str], say: Callable[[str], None]
) -> pl.DataFrame:
    """`movie_id`, `rating` from a conversation: a title, its stars, ... until an empty title.

    Args:
        store: whose movies may be named.
        catalog: whose scale the stars are on.
        ask: question -> answer.
        say: tells what was understood, or why it was not.

    Raises:
        NotFound: no movie was rated.
    """
    low, high = catalog.rating_range
    stars: dict[int, float] = {}
    while wanted := ask("Movie (nothing to finish)").strip():
        try:
            movie, title = find_movie(store, wanted)
        except NotFound as error:
            say(str(error))
            continue
        while answer := ask(f"Stars for {title} ({low:g} to {high:g}, nothing to leave it out)").strip():
            rating = _stars(answer, low, high)
            if rating is not None:
                stars[movie] = rating
                break
            say(f"a number from {low:g} to {high:g} is needed, such as {high - 0.5:g}")
    if not stars:
        raise NotFound("a list needs at least one rated movie; type a title, then its stars")
    return pl.DataFrame(
        {"movie_id": list(stars), "rating": list(stars.values())},
        schema={"movie_id": pl.Int64, "rating": pl.Float32},
    )


def _stars(text: str, low: float, high: float) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if low <= value <= high else None
