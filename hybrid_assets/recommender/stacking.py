"""The learned fusion: a gradient-boosted ranker over the branches' scores and what is known of user and film.

Belongs here: candidates, their features, training, ranking with each branch's share. Does not: the branches themselves
(models/, profiles.py), fitted by the caller.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.ranking import Index, Ranking
from hybrid_assets.recommender.systems import Candidates, candidates
from hybrid_assets.recommender.tables import profiles_of
from hybrid_assets.recommender.towers import Ids, TowerPair, Vectors, align, positions

if TYPE_CHECKING:
    from lightgbm import Booster
    from scipy.sparse import csr_matrix

Features = npt.NDArray[np.float32]

# What the ranker knows of user and film beside the branches; its share of a score is named so too.
CONTEXT = "context"
YEAR_SECONDS = 365.25 * 86400
# Users whose scores of all items are held at a time.
BLOCK_USERS = 64
# How many liked movies the nearness to "what the user liked most like this" is averaged over.
CLOSEST = 3
# Ratings that pull a film's mean to the mean of all.
PRIOR_RATINGS = 5.0
# Films that many users rated one soon after the other: how fast that fades with the films between, where it ends, and
# the powers of a film's number of ratings that it is divided by, of the film rated and of the candidate.
SEQUENCE_DECAY = 5.0
SEQUENCE_LAGS = 20
SEQUENCE_POWERS = (0.7, 0.3)


@dataclass(frozen=True)
class Known:
    """What is known when lists are made: ratings, and branches fitted on these ratings and no others.

    Attributes:
        ratings: `user_id`, `movie_id`, `rating`, `timestamp`.
        models: collaborative branches by name, at least one.
        contents: content branches by name (`centred_content`).
        years: `movie_id`, `year`; null where it is not known.
        threshold: a rating of at least this is liked.
    """

    ratings: pl.DataFrame
    models: Mapping[str, TowerPair]
    contents: Mapping[str, TowerPair]
    years: pl.DataFrame
    threshold: float


@dataclass(frozen=True)
class Block:
    """The candidates of a block of users, one row each, users ascending and a user's best by z-sum first.

    Attributes:
        users: (rows,) user index.
        items: (rows,) item index.
        features: (rows, features).
        branch_scores: branch -> (rows,) its own score.
    """

    users: Index
    items: Index
    features: Features
    branch_scores: dict[str, Vectors]


def film_years(movies: pl.DataFrame) -> pl.DataFrame:
    """`movie_id` and `year`, the last bracketed four digits at the end of `title`; null without.

    >>> film_years(pl.DataFrame({"movie_id": [1, 2], "title": ["2001 (1968)", "Heat"]}))["year"].to_list()
    [1968.0, None]
    """
    return movies.select("movie_id", pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Float64).alias("year"))


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


def centred_content(ratings: pl.DataFrame, item_ids: Ids, embeddings: Vectors, threshold: float) -> TowerPair:
    """Cosine of a film to the mean of what the user liked, in embeddings without their common direction.

    What all texts share says nothing about a user; without it cosines differ more between films. Centred on the mean
    of the films in `ratings`, whose tower this is.
    """
    rated = ratings["movie_id"].unique(maintain_order=True).to_numpy()
    vectors = align(item_ids, embeddings, rated, missing="refuse")
    centred = vectors - vectors.mean(axis=0)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit: Vectors = centred / np.maximum(length, np.finfo(np.float32).tiny)
    return TowerPair(*profiles_of(ratings, "liked", threshold, rated, unit), rated, unit)


def feature_names(models: Sequence[str], contents: Sequence[str]) -> list[str]:
    """Names of the features, `<branch or context>.<what>`, in their order."""
    branches = [f"{name}.{what}" for name in (*models, *contents) for what in ("score", "z")]
    closest = [f"{name}.closest" for name in contents]
    return branches + closest + [f"{CONTEXT}.{what}" for what in (*_FILM, *_USER, *_PAIR)]


_FILM = ("ratings", "likes", "mean", "residual", "spread", "year")
_USER = ("user_ratings", "user_liked", "user_mean", "user_spread", "user_days", "user_year", "user_popularity")
_PAIR = ("near_half_year", "near_two_years", "before", "age_at_last", "age_at_median", "first_after", "in_sequence")


def candidate_blocks(known: Known, size: int) -> Iterator[Block]:
    """Each user's candidates and their features, in blocks of users.

    Candidates are the `size` unrated movies with the highest sum of the models' scores, standardised over that user's
    unrated movies. Features: each branch's score, raw and standardised; the mean cosine to the 3 closest liked movies;
    how often, how well and how differently the film is rated, and its year; how much, how well and for how long the
    user rated, how old and how popular films; how often the film was rated around the user's time, how old it was
    then, and how long after the user's last rating it was first rated; how close in the order of their ratings others
    rated it to the user's films. All from `known` alone.
    """
    pool = candidates(known.ratings)
    pairs = {**known.models, **known.contents}
    towers = {
        name: (
            align(pair.user_ids, pair.user_vectors, pool.user_ids, missing="zero"),
            align(pair.item_ids, pair.item_vectors, pool.item_ids, missing="refuse"),
        )
        for name, pair in pairs.items()
    }
    context = _Context.of(known, pool)
    indptr, seen = pool.seen
    for start in range(0, len(pool.user_ids), BLOCK_USERS):
        users = np.arange(start, min(start + BLOCK_USERS, len(pool.user_ids)))
        rated = np.zeros((len(users), len(pool.item_ids)), dtype=bool)
        rated[
            np.repeat(users - start, np.diff(indptr)[users]),
            seen[indptr[start] : indptr[users[-1] + 1]],
        ] = True
        raw = {name: vectors[users] @ items.T for name, (vectors, items) in towers.items()}
        standard = {name: _standardised(scores, rated) for name, scores in raw.items()}
        total = np.sum([standard[name] for name in known.models], axis=0)
        total[rated] = -np.inf
        best = np.argsort(-total, axis=1, kind="stable")[:, :size]
        row, place = np.nonzero(np.isfinite(np.take_along_axis(total, best, axis=1)))
        item = best[row, place]
        columns = [scores[row, item] for name in towers for scores in (raw[name], standard[name])]
        columns += [context.closest(towers[name][1], users[row], item) for name in known.contents]
        columns += context.features(users[row], item)
        features = np.stack(columns, axis=1).astype(np.float32)
        yield Block(users[row], item, features, {name: raw[name][row, item] for name in towers})


def _standardised(scores: Vectors, rated: npt.NDArray[np.bool_]) -> Vectors:
    """(score - mean) / standard deviation over each row's unrated movies; 0 where all are equal."""
    free = ~rated
    count = np.maximum(free.sum(axis=1, keepdims=True), 1)
    mean = (scores * free).sum(axis=1, keepdims=True) / count
    deviation = np.sqrt((((scores - mean) * free) ** 2).sum(axis=1, keepdims=True) / count)
    standard: Vectors = (scores - mean) / np.where(deviation > 1e-12, deviation, np.inf)
    return standard


