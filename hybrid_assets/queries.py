"""Questions to the materialized tables: whose list, why, what is similar.

Belongs here: joining tables into answers. Does not: printing them (cli.py), computing towers or rankings.
"""

import difflib
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from hybrid_assets.catalog import Catalog
from hybrid_assets.orchestration.staleness import Recipe, judge, outdated
from hybrid_assets.orchestration.storage import Stamp, TableStore
from hybrid_assets.recommender.explain import closest_liked, nearest
from hybrid_assets.recommender.rerank import RERANK
from hybrid_assets.recommender.tables import ids_and_vectors, model_towers
from hybrid_assets.recommender.towers import Ids, Vectors
from hybrid_assets.reporting.recommendations import Reason, Recommendation
from hybrid_assets.system_settings import SystemSettings

# Names that a message lists before it only counts them.
MOST_NAMED = 10
REASONS = 3


class NotFound(ValueError):
    """The user, movie, system or encoder asked for does not exist; the message names the nearest that do."""


class KnowsNothing(NotFound):
    """A system scores all movies alike for somebody, so that its list would be an arbitrary one.

    Attributes:
        reason: why; the message says what to do as well.
    """

    def __init__(self, reason: str, to_do: str) -> None:
        super().__init__(f"{reason}; {to_do}")
        self.reason = reason


def table(store: TableStore, key: str) -> pl.LazyFrame:
    """A materialized table by its asset key, as `scores/mf_only`.

    Raises:
        dagster.Failure: there is none, or it is damaged.
    """
    asset = dg.AssetKey.from_user_string(key)
    lazily = store.scan(asset)
    store.verify(asset)
    return lazily


def check_made(store: TableStore, catalog: Catalog, system: str, assets: Sequence[str]) -> None:
    """Check that the tables of a system are there.

    Raises:
        dagster.Failure: one is not; the message holds the command that makes it, as `run` leaves some systems out.
    """
    for asset in assets:
        if not store.exists(dg.AssetKey.from_user_string(asset)):
            raise dg.Failure(
                f"{asset} has not been materialized. Build it: {catalog.command_for(system)}", allow_retries=False
            )


def known(name: str, names: Sequence[str], what: str) -> str:
    """`name` where it is one of `names`.

    Raises:
        NotFound: it is not.
    """
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(names[:MOST_NAMED])}"
    if not close and len(names) > MOST_NAMED:
        hint += f" and {len(names) - MOST_NAMED} more"
    raise NotFound(f"no {what} {name!r} in the catalog; {hint}")


def able_systems(store: TableStore, catalog: Catalog, refusal: Callable[[str], str] = lambda system: "") -> list[str]:
    """The systems of the leaderboard that have figures and are in the catalog, best first; at least one.

    Args:
        store: where the leaderboard is.
        catalog: of the systems.
        refusal: system -> why it will not do, "" where it will.

    Raises:
        NotFound: there is none.
    """
    measured = table(store, "leaderboard").filter(pl.col("ndcg").is_not_null()).select("system").collect()["system"]
    refused = {name: refusal(name) if name in catalog.systems else "not in the catalog" for name in measured}
    able = [name for name, reason in refused.items() if not reason]
    if not able:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise NotFound(
            f"no system on the leaderboard will do ({reasons or 'none has figures'}); --system names any of the catalog"
        )
    return able


def first_that_tells(
    systems: Sequence[str], list_of: Callable[[str], list[Recommendation]], say: Callable[[str], None]
) -> tuple[str, list[Recommendation]]:
    """The first system that tells movies apart for somebody, and its list.

    Args:
        systems: names, at least one.
        list_of: system -> its list.
        say: told which system is passed over, why, and for which.

    Raises:
        KnowsNothing: none does.
    """
    system, *others = systems
    try:
        return system, list_of(system)
    except KnowsNothing as nothing:
        if not others:
            raise
        say(f"{nothing.reason}; {others[0]} is taken in place of it")
    return first_that_tells(others, list_of, say)


def all_alike(catalog: Catalog, settings: SystemSettings, scores: pl.DataFrame) -> bool:
    """Whether a system tells nothing apart in one person's whole list, but for what re-ranking takes off.

    The most popular movies need no knowledge of anybody: those of a small dataset may well be equally popular.
    """
    if scores.height < 2 or any(catalog.models[name].algorithm == "most_popular" for name in settings.model_names):
        return False
    # the branches' own scores too: what a sigmoid has made equal was known apart
    told = [name for name in scores.columns if name.startswith(("score_", "part_")) and name != f"part_{RERANK}"]
    return all(scores[name].drop_nans().n_unique() <= 1 for name in told)


