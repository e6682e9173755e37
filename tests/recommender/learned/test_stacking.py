"""The learned fusion: no leakage, features by hand, what it learns, and that its parts sum to its scores."""

import re

import numpy as np
import polars as pl
import polars.testing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_assets.recommender.learned.context import (
    CONTEXT,
    SEQUENCE_DECAY,
    SEQUENCE_POWERS,
    context_features,
    film_years,
    films_of,
    in_sequence,
)
from hybrid_assets.recommender.learned.examples import cross_folds, drawn_negatives, examples, with_contents
from hybrid_assets.recommender.learned.features import (
    Known,
    aligned,
    candidate_blocks,
    centred_content,
    content_features,
    feature_names,
    known_from,
)
from hybrid_assets.recommender.learned.learned_ranking import learned_ranking
from hybrid_assets.recommender.learned.stacking import TooFewRows, importances, stacked_fusion, train_ranker
from hybrid_assets.recommender.metrics import ndcg
from hybrid_assets.recommender.models.ease import ease
from hybrid_assets.recommender.systems import candidates, relevant_items, score_table
from hybrid_assets.recommender.towers import TowerPair

SMALL = {
    "trees": 30,
    "learning_rate": 0.1,
    "leaves": 7,
    "smallest_leaf": 5,
    "feature_share": 1.0,
    "row_share": 1.0,
    "seed": 42,
}
YEAR = 365.25 * 86400


def tastes(users: int = 60, items: int = 60) -> pl.DataFrame:
    """Users like movies of their kind (id modulo 3) and rate some others low."""
    generator = np.random.default_rng(0)
    rows = [
        (user, item, 5.0 if user % 3 == item % 3 else 2.0, 10**9 + int(generator.integers(10**8)))
        for user in range(users)
        for item in generator.permutation(items)[:24].tolist()
    ]
    return pl.DataFrame(rows, schema=["user_id", "movie_id", "rating", "timestamp"], orient="row")


def years(ratings: pl.DataFrame) -> pl.DataFrame:
    ids = ratings["movie_id"].unique().sort()
    return pl.DataFrame({"movie_id": ids, "year": 1990.0 + ids % 20})


def model(ratings: pl.DataFrame, seed: int = 0) -> TowerPair:
    columns = (ratings[name].to_numpy() for name in ("user_id", "movie_id", "rating"))
    return ease(*columns, threshold=4.0, regularisation=5.0, liked_only=False, power=2.0)


def noise(ratings: pl.DataFrame) -> TowerPair:
    generator = np.random.default_rng(5)
    pool = candidates(ratings)
    sides = [(ids, generator.normal(size=(len(ids), 4)).astype(np.float32)) for ids in (pool.user_ids, pool.item_ids)]
    return TowerPair(*sides[0], *sides[1])


def known(ratings: pl.DataFrame, contents: dict[str, TowerPair] | None = None) -> Known:
    return known_from(ratings, {"ease": model(ratings), "noise": noise(ratings)}, years(ratings), 4.0, contents)


def texts(ratings: pl.DataFrame) -> dict[str, TowerPair]:
    """Texts that say the movie's kind."""
    ids = ratings["movie_id"].unique().sort().to_numpy()
    return {"text": centred_content(ratings, ids, np.eye(3, dtype=np.float32)[ids % 3], 4.0)}


def trained(ratings: pl.DataFrame, *, with_texts: bool = False) -> list[str]:
    fold, parts = cross_folds(ratings, 3, seed=1), []
    for part in range(3):
        rest = ratings.filter(pl.Series(fold != part))
        taught = examples(known(rest), ratings.filter(pl.Series(fold == part)), 30)
        pool = candidates(rest)
        taught = with_contents(taught, rest, pool, aligned(texts(rest) if with_texts else {}, pool), 4.0)
        parts.append(taught.with_columns(fold=pl.lit(part)))
    names = feature_names(["ease", "noise"], ["text"] if with_texts else [])
    return [train_ranker(pl.concat(parts), names, **SMALL | {"seed": seed, "row_share": 0.8}) for seed in (1, 2)]