@dataclass(frozen=True)
class _Context:
    """Counts and means of users and films, by index."""

    film: npt.NDArray[np.float64]  # (films, len(_FILM))
    user: npt.NDArray[np.float64]  # (users, len(_USER))
    first: npt.NDArray[np.int64]  # (films,) time of the first rating
    start: npt.NDArray[np.int64]  # (users,) time of the first, median and last rating
    middle: npt.NDArray[np.float64]
    end: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int64]  # film and time of each rating in one number, ascending
    span: int
    origin: int
    liked: tuple[Index, Index]  # CSR of liked films
    rated: "csr_matrix"  # (users, films)
    sequence: "csr_matrix"  # (films, films)

    @classmethod
    def of(cls, known: Known, pool: Candidates) -> "_Context":
        from scipy.sparse import csr_matrix

        ratings = known.ratings.select("user_id", "movie_id", "rating", "timestamp")
        ratings = ratings.with_columns(pl.col("rating").cast(pl.Float64)).join(
            known.years, on="movie_id", how="left", maintain_order="left"
        )
        liked = pl.col("rating") >= known.threshold
        by_user = ratings.with_columns(
            (pl.col("rating") - pl.col("rating").mean().over("user_id")).alias("residual"),
            pl.len().over("movie_id").log1p().alias("popularity"),
        )
        mean = ratings["rating"].mean()
        film = pl.DataFrame({"movie_id": pool.item_ids}).join(
            by_user.group_by("movie_id").agg(
                pl.len().cast(pl.Float64).alias("ratings"),
                liked.sum().cast(pl.Float64).alias("likes"),
                ((pl.col("rating").sum() + PRIOR_RATINGS * pl.lit(mean)) / (pl.len() + PRIOR_RATINGS)).alias("mean"),
                (pl.col("residual").sum() / (pl.len() + PRIOR_RATINGS)).alias("residual"),
                pl.col("rating").var(ddof=0).alias("spread"),
                pl.col("year").first(),
                pl.col("timestamp").min().alias("first"),
            ),
            on="movie_id",
            how="left",
            maintain_order="left",
        )
        user = pl.DataFrame({"user_id": pool.user_ids}).join(
            by_user.group_by("user_id").agg(
                pl.len().cast(pl.Float64).alias("user_ratings"),
                liked.mean().alias("user_liked"),
                pl.col("rating").mean().alias("user_mean"),
                pl.col("rating").std(ddof=0).alias("user_spread"),
                ((pl.col("timestamp").max() - pl.col("timestamp").min()) / 86400).alias("user_days"),
                pl.col("year").mean().alias("user_year"),
                pl.col("popularity").mean().alias("user_popularity"),
                pl.col("timestamp").min().alias("start"),
                pl.col("timestamp").median().alias("middle"),
                pl.col("timestamp").max().alias("end"),
            ),
            on="user_id",
            how="left",
            maintain_order="left",
        )
        times = ratings["timestamp"].to_numpy().astype(np.int64)
        origin, span = int(times.min()), int(times.max() - times.min()) + 2
        users = positions(pool.user_ids, ratings["user_id"].to_numpy())
        items = positions(pool.item_ids, ratings["movie_id"].to_numpy())
        shape = (len(pool.user_ids), len(pool.item_ids))
        of_liked = ratings.filter(liked)
        rows = positions(pool.user_ids, of_liked["user_id"].to_numpy())
        order = np.argsort(rows, kind="stable")
        indptr = np.zeros(len(pool.user_ids) + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=len(pool.user_ids)), out=indptr[1:])
        return cls(
            film.drop("movie_id", "first").to_numpy().astype(np.float64),
            user.drop("user_id", "start", "middle", "end").to_numpy().astype(np.float64),
            film["first"].to_numpy().astype(np.int64),
            user["start"].to_numpy().astype(np.int64),
            user["middle"].to_numpy().astype(np.float64),
            user["end"].to_numpy().astype(np.int64),
            np.sort(items * span + (times - origin)),
            span,
            origin,
            (indptr, positions(pool.item_ids, of_liked["movie_id"].to_numpy())[order]),
            csr_matrix((np.ones(len(users)), (users, items)), shape=shape),
            in_sequence(users, items, times, shape[1]),
        )

    def features(self, users: Index, items: Index) -> list[npt.NDArray[np.float64]]:
        """Columns in the order of _FILM, _USER and _PAIR."""
        year = self.film[items, _FILM.index("year")]
        start, end, middle = self.start[users], self.end[users], self.middle[users]
        half = int(YEAR_SECONDS / 2)
        pair = [
            self._rated_between(items, start - half, end + half),
            self._rated_between(items, start - 4 * half, end + 4 * half),
            self._rated_between(items, np.full(len(items), self.origin), end),
            1970 + end / YEAR_SECONDS - year,
            1970 + middle / YEAR_SECONDS - year,
            (self.first[items] - end) / YEAR_SECONDS,
            self._near_in_sequence(users, items),
        ]
        return [*self.film[items].T, *self.user[users].T, *pair]

    def _rated_between(self, items: Index, low: Index, high: Index) -> npt.NDArray[np.float64]:
        """How many ratings each film has from `low` to `high`."""
        first, last = (items * self.span + (times - self.origin).clip(0, self.span - 1) for times in (low, high + 1))
        counts = np.searchsorted(self.keys, last) - np.searchsorted(self.keys, first)
        return np.asarray(counts, dtype=np.float64)

    def _near_in_sequence(self, users: Index, items: Index) -> npt.NDArray[np.float64]:
        """Sum of `in_sequence` over what each user has rated."""
        own, row = np.unique(users, return_inverse=True)
        return np.asarray((self.rated[own] @ self.sequence).toarray()[row, items], dtype=np.float64)

    def closest(self, vectors: Vectors, users: Index, items: Index) -> npt.NDArray[np.float64]:
        """Mean cosine of each film to the CLOSEST of its user's liked films that are most like it; NaN without any."""
        indptr, liked = self.liked
        result = np.full(len(users), np.nan)
        starts = np.flatnonzero(np.diff(users, prepend=-1))
        for first, last in zip(starts, np.append(starts[1:], len(users)), strict=True):
            own = liked[indptr[users[first]] : indptr[users[first] + 1]]
            if len(own):
                cosine = vectors[items[first:last]] @ vectors[own].T
                count = min(CLOSEST, len(own))
                result[first:last] = np.partition(cosine, len(own) - count, axis=1)[:, -count:].mean(axis=1)
        return result


