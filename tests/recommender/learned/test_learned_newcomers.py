"""Learned fusions for new people: those who teach are held out, and a user who comes anew is the user."""

import numpy as np
import polars as pl
from planted_fusion import TEXTS, fitted, ranked, small_ranker
from planted_ratings import facts, tastes

from hybrid_assets.recommender.learned.context import films_of
from hybrid_assets.recommender.learned.examples import cross_folds, examples, with_contents
from hybrid_assets.recommender.learned.features import aligned, centred_content, feature_names, known_from
from hybrid_assets.recommender.learned.learned_newcomers import (
    learned_newcomer_system,
    leave_out,
    newcomer_examples,
    with_newcomer_contents,
)
from hybrid_assets.recommender.learned.learned_ranking import LearnedFusion
from hybrid_assets.recommender.learned.stacking import stacked_fusion
from hybrid_assets.recommender.metrics import ndcg
from hybrid_assets.recommender.ranking import Ranking
from hybrid_assets.recommender.systems import candidates, relevant_items

NAMES = feature_names(["ease", "popular"], ["text"])


def of_users(ratings: pl.DataFrame) -> LearnedFusion:
    fold, parts = cross_folds(ratings, 3, seed=1), []
    for part in range(3):
        rest = ratings.filter(pl.Series(fold != part))
        known = known_from(rest, {name: pair for name, (_, pair) in fitted(rest).items()}, facts(rest), 4.0)
        taught = examples(known, ratings.filter(pl.Series(fold == part)), 30)
        contents = aligned({"text": centred_content(rest, *TEXTS["text"], 4.0)}, known.pool)
        taught = with_contents(taught, rest, known.pool, contents, 4.0)
        parts.append(taught.with_columns(fold=pl.lit(part)))
    return stacked_fusion([small_ranker(pl.concat(parts), NAMES)], ["ease", "popular"], ["text"])


def taught_by_newcomers(ratings: pl.DataFrame, known: tuple[int, ...] = (1, 4), seed: int = 0) -> pl.DataFrame:
    left_out = leave_out(ratings, 0.4, seed)
    models, films = fitted(left_out.warm), films_of(left_out.warm, facts(ratings), 4.0)
    parts = []
    for place, count in enumerate(known):
        taught = newcomer_examples(models, films, left_out, count, 30)
        taught = with_newcomer_contents(taught, TEXTS, left_out, count, 4.0)
        parts.append(taught.with_columns(fold=pl.lit(place)))
    return pl.concat(parts)


def system(ratings: pl.DataFrame, few: LearnedFusion, many: LearnedFusion, most_few: int = 4, size: int = 30):
    films = films_of(ratings, facts(ratings), 4.0)
    return learned_newcomer_system(
        fitted(ratings), TEXTS, films,
        few=few, many=many, most_few=most_few, choosing=("ease", "popular"), size=size, explained=5,
    )  # fmt: skip


def test_a_user_who_comes_anew_with_many_ratings_gets_the_list_of_the_user():
    ratings = tastes()
    fusion = of_users(ratings)
    contents = {"text": centred_content(ratings, *TEXTS["text"], 4.0)}
    models = {name: pair for name, (_, pair) in fitted(ratings).items()}
    expected = ranked(fusion, known_from(ratings, models, facts(ratings), 4.0), k=5, explained=5, contents=contents)
    anew, pool = system(ratings, few=None, many=fusion)(ratings, 5)
    assert pool.user_ids.tolist() == candidates(ratings).user_ids.tolist()
    np.testing.assert_array_equal(anew.items, expected.items)
    np.testing.assert_allclose(anew.scores, expected.scores, atol=1e-5)
    for part, values in expected.branch_parts.items():
        np.testing.assert_allclose(anew.branch_parts[part], values, atol=1e-5)


def constant(value: float) -> LearnedFusion:
    """Ranks by popularity, and says its name by its scores."""

    def score(features):
        return value + 1e-3 * features["popular.score"].astype(np.float64)

    return LearnedFusion(("ease", "popular", "text"), score, lambda features: {"popular": score(features)})


def test_who_brings_few_ratings_is_ranked_by_what_newcomers_taught():
    ratings = tastes()
    place = pl.int_range(pl.len()).over("user_id")
    four_and_five = ratings.filter(place < pl.when(pl.col("user_id") % 2 == 0).then(4).otherwise(5))
    ranking, pool = system(ratings, few=constant(1000.0), many=constant(2000.0))(four_and_five, 3)
    by = {int(user): round(float(scores[0]), -3) for user, scores in zip(pool.user_ids, ranking.scores, strict=True)}
    assert by == {user: 1000.0 if user % 2 == 0 else 2000.0 for user in range(60)}
    for user in (0, 1):
        alone, own_pool = system(ratings, few=constant(1000.0), many=constant(2000.0))(
            four_and_five.filter(pl.col("user_id") == user), 3
        )
        row = int(np.flatnonzero(pool.user_ids == user)[0])
        assert own_pool.item_ids[alone.items[0]].tolist() == pool.item_ids[ranking.items[row]].tolist()
        assert alone.branch_parts["popular"][0].tolist() == ranking.branch_parts["popular"][row].tolist()


