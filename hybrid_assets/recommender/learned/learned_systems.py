"""Learned fusions as a whole: what teaches them, what they learn from it, and who is ranked by which part of it.

Users of the data teach one part, newcomers, who bring few ratings, the other. Belongs here: putting candidates, texts
and learners together for both. Does not: a learner itself (stacking.py, gate.py), newcomers' candidates and lists
(learned_newcomers.py), which assets these tables are (assets/stackers.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from hybrid_assets.recommender.cold_start import ColdSplit
from hybrid_assets.recommender.cores import cores, side_by_side
from hybrid_assets.recommender.learned.context import Films, films_of
from hybrid_assets.recommender.learned.examples import cross_folds, drawn_negatives, examples, with_contents
from hybrid_assets.recommender.learned.features import aligned, centred_content, feature_names, known_from
from hybrid_assets.recommender.learned.gate import gated_fusion, train_gate
from hybrid_assets.recommender.learned.learned_newcomers import (
    Embeddings,
    Models,
    learned_newcomer_system,
    leave_out,
    newcomer_examples,
    with_newcomer_contents,
)
from hybrid_assets.recommender.learned.learned_ranking import LearnedFusion
from hybrid_assets.recommender.learned.stacking import TooFewRows, ranker_rows, stacked_fusion, train_ranker
from hybrid_assets.recommender.models.algorithms import ModelSpec, fit_model, fold_in_models
from hybrid_assets.recommender.models.fold_in import FOLD_INS
from hybrid_assets.recommender.newcomers import NewcomerSystem
from hybrid_assets.recommender.systems import candidates
from hybrid_assets.recommender.towers import TowerPair

# Whom a fusion was learned for: those in the data with all their ratings, or those who bring a few.
USERS, NEWCOMERS = "users", "newcomers"


@dataclass(frozen=True)
class LearnedSpec:
    """How a fusion is learned.

    Attributes:
        fusion: "gated" (gate.py) or "stacked" (stacking.py).
        models: names of the collaborative branches.
        text_models: those of them that read texts, and the encoder that each reads; the others choose the candidates,
            which a changed text so leaves as they are.
        encoders: names of the content branches.
        threshold: a rating of at least this is liked.
        folds: parts of train, each held out once.
        candidates: how many of each user.
        negatives: how many of a user's candidates without a hit teach.
        newcomers: share of the users who leave train whole and come back as new people.
        newcomer_ratings: how many ratings they bring, each number in turn.
        rankers: how many rankers "stacked" trains.
        trees: the settings of `train_ranker` but its seed.
        seed: of the folds, of the negatives and of the first ranker's draws; newcomers are drawn by it + 1.
    """

    fusion: str
    models: tuple[str, ...]
    text_models: Mapping[str, tuple[ModelSpec, str]]
    encoders: tuple[str, ...]
    threshold: float
    folds: int
    candidates: int
    negatives: int
    newcomers: float
    newcomer_ratings: tuple[int, ...]
    rankers: int
    trees: Mapping[str, Any]
    seed: int

    @property
    def choosing(self) -> tuple[str, ...]:
        """The models that know ratings alone."""
        return tuple(name for name in self.models if name not in self.text_models)

    @property
    def reads(self) -> tuple[str, ...]:
        """The encoders whose texts it learns from: its content branches, and what its models read."""
        return tuple(dict.fromkeys((*self.encoders, *(read for _, read in self.text_models.values()))))


def taught_candidates(
    spec: LearnedSpec,
    models: Mapping[str, ModelSpec],
    train: pl.DataFrame,
    facts: pl.DataFrame,
    say: Callable[[str], None],
) -> pl.DataFrame:
    """The candidates that teach a fusion, with what models and context tell of them.

    Train is dealt into folds; for each, the models are fitted on the others and rank candidates, which the held-out
    ratings mark. Then some users leave train whole and come back as new people, unless a model cannot fold them in. Of
    the candidates without a hit some are drawn.

    Args:
        spec: how it is learned.
        models: those that choose the candidates.
        train: train ratings.
        facts: `film_facts` of all films.
        say: told how far it is.

    Returns:
        `fold`, from `spec.folds` on one for each number of ratings that newcomers bring; then as `drawn_negatives`.
    """
    names, threshold = ", ".join(models), spec.threshold
    fold = cross_folds(train, spec.folds, spec.seed)
    draws = np.random.default_rng(spec.seed)

    def some_of(taught: pl.DataFrame, place: int) -> pl.DataFrame:
        drawn = drawn_negatives(taught, spec.negatives, draws)
        return drawn.select(pl.lit(place, pl.UInt8).alias("fold"), pl.all())

    tables = []
    for held_out in range(spec.folds):
        say(f"fold {held_out + 1} of {spec.folds}: fitting {names}")
        rest = train.filter(pl.Series(fold != held_out))
        fitted = {name: fit_model(model, rest) for name, model in models.items()}
        taught = examples(
            known_from(rest, fitted, facts, threshold), train.filter(pl.Series(fold == held_out)), spec.candidates
        )
        tables.append(some_of(taught, held_out))
    left_out = _left_out(spec, train)
    if left_out and _fold_in(models):
        rest = left_out.warm
        say(f"new people: fitting {names} on the ratings of the others")
        fitted = {name: fit_model(model, rest) for name, model in models.items()}
        folds_in = fold_in_models(models, fitted, rest)
        films = films_of(rest, facts, threshold)
        for place, ratings in enumerate(spec.newcomer_ratings, spec.folds):
            taught = newcomer_examples(folds_in, films, left_out, ratings, spec.candidates)
            tables.append(some_of(taught, place))
    return pl.concat(tables)


def with_texts(
    spec: LearnedSpec, taught: pl.DataFrame, train: pl.DataFrame, embeddings: Embeddings, facts: pl.DataFrame | None
) -> pl.DataFrame:
    """`taught_candidates` with what the texts tell of them.

    Args:
        spec: as they were made with.
        taught: the candidates, or those of some users.
        train: the train ratings that they were made from.
        embeddings: encoder -> movies and their unit vectors, of all that it `reads`.
        facts: `film_facts` of all films, for its models that read them.
    """
    if not spec.reads:
        return taught
    texts = {name: embeddings[name] for name in spec.encoders}

    def fitted(rest: pl.DataFrame) -> dict[str, TowerPair]:
        return {
            name: fit_model(model, rest, embeddings[read], facts=facts)
            for name, (model, read) in spec.text_models.items()
        }

    fold = cross_folds(train, spec.folds, spec.seed)

    def of_users(held_out: int) -> list[pl.DataFrame]:
        of_fold = taught.filter(pl.col("fold") == held_out)
        if of_fold.is_empty():
            return []
        rest = train.filter(pl.Series(fold != held_out))
        pool = candidates(rest)
        contents, told = (aligned(them, pool) for them in (content_towers(rest, texts, spec.threshold), fitted(rest)))
        return [with_contents(of_fold, rest, pool, contents, spec.threshold, told)]

    def of_newcomers() -> list[pl.DataFrame]:
        left_out, newcomers = _left_out(spec, train), taught.filter(_of_newcomers(spec))
        models = {name: model for name, (model, _) in spec.text_models.items()}
        if not left_out or newcomers.is_empty() or not _fold_in(models):
            return []
        arriving = fold_in_models(models, fitted(left_out.warm), left_out.warm)
        return [
            with_newcomer_contents(of_fold, texts, left_out, ratings, spec.threshold, arriving)
            for place, ratings in enumerate(spec.newcomer_ratings, spec.folds)
            if not (of_fold := newcomers.filter(pl.col("fold") == place)).is_empty()
        ]

    def of(held_out: int | None) -> list[pl.DataFrame]:
        return of_newcomers() if held_out is None else of_users(held_out)

    found = side_by_side(of, [*range(spec.folds), None])
    return pl.concat(rows for part in found for rows in part)


def content_towers(ratings: pl.DataFrame, embeddings: Embeddings, threshold: float) -> dict[str, TowerPair]:
    """The content branches of a system that learns, over some ratings."""
    return {name: centred_content(ratings, *embedded, threshold) for name, embedded in embeddings.items()}


def learn(
    spec: LearnedSpec, taught: pl.DataFrame, say: Callable[[str], None], *, for_users: bool = True
) -> pl.DataFrame:
    """What a fusion learns from candidates `with_texts`.

    Where no newcomer has a hit among the candidates, or these are too few to learn from, as with a handful of users,
    it holds nothing for newcomers; without `for_users` it holds nothing for users.

    Returns:
        `who`, USERS or NEWCOMERS, and what was learned for them: of a gate the columns of `train_gate`, else `ranker`,
        one row a ranker.

    Raises:
        TooFewRows: there is too little to learn from for users, or for newcomers without `for_users`.
    """
    of_newcomers = _of_newcomers(spec)
    newcomers = taught.filter(of_newcomers)
    learners = {USERS: taught.filter(~of_newcomers)} if for_users else {}
    if newcomers.is_empty():
        say("no newcomer likes a candidate: they will be ranked as users are")
    else:
        learners[NEWCOMERS] = newcomers
    tables = []
    with cores() as workers:
        begun = {who: workers.submit(_parts, spec, rows) for who, rows in learners.items()}
        # the fewer rows of newcomers are ready first
        under_way = {who: [workers.submit(part) for part in begun[who].result()] for who in reversed(begun)}
        for who, rows in learners.items():
            parts = under_way[who]
            say(f"{who}: learning from {rows.height:,} candidates")
            learned = []
            try:
                for part in parts:
                    learned.append(part.result())
                    say(f"{who}: {len(learned)} of {len(parts)} learned")
            except TooFewRows as few:
                if who == USERS or not for_users:
                    raise
                say(f"newcomers will be ranked as users are: {few}")
                continue
            tables.append(pl.concat(learned).select(pl.lit(who).alias("who"), pl.all()))
    return pl.concat(tables)


def learn_for_newcomers(
    spec: LearnedSpec,
    taught: pl.DataFrame,
    tell: Callable[[pl.DataFrame], pl.DataFrame],
    most_known: int,
    say: Callable[[str], None],
) -> pl.DataFrame:
    """What new people are ranked by: what newcomers taught, and what users did where somebody is ranked as they are.

    Args:
        spec: how it is learned.
        taught: `taught_candidates`, but for those of whoever is to be ranked.
        tell: candidates -> the same `with_texts`.
        most_known: the largest number of a new person's ratings.
        say: told how far it is.
    """
    newcomers = taught.filter(_of_newcomers(spec))
    if not newcomers.is_empty() and most_known <= max(spec.newcomer_ratings):
        try:
            return learn(spec, tell(newcomers), say, for_users=False)
        except TooFewRows as few:
            say(f"newcomers will be ranked as users are: {few}")
    return learn(spec, tell(taught), say)


def learned_fusion(spec: LearnedSpec, learned: pl.DataFrame, who: str = USERS) -> LearnedFusion:
    """The fusion that was learned (`learn`) for users, or for newcomers; where it holds one alone, that."""
    rows = learned.filter(pl.col("who") == who)
    if rows.is_empty():
        rows = learned
    if spec.fusion == "gated":
        return gated_fusion(rows, [*spec.models, *spec.encoders])
    return stacked_fusion(rows["ranker"].to_list(), spec.models, spec.encoders)


def learned_system(
    spec: LearnedSpec, learned: pl.DataFrame, models: Models, embeddings: Embeddings, films: Films, *, explained: int
) -> NewcomerSystem:
    """The system that was learned (`learn`), for newcomers; the other arguments are learned_newcomer_system's."""
    return learned_newcomer_system(
        models,
        embeddings,
        films,
        few=learned_fusion(spec, learned, NEWCOMERS),
        many=learned_fusion(spec, learned),
        most_few=max(spec.newcomer_ratings),
        choosing=spec.choosing,
        size=spec.candidates,
        explained=explained,
    )


def _left_out(spec: LearnedSpec, train: pl.DataFrame) -> ColdSplit | None:
    # not the seed of cold_start's people: with that, those who are judged there would be those who teach
    return leave_out(train, spec.newcomers, spec.seed + 1)


def _fold_in(models: Mapping[str, ModelSpec]) -> bool:
    return all(model.algorithm in FOLD_INS for model in models.values())


def _of_newcomers(spec: LearnedSpec) -> pl.Expr:
    return pl.col("fold") >= spec.folds


def _parts(spec: LearnedSpec, taught: pl.DataFrame) -> list[Callable[[], pl.DataFrame]]:
    """What learns from these candidates: a gate, or each of the rankers, its row."""
    if spec.fusion == "gated":
        return [lambda: train_gate(taught, [*spec.models, *spec.encoders])]
    names = feature_names(spec.models, spec.encoders)
    rows = ranker_rows(taught, names, smallest_leaf=spec.trees["smallest_leaf"], seed=spec.seed)

    def ranker(seed: int) -> pl.DataFrame:
        return pl.DataFrame({"ranker": [train_ranker(rows, seed=seed, **spec.trees)]})

    return [partial(ranker, seed) for seed in range(spec.seed, spec.seed + spec.rankers)]