def in_sequence(users: Index, items: Index, times: Index, item_count: int) -> "csr_matrix":
    """How often users rated item i soon before or after item j: (items, items), symmetric but for the division.

    Entry (j, i) = sum over users of exp(-d / SEQUENCE_DECAY) / (n_j^a n_i^b), d <= SEQUENCE_LAGS how many ratings i and
    j are apart in the order of the user's, n the item's ratings plus PRIOR_RATINGS, (a, b) = SEQUENCE_POWERS. Of
    equally old ratings the given order counts.

    Args:
        users: (n,) user index of each rating.
        items: (n,) item index.
        times: (n,) when.
        item_count: how many items there are.
    """
    from scipy.sparse import csr_matrix, diags

    order = np.lexsort((times, users))
    users, items = users[order], items[order]
    pairs = []
    for lag in range(1, min(SEQUENCE_LAGS, len(users) - 1) + 1):
        same = users[lag:] == users[:-lag]
        weight = np.full(int(same.sum()), np.exp(-lag / SEQUENCE_DECAY))
        pairs.append((items[:-lag][same], items[lag:][same], weight))
    if not pairs:
        return csr_matrix((item_count, item_count))
    first, second, weights = (np.concatenate(column) for column in zip(*pairs, strict=True))
    near = csr_matrix((weights, (first, second)), shape=(item_count, item_count))
    ratings = np.bincount(items, minlength=item_count) + PRIOR_RATINGS
    of_rated, of_candidate = (diags(ratings**-power) for power in SEQUENCE_POWERS)
    return csr_matrix(of_rated @ (near + near.T) @ of_candidate)