def drawn(users: int, each: int, seed: int = 0) -> pl.DataFrame:
    """Candidates of two branches, one hit a user: `a` knows what active users like, `b` what the others do."""
    generator = np.random.default_rng(seed)
    rows = users * each
    active = generator.random(users) < 0.5
    z = generator.normal(size=(2, users, each))
    best = np.where(active, z[0].argmax(axis=1), z[1].argmax(axis=1))
    # not always: a likelihood needs doubt to have a maximum
    best = np.where(generator.random(users) < 0.7, best, generator.integers(each, size=users))
    hits = np.zeros((users, each), dtype=np.int8)
    hits[np.arange(users), best] = 1
    return pl.DataFrame(
        {
            "fold": np.zeros(rows, dtype=np.uint8),
            "user_id": np.repeat(np.arange(users), each),
            "hit": hits.ravel(),
            "stands_for": np.ones(rows, dtype=np.float32),
            "a.z": z[0].ravel().astype(np.float32),
            "b.z": z[1].ravel().astype(np.float32),
            "context.user_ratings": np.repeat(np.where(active, 500, 20), each).astype(np.float32),
            "context.ratings": generator.integers(1, 300, rows).astype(np.float32),
            "context.age_at_last": np.where(generator.random(rows) < 0.1, np.nan, generator.random(rows) * 50).astype(
                "f4"
            ),
        }
    )


def listed(rankers: list[str], of: Known, explained: int = 10):
    return learned_ranking(stacked_fusion(rankers, ["ease", "noise"], []), of, 30, 10, explained=explained)


@given(st.integers(1, 70), st.integers(1, 5), st.integers(0, 100))
def test_candidates_are_the_best_by_score_and_of_equal_ones_the_first(size, levels, seed):
    """A single model gives movies one of a few scores, so that most are equal: as in a stable sort of all of them."""
    ratings = tastes(users=4)
    pool = candidates(ratings)
    scores = np.random.default_rng(seed).integers(0, levels, len(pool.item_ids)).astype(np.float32)
    pair = TowerPair(pool.user_ids, np.ones((4, 1), np.float32), pool.item_ids, scores[:, None])
    (block,) = candidate_blocks(known_from(ratings, {"few": pair}, years(ratings), 4.0), size, lambda block: block)
    for user in range(4):
        unrated = np.setdiff1d(np.arange(len(scores)), pool.seen[1][slice(*pool.seen[0][user : user + 2])])
        expected = unrated[np.argsort(-scores[unrated], kind="stable")][:size]
        assert block.items[block.users == user].tolist() == expected.tolist()


def test_every_rating_is_held_out_once_and_users_are_dealt_out_evenly():
    ratings = tastes()
    fold = cross_folds(ratings, 4, seed=3)
    assert set(fold.tolist()) == {0, 1, 2, 3}
    counts = ratings.with_columns(pl.Series("fold", fold)).group_by("user_id", "fold").len()["len"]
    assert (counts.min(), counts.max()) == (6, 6)
    assert fold.tolist() == cross_folds(ratings, 4, seed=3).tolist()
    assert fold.tolist() != cross_folds(ratings, 4, seed=4).tolist()


def test_users_with_fewer_ratings_than_folds_do_not_all_fall_into_the_first():
    ratings = pl.DataFrame({"user_id": range(200)})
    counts = np.bincount(cross_folds(ratings, 4, seed=0), minlength=4)
    assert counts.sum() == 200
    assert counts.min() > 25


