"""The learned fusion: no leakage, features by hand, what it learns, and that its parts sum to its scores."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import polars.testing
import pytest
from planted_fusion import SMALL, drawn, known, noise, ranked, small_ranker, texts, trained
from planted_ratings import facts, tastes

from hybrid_assets.recommender.learned.context import (
    CONTEXT,
)
from hybrid_assets.recommender.learned.examples import cross_folds, examples
from hybrid_assets.recommender.learned.features import (
    Known,
    feature_names,
    known_from,
)
from hybrid_assets.recommender.learned.stacking import (
    TooFewRows,
    importances,
    ranker_rows,
    stacked_fusion,
    train_ranker,
)
from hybrid_assets.recommender.metrics import ndcg
from hybrid_assets.recommender.systems import candidates, relevant_items, score_table


def listed(rankers: list[str], of: Known, explained: int = 10):
    return ranked(stacked_fusion(rankers, ["ease", "noise"], []), of, explained=explained)


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
    deaf = known_from(train, {"ease": noise(train), "noise": noise(train)}, facts(train), 4.0)
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
        ranked(stacked_fusion(rankers, ["ease", "noise"], []), known(ratings), contents=texts(ratings))


def test_nothing_to_learn_from_says_what_to_do():
    ratings = tastes()
    part = examples(known(ratings), ratings, 30).with_columns(fold=pl.lit(0))  # what is known is no candidate
    with pytest.raises(ValueError, match="nothing to learn from"):
        small_ranker(part, feature_names(["ease", "noise"], []))


def test_trees_without_a_split_are_no_ranker_and_the_setting_is_named():
    ratings = tastes()
    held_out = pl.Series(cross_folds(ratings, 3, seed=1) == 0)
    taught = examples(known(ratings.filter(~held_out)), ratings.filter(held_out), 30).with_columns(fold=pl.lit(0))
    names = feature_names(["ease", "noise"], [])
    assert "split" in small_ranker(taught, names)
    with pytest.raises(TooFewRows, match=rf"{taught.height:,} rows.*smallest_leaf = 100000; lower systems\.<name>\.st"):
        small_ranker(taught, names, smallest_leaf=100_000)


def test_texts_that_tell_the_kind_are_learnt_from():
    ratings = tastes()
    gains = dict(importances(trained(ratings, with_texts=True)).iter_rows())
    assert gains["text.score"] + gains["text.z"] + gains["text.closest"] > gains["noise.score"] + gains["noise.z"]


def rank_by(taught, **changed):
    names = [name for name in taught.columns if "." in name]
    return small_ranker(taught, names, **changed)


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
    rankers = [small_ranker(taught, names, seed=seed, row_share=0.5) for seed in (1, 2)]
    features = {name: taught[name].to_numpy() for name in names}
    one, two, both = (
        stacked_fusion(some, ["a", "b"], []).score(features) for some in (rankers[:1], rankers[1:], rankers)
    )
    np.testing.assert_allclose(both, (one + two) / 2)


def test_rankers_that_share_their_rows_are_those_that_have_them_alone():
    taught = drawn(300, 10)
    names = [name for name in taught.columns if "." in name]
    rows = ranker_rows(taught, names, smallest_leaf=SMALL["smallest_leaf"], seed=42)

    def ranker(seed: int) -> str:
        return train_ranker(rows, **SMALL | {"seed": seed, "row_share": 0.5})

    with ThreadPoolExecutor(2) as workers:
        shared = list(workers.map(ranker, range(1, 7)))
    assert len(set(shared)) == 6
    for seed, text in enumerate(shared, 1):
        alone = ranker_rows(taught, names, smallest_leaf=SMALL["smallest_leaf"], seed=42)
        assert train_ranker(alone, **SMALL | {"seed": seed, "row_share": 0.5}) == text