@dataclass(frozen=True)
class Examples:
    """What the ranker learns from: candidates of users with at least one hit among them.

    Attributes:
        features: (rows, features).
        hits: (rows,) 1 where the held-out ratings like the film, else 0.
        groups: (users,) rows of each user.
    """

    features: Features
    hits: npt.NDArray[np.int8]
    groups: Index


def examples(known: Known, held_out: pl.DataFrame, size: int) -> Examples:
    """The candidates from `known`, marked by the held-out ratings; users without a hit teach nothing and are out."""
    pool = candidates(known.ratings)
    liked = held_out.filter(pl.col("rating") >= known.threshold)
    rows = positions(pool.user_ids, liked["user_id"].to_numpy())
    items = positions(pool.item_ids, liked["movie_id"].to_numpy())
    width = len(pool.item_ids)
    wanted = (rows * width + items)[(rows >= 0) & (items >= 0)]
    features, hits, groups = [], [], []
    for block in candidate_blocks(known, size):
        hit = np.isin(block.users * width + block.items, wanted)
        taught = np.isin(block.users, block.users[hit])
        features.append(block.features[taught])
        hits.append(hit[taught])
        groups.append(np.unique(block.users[taught], return_counts=True)[1])
    return Examples(np.concatenate(features), np.concatenate(hits).astype(np.int8), np.concatenate(groups))