def test_the_context_of_a_candidate_by_hand():
    """Film 20 for user 1, who rated 10, 11 and 12 within ten days."""
    day, now = 86400, 1_500_000_000
    rows = [
        *((1, 10, 5.0, 0), (1, 11, 3.0, 1), (1, 12, 4.0, 10)),
        *((2, 10, 2.0, -101), (2, 20, 4.0, -100)),  # within half a year of user 1's time
        *((3, 20, 2.0, -400), (3, 30, 5.0, -300), (3, 31, 5.0, -200), (3, 11, 4.0, -190)),  # within two years
        *((4, 20, 3.0, 100), (5, 20, 3.5, 600)),  # and after it
        (6, 20, 1.5, -2000),  # before both
    ]
    ratings = pl.DataFrame(
        [(*row, now + days * day) for *row, days in rows],
        schema=["user_id", "movie_id", "rating", "timestamp"],
        orient="row",
    )
    ids = pl.DataFrame({"movie_id": [10, 11, 20], "year": [2000.0, 1990.0, 2010.0]})
    (block,) = candidate_blocks(known_from(ratings, {"m": noise(ratings)}, ids, 4.0), 10, lambda block: block)
    pool = candidates(ratings)
    row = np.flatnonzero((block.users == 0) & (pool.item_ids[block.items] == 20)).item()
    assert list(block.features) == feature_names(["m"], [])
    assert {values.dtype for values in block.features.values()} == {np.dtype(np.float32)}
    found = {name: float(values[row]) for name, values in block.features.items() if name.startswith(CONTEXT)}
    expected = {
        "ratings": 5,
        "likes": 1,
        "mean": 63 / 20,  # 4 + 2 + 3 + 3.5 + 1.5, and five times the mean of all, 7/2
        "residual": -1 / 10,  # 4 of a user's mean 3, and 2 of another's 4; users 4 to 6 rated nothing else
        "spread": 43 / 50,
        "year": 2010,
        "user_ratings": 3,
        "user_liked": 2 / 3,
        "user_mean": 4,
        "user_spread": (2 / 3) ** 0.5,
        "user_days": 10,
        "user_year": 1995,  # that of film 12 is not known
        "user_popularity": (np.log(3) + np.log(3) + np.log(2)) / 3,
        "near_half_year": 2,
        "near_two_years": 4,
        "before": 3,
        "age_at_last": 1970 + (now + 10 * day) / YEAR - 2010,
        "age_at_median": 1970 + (now + day) / YEAR - 2010,
        "first_after": -2010 / 365.25,
        # user 2 rated it right after film 10, user 3 three before film 11; these have 2 ratings, it has 5, and 5 each
        "in_sequence": (np.exp(-1 / 5) + np.exp(-3 / 5)) / (7**0.7 * 10**0.3),
    }
    assert found == pytest.approx({f"{CONTEXT}.{name}": value for name, value in expected.items()}, rel=1e-5)


def test_candidates_are_chosen_by_standardised_scores_and_told_both_by_hand():
    """A model that scores in hundreds decides no more than one that scores in ones."""
    ratings = pl.DataFrame(
        {"user_id": [1, 2, 2, 2, 2], "movie_id": [50, 10, 20, 30, 40], "rating": 4.0, "timestamp": 0}
    )

    def scoring(*scores: float) -> TowerPair:
        """Of films 10 to 40, which user 1 has not rated, and 50."""
        items = np.array(scores, dtype=np.float32)[:, None]
        return TowerPair(np.array([1, 2]), np.ones((2, 1), np.float32), np.array([10, 20, 30, 40, 50]), items)

    models = {
        "large": scoring(200, 400, 200, 400, 9000),  # mean 300, deviation 100
        "small": scoring(3, 1, 1, -5, 90),  # mean 0, deviation 3
    }
    (block,) = candidate_blocks(known_from(ratings, models, years(ratings), 4.0), 2, lambda block: block)
    first = block.users == 0
    assert candidates(ratings).item_ids[block.items[first]].tolist() == [20, 10], "by the sum of scores 20 and 40"
    found = {name: values[first].tolist() for name, values in block.features.items()}
    assert (found["large.score"], found["small.score"]) == ([400, 200], [1, 3])
    assert found["large.z"] == pytest.approx([1, -1])
    assert found["small.z"] == pytest.approx([1 / 3, 1])