def knows_nothing(catalog: Catalog, system: str, ratings: pl.DataFrame, whom: str, or_else: str = "") -> KnowsNothing:
    """The error of a list that is `all_alike`.

    Args:
        catalog: of the system.
        system: its name.
        ratings: `rating` of that person's movies that the system knows.
        whom: who that is.
        or_else: what else than taking another system can be done, as the beginning of a clause.
    """
    threshold = catalog.evaluation.relevance_threshold
    reason = (
        f"{system} scores all movies alike for {whom}"
        if (ratings["rating"] >= threshold).any()
        else f"no rating of {threshold:g} or more of a movie that it knows, so {system} knows nothing of {whom}"
    )
    return KnowsNothing(
        reason, f"{or_else}take " + (f"--system {catalog.floor}" if catalog.floor else "another --system")
    )


def stale_reason(
    store: TableStore, recipes: Mapping[dg.AssetKey, Recipe], assets: Sequence[str], as_they_lie: Sequence[str] = ()
) -> str:
    """Why a table of some assets is of other settings, ratings or code than those here; "" where none is.

    What `as_they_lie` names is not asked about, where others are made from it either.
    """
    keys, apart = ([dg.AssetKey.from_user_string(name) for name in names] for names in (assets, as_they_lie))
    gone = [key.path[-1] for key in keys if key not in recipes]
    if gone:
        return f"{', '.join(gone)} is not in the catalog any more"
    return next(filter(None, outdated(recipes, store, keys, as_they_lie=apart).values()), "")


def recommendations(
    store: TableStore, catalog: Catalog, user: int, system: str, k: int, why: bool = False
) -> list[Recommendation]:
    """A user's list by a system, with reasons where asked.

    Raises:
        NotFound: no such system, no such user, or a longer list than is kept.
        KnowsNothing: all scores are alike.
        dagster.Failure: the system has not been materialized.
    """
    settings = catalog.systems[known(system, list(catalog.systems), "system")]
    if k > catalog.evaluation.list_length:
        length = catalog.evaluation.list_length
        raise NotFound(f"lists hold {length} movies and {k} were asked for; set evaluation.list_length in the catalog")
    check_made(store, catalog, system, [f"scores/{system}"])
    scores = table(store, f"scores/{system}").filter(pl.col("user_id") == user).collect()
    if scores.is_empty():
        raise NotFound(f"user {user} has no list; {_some_users(store)}")
    alike = all_alike(catalog, settings, scores)
    train = table(store, "train_ratings").filter(pl.col("user_id") == user).collect() if why or alike else None
    if alike and train is not None:
        raise knows_nothing(catalog, system, train, f"user {user}")
    listed = scores.filter(pl.col("rank") <= k)
    return explained(
        catalog, settings, listed, titles_of(store), train if why else None, partial(item_vectors, store, settings)
    )


def why_shorter(catalog: Catalog, system: str, length: int, k: int) -> str:
    """Why a system's list of `length` movies is shorter than the k that were asked for; "" where it is not."""
    if length >= k:
        return ""
    settings = catalog.systems[system]
    reason = (
        f"{system} ranks no more candidates (systems.{system}.stacker.candidates)"
        if settings.is_learned and length == settings.learning.candidates
        else "no other movie is left that somebody rated"
    )
    return f"the list holds {length} movies and {k} were asked for: {reason}"