def train_ranker(
    parts: Sequence[Examples],
    names: Sequence[str],
    *,
    trees: int,
    learning_rate: float,
    leaves: int,
    smallest_leaf: int,
    feature_share: float,
    row_share: float,
    seed: int,
) -> str:
    """A ranker of boosted trees, LambdaMART with the cross-entropy loss, in LightGBM's text form: numbers and no code.

    XE-NDCG ranks held-out folds as well as LambdaMART's own loss (docs/results.md) and trains in a third of the time.

    Fixed seeds and LightGBM's deterministic mode: the same examples give the same text.
    Sources: Burges, "From RankNet to LambdaRank to LambdaMART: An Overview", MSR-TR-2010-82; Bruch, "An Alternative
    Cross Entropy Loss for Learning-to-Rank", WWW 2021 (arXiv 1911.09798); Ke et al., "LightGBM", NIPS 2017.

    Args:
        parts: examples of each held-out fold.
        names: of the features (`feature_names`).
        trees: how many.
        learning_rate: share of each tree's values that is added.
        leaves: most leaves of a tree.
        smallest_leaf: fewest rows of a leaf.
        feature_share: share of the features each tree may use.
        row_share: share of the rows each tree sees.
        seed: of both draws.

    Raises:
        ValueError: no held-out fold has a liked movie among a user's candidates.
    """
    from lightgbm import Dataset, train

    hits = np.concatenate([part.hits for part in parts])
    if len(hits) == 0:
        raise ValueError(
            "no user likes a candidate in any held-out fold, so the stacker has nothing to learn from; lower "
            "evaluation.relevance_threshold, raise stacker.candidates, or choose another fusion"
        )
    settings = {
        "objective": "rank_xendcg",
        "learning_rate": learning_rate,
        "num_leaves": leaves,
        "min_data_in_leaf": smallest_leaf,
        "feature_fraction": feature_share,
        "bagging_fraction": row_share,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "seed": seed,
        "num_threads": 0,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
    rows = Dataset(
        np.concatenate([part.features for part in parts]),
        label=hits,
        group=np.concatenate([part.groups for part in parts]),
        feature_name=list(names),
        params=settings,
    )
    text: str = train(settings, rows, num_boost_round=trees).model_to_string()
    return text


def importances(text: str) -> pl.DataFrame:
    """`feature` and `gain`, the share of the ranker's total gain that it brought; largest first."""
    booster = _booster(text)
    gain = booster.feature_importance("gain")
    return pl.DataFrame({"feature": booster.feature_name(), "gain": gain / max(gain.sum(), 1e-12)}).sort(
        "gain", "feature", descending=[True, False]
    )


def stacked_ranking(text: str, known: Known, size: int, k: int, explained: int) -> Ranking:
    """The k best of each user's candidates by the ranker, and what each branch adds to the first ones.

    The part of a branch is the sum of its features' contributions (TreeSHAP: Lundberg et al., "From local
    explanations to global understanding with explainable AI for trees", 2020), that of CONTEXT the sum of the others
    and of the mean prediction; they sum to the score. Equal scores keep the order of the models' z-sum.

    Args:
        text: what `train_ranker` returned.
        known: ratings and branches of the fold that is ranked.
        size: candidates of each user, at least k.
        k: length of the lists.
        explained: of how many, at least 1 and from the first on, the parts are computed (they cost more than the
            ranking); the parts of the others are NaN.

    Raises:
        ValueError: the ranker was trained on other features.
    """
    booster = _booster(text)
    names = feature_names(list(known.models), list(known.contents))
    if booster.feature_name() != names:
        raise ValueError(f"the stacker knows the features {booster.feature_name()}, expected {names}; train it again")
    branches = [*known.models, *known.contents]
    owner = np.array([name.partition(".")[0] for name in names])
    pool = candidates(known.ratings)
    users = len(pool.user_ids)
    listed = np.full((users, k), -1, dtype=np.int64)
    fused = np.full((users, k), -np.inf, dtype=np.float32)
    own = {name: np.full((users, k), np.nan, dtype=np.float32) for name in branches}
    parts = {name: np.full((users, k), np.nan, dtype=np.float32) for name in (*branches, CONTEXT)}
    for block in candidate_blocks(known, size):
        if len(block.users) == 0:
            continue
        scores = np.asarray(booster.predict(block.features, raw_score=True))
        order = np.lexsort((-scores, block.users))
        counts = np.bincount(block.users, minlength=users)
        place = np.arange(len(order)) - (np.cumsum(counts) - counts)[block.users[order]]
        order, place = order[place < k], place[place < k]
        row = block.users[order]
        listed[row, place] = block.items[order]
        fused[row, place] = scores[order]
        for name in branches:
            own[name][row, place] = block.branch_scores[name][order]
        first = place < explained
        shares = np.asarray(booster.predict(block.features[order[first]], pred_contrib=True))
        row, place = row[first], place[first]
        for name in branches:
            parts[name][row, place] = shares[:, :-1][:, owner == name].sum(axis=1)
        parts[CONTEXT][row, place] = shares[:, :-1][:, owner == CONTEXT].sum(axis=1) + shares[:, -1]
    return Ranking(listed, fused, own, parts)


def _booster(text: str) -> "Booster":
    from lightgbm import Booster

    return Booster(model_str=text)