def test_films_rated_one_after_the_other_are_near_in_sequence():
    users, items = np.array([0, 0, 0, 1, 1]), np.array([2, 0, 1, 1, 0])
    near = in_sequence(users, items, np.array([30, 10, 20, 5, 6]), 4).toarray()
    (a, b), n = SEQUENCE_POWERS, np.array([2, 2, 1, 0]) + 5.0
    one, two = np.exp(-1 / SEQUENCE_DECAY), np.exp(-2 / SEQUENCE_DECAY)
    counts = np.array([[0, 2 * one, two, 0], [2 * one, 0, one, 0], [two, one, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(near, counts / np.outer(n**a, n**b))
    assert in_sequence(users[:1], items[:1], np.array([1]), 4).nnz == 0
    row = np.arange(25)
    assert in_sequence(np.zeros(25, dtype=int), row, row, 25).toarray()[0].nonzero()[0].tolist() == list(range(1, 21))


def test_features_come_from_what_is_known_and_nothing_else():
    """Held-out ratings, whatever they say, change labels alone."""
    ratings = tastes()
    fold = cross_folds(ratings, 3, seed=1)
    rest, held_out = ratings.filter(pl.Series(fold != 0)), ratings.filter(pl.Series(fold == 0))
    liked = examples(known(rest), held_out.with_columns(rating=pl.lit(5.0)), 30)
    whole = examples(known(rest), held_out, 30)
    assert (
        whole.drop("hit").join(liked.drop("hit"), on=whole.drop("hit").columns, how="anti", nulls_equal=True).is_empty()
    )
    assert liked["hit"].sum() > whole["hit"].sum()


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=9), min_size=1, max_size=5), st.integers(1, 5))
def test_all_hits_teach_and_so_many_of_each_users_other_candidates(users, count):
    taught = pl.DataFrame(
        [(user, movie, hit) for user, hits in enumerate(users) for movie, hit in enumerate(hits)],
        schema={"user_id": pl.Int64, "movie_id": pl.Int64, "hit": pl.Int8},
        orient="row",
    )
    drawn = drawn_negatives(taught, count, np.random.default_rng(0))
    in_order = taught.join(drawn, on=taught.columns, how="semi", maintain_order="left")
    assert drawn.drop("stands_for").equals(in_order)
    for user, hits in enumerate(users):
        own = drawn.filter(pl.col("user_id") == user)
        assert own["hit"].sum() == sum(hits)
        others = len(hits) - sum(hits)
        assert own.height - sum(hits) == min(count, others)
        assert own.filter(hit=0)["stands_for"].sum() == pytest.approx(others)
        assert set(own.filter(hit=1)["stands_for"]) <= {1.0}


def test_other_draws_take_other_negatives():
    taught = pl.DataFrame({"user_id": 1, "movie_id": range(100), "hit": 0})
    one, same, other = (drawn_negatives(taught, 10, np.random.default_rng(seed))["movie_id"] for seed in (1, 1, 2))
    assert one.equals(same)
    assert not one.equals(other)


def test_candidates_are_unrated_and_the_best_by_the_models():
    ratings = tastes()
    rated = set(ratings.select("user_id", "movie_id").rows())
    pool = candidates(ratings)
    for block in candidate_blocks(known(ratings), 7, lambda block: block):
        pairs = list(zip(pool.user_ids[block.users].tolist(), pool.item_ids[block.items].tolist(), strict=True))
        assert not rated & set(pairs)
        assert set(np.unique(block.users, return_counts=True)[1].tolist()) == {7}


def test_it_learns_which_branch_knows_and_finds_what_was_held_out():
    ratings = tastes()
    fold = cross_folds(ratings, 5, seed=9)
    train, test = ratings.filter(pl.Series(fold != 0)), ratings.filter(pl.Series(fold == 0))
    text = trained(train)
    gains = dict(importances(text).iter_rows())
    assert gains["ease.score"] + gains["ease.z"] > 2 * (gains["noise.score"] + gains["noise.z"])
    pool = candidates(train)
    users, relevant = relevant_items(test, pool, 4.0)
    stacked = listed(text, known(train))
    deaf = known_from(train, {"ease": noise(train), "noise": noise(train)}, years(train), 4.0)
    blind = listed(text, deaf, explained=1)
    assert ndcg(stacked.items[users], relevant).mean() > 2 * ndcg(blind.items[users], relevant).mean()