def explained(
    catalog: Catalog,
    settings: SystemSettings,
    scores: pl.DataFrame,
    titles: Mapping[int, str],
    ratings: pl.DataFrame | None,
    vectors_of: Callable[[str], tuple[Ids, Vectors]],
) -> list[Recommendation]:
    """One person's rows of a score table with their titles, and with reasons where that person's ratings are given.

    Args:
        catalog: whose scores they are.
        settings: of the system.
        scores: the rows.
        titles: movie -> its title.
        ratings: `movie_id` and `rating` of that person; None: without reasons.
        vectors_of: branch -> its movies and their vectors.
    """
    scores = scores.sort("rank")
    branches = [column.removeprefix("part_") for column in scores.columns if column.startswith("part_")]
    closest: dict[str, list[tuple[str, ...]]] = {branch: [()] * scores.height for branch in branches}
    if ratings is not None:
        threshold = catalog.evaluation.relevance_threshold
        liked = ratings.filter(pl.col("rating") >= threshold)["movie_id"].to_numpy()
        listed = scores["movie_id"].to_numpy()
        for branch in branches:
            if branch not in (*settings.model_names, *settings.encoder_names):
                continue  # the context of a learned fusion has no vectors
            if branch in settings.model_names and catalog.models[branch].algorithm == "most_popular":
                continue  # the same list for everybody: nothing the user liked had a part in it
            closest[branch] = [
                tuple(_title(titles, movie) for movie in movies)
                for movies in closest_liked(*vectors_of(branch), listed, liked, REASONS)
            ]
    return [
        Recommendation(
            row["rank"],
            row["movie_id"],
            _title(titles, row["movie_id"]),
            row["score"],
            tuple(
                Reason(branch, row.get(f"score_{branch}"), _number(row[f"part_{branch}"]), closest[branch][place])
                for branch in branches
            )
            if ratings is not None
            else (),
        )
        for place, row in enumerate(scores.iter_rows(named=True))
    ]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _title(titles: Mapping[int, str], movie: int) -> str:
    """A list may be older than the movies, where one has been taken out since."""
    return titles.get(movie, "(no longer among the movies)")


def similar_movies(
    store: TableStore, catalog: Catalog, encoder: str, movie: int, k: int
) -> list[tuple[int, str, float]]:
    """The k movies whose documents are closest to a movie's: id, title, cosine.

    Raises:
        NotFound: the encoder has no vector of it, as it was added since.
        dagster.Failure: the encoder has not been materialized.
    """
    item_ids, vectors = _embeddings(store, encoder)
    titles = titles_of(store)
    if movie not in item_ids:
        raise NotFound(
            f"{encoder} has no vector of {_title(titles, movie)} [{movie}], which came after its table was made; bring "
            f"it up to date: {catalog.backfill_command(encoder)}"
        )
    ids, cosines = nearest(item_ids, vectors, movie, k)
    return [(int(i), _title(titles, int(i)), float(c)) for i, c in zip(ids, cosines, strict=True)]


def encoder_figures(store: TableStore, catalog: Catalog) -> dict[str, dict[str, Any]]:
    """For each encoder of the catalog: how it is made, and its metrics, null where it has not been materialized.

    Raises:
        dagster.Failure: none has been.
    """
    figures = {}
    for name, settings in catalog.encoders.items():
        tuning = settings.tuning
        row: dict[str, Any] = {
            "weights": catalog.base_of(name).weights,
            "tuned": f"{tuning.method}, {tuning.loss}" if tuning else None,
            "needs_gpu_gib": settings.gpu_gib,
        }
        key = dg.AssetKey(["encoder_metrics", name])
        measured = table(store, f"encoder_metrics/{name}").collect() if store.exists(key) else None
        row["metrics"] = None
        if measured is not None:
            row["metrics"] = {values.pop("metric"): values for values in measured.iter_rows(named=True)} or None
        figures[name] = row
    if figures and not any(row["metrics"] for row in figures.values()):
        store.scan(dg.AssetKey(["encoder_metrics", next(iter(figures))]))  # says how to build it
    return figures


def lineage(store: TableStore, asset: str) -> dict[str, Stamp]:
    """What made an asset: its stamp and those of everything it came from, the asset first.

    What a stamp says of an input was so at that time (`Stamp.inputs`); where a whole input counts, and its own stamp
    here has another data version, the input was made anew since.

    Raises:
        dagster.Failure: the asset has no table.
    """
    key = dg.AssetKey.from_user_string(asset)
    store.scan(key)  # says how to build it, where it is not there
    return store.lineage(key)


def status(
    recipes: Mapping[dg.AssetKey, Recipe],
    store: TableStore,
    refreshed: Collection[dg.AssetKey],
    blocked: Mapping[dg.AssetKey, str],
) -> list[dict[str, Any]]:
    """Each asset's state, why, when it was made, versions and rows; inputs stand before what uses them.

    What describes a table is None where there is none that can be read.

    Args:
        recipes: of the whole graph.
        store: where the tables are.
        refreshed: what `hybrid-assets run` brings up to date; the rest waits for a backfill.
        blocked: what cannot be made on this machine, and why.
    """
    records = []
    for key, verdict in judge(recipes, store, selected=refreshed, blocked=blocked).items():
        stamp = verdict.stamp
        made = datetime.fromtimestamp(store.made_at(key)).astimezone().isoformat(timespec="seconds") if stamp else None
        records.append(
            {
                "asset": key.to_user_string(),
                "state": verdict.state,
                "why": list(verdict.why),
                "inherited": verdict.inherited,
                "made": made,
                "data_version": stamp.data_version if stamp else None,
                "code_version": stamp.code_version if stamp else None,
                "rows": int(store.scan(key).select(pl.len()).collect().item()) if stamp else None,
            }
        )
    return records