def test_those_who_teach_are_known_by_so_many_ratings_and_marked_by_the_others():
    ratings = tastes()
    left_out = leave_out(ratings, 0.4, 0)
    gone = set(left_out.of_users["user_id"])
    assert 10 < len(gone) < 40
    assert not gone & set(left_out.warm["user_id"])
    taught = taught_by_newcomers(ratings)
    assert set(taught["user_id"]) <= gone
    assert set(taught["context.user_ratings"].to_list()) == {1.0, 4.0}
    liked = set(ratings.filter(pl.col("rating") >= 4).select("user_id", "movie_id").rows())
    brought = {
        count: set(left_out.of_users.filter(pl.col("place") < count).select("user_id", "movie_id").rows())
        for count in (1, 4)
    }
    for place, count in enumerate((1, 4)):
        rows = taught.filter(pl.col("fold") == place)
        pairs = list(rows.select("user_id", "movie_id").rows())
        assert not set(pairs) & brought[count], "what they bring is no candidate"
        assert [bool(hit) for hit in rows["hit"]] == [pair in liked for pair in pairs]


def test_nobody_or_everybody_cannot_leave():
    ratings = tastes(users=2)
    assert leave_out(ratings, 1e-6, 0) is None
    assert leave_out(ratings, 1 - 1e-6, 0) is None


def test_what_newcomers_taught_is_better_for_newcomers():
    ratings = tastes(users=200)
    fold = np.random.default_rng(3).random(200) < 0.2
    comes_anew = pl.col("user_id").is_in(np.flatnonzero(fold).tolist())
    train, theirs = ratings.filter(~comes_anew), ratings.filter(comes_anew)
    own = theirs.filter(pl.int_range(pl.len()).over("user_id") < 1)
    rest = theirs.filter(pl.int_range(pl.len()).over("user_id") >= 1)
    taught = taught_by_newcomers(train, (1,))
    newcomers = stacked_fusion([small_ranker(taught, NAMES)], ["ease", "popular"], ["text"])

    def quality(few: LearnedFusion) -> float:
        ranking, pool = system(train, few=few, many=few)(own, 10)
        return _ndcg(ranking, rest, pool)

    assert quality(newcomers) > 1.2 * quality(constant(0.0)), "one liked movie says the taste; popularity does not"


def _ndcg(ranking: Ranking, wanted: pl.DataFrame, pool) -> float:
    users, relevant = relevant_items(wanted, pool, 4.0)
    return float(ndcg(ranking.items[users], relevant).mean())


def test_one_rating_whatever_it_is_gives_a_list_no_longer_than_the_candidates():
    ratings = tastes()
    ranks = system(ratings, few=of_users(ratings), many=None, size=7)
    for movie, stars in ((3, 5.0), (3, 0.5), (999, 4.0)):
        own = pl.DataFrame(
            {"user_id": [1], "movie_id": [movie], "rating": [stars], "timestamp": [10**9]},
            schema_overrides={"rating": pl.Float32},
        )
        ranking, pool = ranks(own, 10)
        listed = pool.item_ids[ranking.items[0][ranking.items[0] >= 0]]
        assert len(listed) == 7
        assert movie not in listed
        assert np.isfinite(ranking.scores[0, :7]).all()


def test_those_who_teach_come_at_the_last_moment_that_the_models_know():
    ratings = tastes()
    taught = taught_by_newcomers(ratings)
    last = leave_out(ratings, 0.4, 0).warm["timestamp"].max()
    assert taught["context.user_days"].unique().to_list() == [0.0]
    films = taught.filter(pl.col("context.year").is_not_nan())
    born = 1970 + last / (365.25 * 86400) - films["context.year"]
    np.testing.assert_allclose(films["context.age_at_last"], born, atol=1e-3)


def test_what_is_not_to_be_seen_again_is_not_listed_by_a_learned_system():
    train = tastes()
    films = films_of(train, facts(train), 4.0)
    system = learned_newcomer_system(
        fitted(train), TEXTS, films,
        few=constant(1.0), many=constant(2.0), most_few=4, choosing=("ease", "popular"), size=60, explained=0,
    )  # fmt: skip
    own = train.filter(pl.col("user_id") == 7).head(2)
    hidden = pl.DataFrame({"user_id": 7, "movie_id": [3, 4]})
    ranking, pool = system(own, 60, seen=hidden)
    listed = set(pool.item_ids[ranking.items[0][ranking.items[0] >= 0]].tolist())
    assert listed == set(films.item_ids.tolist()) - {3, 4}