def test_the_same_examples_give_the_same_text_and_lists():
    ratings = tastes()
    first, second = trained(ratings), trained(ratings)
    assert first == second
    assert first[0] != first[1], "draws of their own"
    one, two = (listed(texts, known(ratings)) for texts in (first, second))
    assert one.items.tobytes() == two.items.tobytes()
    assert one.scores.tobytes() == two.scores.tobytes()


def test_parts_sum_to_the_score_and_lists_descend():
    ratings = tastes()
    table = score_table(listed(trained(ratings), known(ratings)), candidates(ratings))
    assert table.columns[4:] == ["score_ease", "part_ease", "score_noise", "part_noise", f"part_{CONTEXT}"]
    parts = table.select(pl.sum_horizontal(pl.col("^part_.*$"))).to_series()
    assert (parts - table["score"]).abs().max() < 1e-5
    first = score_table(listed(trained(ratings), known(ratings), explained=3), candidates(ratings)).with_columns(
        pl.col("rank").le(3).alias("explained")
    )
    assert first["movie_id"].equals(table["movie_id"])
    assert first.select((pl.col("^part_.*$").is_nan() != pl.col("explained")).all()).row(0) == (True, True, True)
    assert table.select((pl.col("score").diff().over("user_id") <= 0).all()).item()


def test_lists_and_examples_are_the_same_whatever_the_block(monkeypatch):
    ratings = tastes()
    held_out = pl.Series(cross_folds(ratings, 5, seed=9) == 0)
    rest, wanted = ratings.filter(~held_out), ratings.filter(held_out)
    rankers, of = trained(rest), known(rest)
    one_block, taught = listed(rankers, of), examples(of, wanted, 30)
    monkeypatch.setattr("hybrid_assets.recommender.learned.features.BLOCK_USERS", 7)
    blocks, taught_by_blocks = listed(rankers, of), examples(of, wanted, 30)
    assert blocks.items.tolist() == one_block.items.tolist()
    for name, parts in one_block.branch_parts.items():
        np.testing.assert_allclose(blocks.branch_parts[name], parts, atol=1e-5)
    pl.testing.assert_frame_equal(taught_by_blocks, taught, rel_tol=1e-4, abs_tol=1e-5)


def test_other_features_than_it_was_trained_on_are_refused():
    ratings = tastes()
    rankers = trained(ratings)
    with pytest.raises(ValueError, match="train it again"):
        stacked_fusion(rankers, ["ease", "noise"], ["text"])
    with pytest.raises(ValueError, match="train it again"):
        learned_ranking(
            stacked_fusion(rankers, ["ease", "noise"], []), known(ratings, texts(ratings)), 30, 10, explained=1
        )


def test_nothing_to_learn_from_says_what_to_do():
    ratings = tastes()
    part = examples(known(ratings), ratings, 30).with_columns(fold=pl.lit(0))  # what is known is no candidate
    with pytest.raises(ValueError, match="nothing to learn from"):
        train_ranker(part, feature_names(["ease", "noise"], []), **SMALL)


def test_trees_without_a_split_are_no_ranker_and_the_setting_is_named():
    ratings = tastes()
    held_out = pl.Series(cross_folds(ratings, 3, seed=1) == 0)
    taught = examples(known(ratings.filter(~held_out)), ratings.filter(held_out), 30).with_columns(fold=pl.lit(0))
    names = feature_names(["ease", "noise"], [])
    assert "split" in train_ranker(taught, names, **SMALL)
    with pytest.raises(TooFewRows, match=rf"{taught.height:,} rows.*smallest_leaf = 100000; lower systems\.<name>\.st"):
        train_ranker(taught, names, **SMALL | {"smallest_leaf": 100000})