def find_movie(store: TableStore, wanted: str) -> tuple[int, str]:
    """Id and title of a movie given by id, by title with or without its year, or by a part that only it has.

    Raises:
        NotFound: none or several fit; the message names the nearest titles.
    """
    titles = titles_of(store)
    number = wanted.strip().removeprefix("#")
    if number.isdecimal() and int(number) in titles:
        movie = int(number)
        namesakes = [other for other, title in titles.items() if other != movie and _said(title)[1] == number]
        if namesakes and not wanted.strip().startswith("#"):
            raise NotFound(
                f"{number} is the id of {titles[movie]} and the title of {_listed(titles, namesakes)}; "
                f"give #{number} for the first, or the other's id"
            )
        return movie, titles[movie]
    found = find_title(titles, wanted)
    return found, titles[found]


def find_title(titles: Mapping[int, str], wanted: str) -> int:
    """The movie of a title with or without its year, or of a part that only it has.

    Raises:
        NotFound: none or several fit, or it is blank; the message names the nearest titles.
    """
    if not wanted.strip():
        raise NotFound("a title is blank; write it, or the movie's id")
    said = {movie: _said(title) for movie, title in titles.items()}
    text, typed = _said(wanted), wanted.casefold().strip()
    for fits in (
        [movie for movie, (whole, _) in said.items() if whole == text[0]],
        [movie for movie, (_, without_year) in said.items() if without_year == text[0]],
        [movie for movie, (whole, _) in said.items() if text[0] in whole or typed in titles[movie].casefold()],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise NotFound(
                f"{wanted!r} fits several movies: {_listed(titles, fits[:MOST_NAMED])}"
                + (f" and {len(fits) - MOST_NAMED} more" if len(fits) > MOST_NAMED else "")
                + "; give the id"
            )
    by_title = {without_year: movie for movie, (_, without_year) in said.items()}
    close = difflib.get_close_matches(text[1], by_title, n=3)
    hint = f"did you mean {_listed(titles, [by_title[c] for c in close])}?" if close else "check the title"
    raise NotFound(f"no movie {wanted!r}; {hint}")


@cache
def _said(title: str) -> tuple[str, str]:
    """A title as people say it, folded and "The Matrix" for MovieLens's "Matrix, The": with its year and without.

    >>> _said("Matrix, The (1999)")
    ('the matrix (1999)', 'the matrix')
    """
    name, _, year = re.fullmatch(r"(.*?)(\s*(\(\d{4}\)))?", title.casefold().strip(), re.DOTALL).groups("")  # type: ignore[union-attr]
    said = re.sub(r"^(.*?), (the|a|an)(?= \(|$)", r"\2 \1", name)
    return f"{said} {year}".strip(), said


def _listed(titles: Mapping[int, str], movies: Sequence[int]) -> str:
    return ", ".join(f"{titles[movie]} [{movie}]" for movie in movies)


def titles_of(store: TableStore) -> dict[int, str]:
    """Movie -> its title."""
    movies = table(store, "movies").select("movie_id", "title").collect()
    return {movie: title or f"(movie {movie}, without a title)" for movie, title in movies.iter_rows()}


def item_vectors(store: TableStore, settings: SystemSettings, branch: str) -> tuple[Ids, Vectors]:
    """The movies of a system's branch and their vectors, as stored."""
    if branch in settings.encoder_names:
        return _embeddings(store, branch)
    pair = model_towers(table(store, f"factors/{branch}"), "train")
    return pair.item_ids, pair.item_vectors


def _embeddings(store: TableStore, encoder: str) -> tuple[Ids, Vectors]:
    return ids_and_vectors(table(store, f"embeddings/{encoder}").collect(), "movie_id")


def _some_users(store: TableStore) -> str:
    users = table(store, "train_ratings").select(pl.col("user_id").unique().sort()).collect()["user_id"].to_numpy()
    return f"the {len(users)} users are numbered {np.min(users)} to {np.max(users)}"