def test_what_texts_tell_of_a_candidate_by_hand_and_in_whatever_block_its_user_is():
    ratings = tastes(users=150)
    pool, (text,) = candidates(ratings), texts(ratings).values()
    features = content_features(ratings, pool, aligned({"text": text}, pool), 4.0)
    users = np.repeat(np.arange(150), 60)
    items = np.tile(np.arange(60), 150)
    found = features(users, items)
    kind = {int(movie): text.item_vectors[place] for place, movie in enumerate(text.item_ids)}
    for row in (0, 64 * 60 - 1, 64 * 60, 149 * 60 + 7):
        user, movie = pool.user_ids[users[row]], int(pool.item_ids[items[row]])
        own = ratings.filter(pl.col("user_id") == user)
        profile = text.user_vectors[text.user_ids == user][0]
        free = [profile @ kind[other] for other in kind if other not in own["movie_id"]]
        assert found["text.score"][row] == pytest.approx(profile @ kind[movie], abs=1e-6)
        assert found["text.z"][row] == pytest.approx((profile @ kind[movie] - np.mean(free)) / np.std(free), abs=1e-3)
        liked = own.filter(pl.col("rating") >= 4)["movie_id"]
        near = sorted(kind[other] @ kind[movie] for other in liked)
        assert found["text.closest"][row] == pytest.approx(np.mean(near[-3:]), abs=1e-6)
    some = np.array([5, 64 * 60, 64 * 60 + 1, 8999])
    for name, values in features(users[some], items[some]).items():
        np.testing.assert_allclose(values, found[name][some], rtol=1e-6)
    disliked = ratings.with_columns(rating=pl.lit(1.0))
    nobody = content_features(disliked, pool, aligned({"text": text}, pool), 4.0)(users[:3], items[:3])
    assert np.isnan(nobody["text.closest"]).all()


def test_texts_that_tell_the_kind_are_learnt_from():
    ratings = tastes()
    gains = dict(importances(trained(ratings, with_texts=True)).iter_rows())
    assert gains["text.score"] + gains["text.z"] + gains["text.closest"] > gains["noise.score"] + gains["noise.z"]


def test_content_is_the_cosine_without_the_common_direction():
    ratings = pl.DataFrame({"user_id": [1, 1, 2], "movie_id": [10, 20, 30], "rating": [5.0, 2.0, 5.0]})
    embeddings = np.array([[0, 0, 1], [3, 0, 1], [0, 3, 1], [9, 9, 9]], dtype=np.float32)
    pair = centred_content(ratings, np.array([10, 20, 30, 40]), embeddings, 4.0)
    assert pair.item_ids.tolist() == [10, 20, 30], "a film that nobody rated is no candidate and moves no mean"
    centred = np.array([[-1, -1, 0], [2, -1, 0], [-1, 2, 0]]) / np.sqrt([[2], [5], [5]])
    np.testing.assert_allclose(pair.item_vectors, centred, atol=1e-6)
    np.testing.assert_allclose(pair.user_vectors, centred[[0, 2]], atol=1e-6)


def test_years_are_read_from_titles():
    movies = pl.DataFrame({"movie_id": range(5), "title": ["A (1999)", "B (1999) ", "(500) Days", "1984", None]})
    assert film_years(movies)["year"].to_list() == [1999.0, 1999.0, None, None, None]


def test_who_rated_everything_at_one_time_tells_nothing_of_an_order():
    users, items = np.array([0, 0, 0, 1, 1]), np.array([2, 0, 1, 1, 0])
    assert in_sequence(users, items, np.zeros(5, dtype=np.int64), 4).nnz == 0
    near = in_sequence(users, items, np.array([7, 7, 7, 5, 6]), 4).toarray()
    (a, b), n = SEQUENCE_POWERS, np.array([2, 2, 1, 0]) + 5.0
    counts = np.zeros((4, 4))
    counts[0, 1] = counts[1, 0] = np.exp(-1 / SEQUENCE_DECAY)
    np.testing.assert_allclose(near, counts / np.outer(n**a, n**b))


def test_a_rating_of_the_threshold_is_liked_by_user_and_film():
    ratings = pl.DataFrame(
        {"user_id": [1], "movie_id": [5], "rating": [0.7], "timestamp": [9]}, schema_overrides={"rating": pl.Float32}
    )
    films = films_of(ratings, years(ratings), 0.7)
    pool = candidates(ratings)
    found = context_features(films, ratings, pool)(np.array([0]), np.array([0]))
    assert found["context.likes"].tolist() == found["context.user_liked"].tolist() == [1.0]


def rank_by(taught, **changed):
    names = [name for name in taught.columns if "." in name]
    return train_ranker(taught, names, **SMALL | changed)


def trees(text):
    return text.partition("parameters:")[0]


def test_a_user_of_two_folds_is_ranked_in_each_apart():
    apart = drawn(300, 10)
    folds = apart.with_columns(fold=(pl.col("user_id") >= 150).cast(pl.UInt8), user_id=pl.col("user_id") % 150)
    assert rank_by(apart) == rank_by(folds)


@pytest.mark.parametrize("setting", [{"row_share": 0.5}, {"feature_share": 0.5}, {"learning_rate": 0.3}])
def test_every_setting_of_the_trees_has_an_effect_of_its_own(setting):
    taught = drawn(300, 10)
    assert trees(rank_by(taught, **setting)) != trees(rank_by(taught))
    told = dict(
        re.findall(r"\[(\w+): (.*)\]", rank_by(taught, trees=3, row_share=0.5, feature_share=0.7, learning_rate=0.3))
    )
    assert (told["bagging_fraction"], told["feature_fraction"], told["learning_rate"]) == ("0.5", "0.7", "0.3")


def test_a_score_is_the_mean_of_the_rankers_scores():
    taught = drawn(300, 10).with_columns((pl.col(f"{b}.z") * 2).alias(f"{b}.score") for b in "ab")
    names = feature_names(["a", "b"], [])
    taught = taught.with_columns(pl.lit(0.0, pl.Float32).alias(n) for n in names if n not in taught.columns)
    rankers = [train_ranker(taught, names, **SMALL | {"seed": seed, "row_share": 0.5}) for seed in (1, 2)]
    features = {name: taught[name].to_numpy() for name in names}
    one, two, both = (
        stacked_fusion(some, ["a", "b"], []).score(features) for some in (rankers[:1], rankers[1:], rankers)
    )
    np.testing.assert_allclose(both, (one + two) / 2)


def test_a_rating_of_the_threshold_is_a_hit_and_something_liked():
    train = pl.DataFrame(
        {
            "user_id": [1, 1, 2, 2, 2],
            "movie_id": [10, 20, 10, 30, 40],
            "rating": [4.0, 1.0, 5.0, 5.0, 5.0],
            "timestamp": 0,
        }
    )
    pool = candidates(train)
    texts = {"t": centred_content(train, pool.item_ids, np.eye(4, dtype="f4"), 4.0)}
    told = content_features(train, pool, aligned(texts, pool), 4.0)(np.array([0]), np.array([2]))
    assert np.isfinite(told["t.closest"]).all(), "user 1 likes movie 10, of 4 stars"
    held_out = pl.DataFrame({"user_id": [1], "movie_id": [30], "rating": [4.0]})
    known = known_from(train, {"m": noise(train)}, years(train), 4.0)
    assert examples(known, held_out, 5).filter(pl.col("hit") == 1)["movie_id"].to_list() == [30]


def test_a_rating_of_the_same_moment_as_the_users_last_counts_as_before_it():
    rows = [(1, 10, 5.0, 100), (1, 11, 5.0, 900), (2, 20, 4.0, 900), (3, 20, 4.0, 901), (3, 12, 4.0, 5000)]
    ratings = pl.DataFrame(rows, schema=["user_id", "movie_id", "rating", "timestamp"], orient="row")
    (block,) = candidate_blocks(
        known_from(ratings, {"m": noise(ratings)}, years(ratings), 4.0), 10, lambda block: block
    )
    row = np.flatnonzero((block.users == 0) & (candidates(ratings).item_ids[block.items] == 20)).item()
    assert block.features["context.before"][row] == 1
