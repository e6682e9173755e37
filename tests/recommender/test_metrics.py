"""What each metric says of lists whose answer is known, by hand or from another library."""

import json
import tracemalloc
from itertools import combinations, pairwise
from math import log2
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_assets.recommender import metrics
from hybrid_assets.recommender.metrics import (
    average_precision,
    coverage,
    diversity,
    hit,
    hit_matrix,
    miscalibration,
    ndcg,
    ndcg_list,
    novelty,
    popularity_bias,
    popularity_strata,
    precision,
    recall,
    reciprocal_rank,
    user_metrics,
)

ACCURACY = [precision, recall, ndcg, ndcg_list, reciprocal_rank, average_precision, hit]
REFERENCE = Path(__file__).parent / "reference"


def csr(*relevant):
    """Relevant items of each user -> (indptr, items)."""
    indptr = np.cumsum([0, *map(len, relevant)])
    return indptr, np.array([item for items in relevant for item in items], dtype=np.int64)


def padded(lists, k):
    return np.array([[*items, *[-1] * (k - len(items))] for items in lists], dtype=np.int64)


def unit(vectors):
    vectors = np.asarray(vectors, dtype=np.float64)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@st.composite
def cases(draw, shortest=0):
    """Random lists, some shorter than k, with relevant items that they hold often enough: lists, relevant, items."""
    users, items, k = draw(st.integers(1, 8)), draw(st.integers(4, 30)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    longest = min(k, items)
    lists = [
        rng.choice(items, rng.integers(min(shortest, longest), longest, endpoint=True), replace=False)
        for _ in range(users)
    ]
    relevant = [rng.choice(items, rng.integers(1, items), replace=False) for _ in range(users)]
    return padded(lists, k), csr(*relevant), items


# --- by hand ---


def test_hits_second_and_third_of_a_list_shorter_than_k():
    lists, relevant = np.array([[7, 3, 5, -1]]), csr([5, 9, 3])
    dcg = 1 / log2(3) + 1 / log2(4)
    assert hit_matrix(lists, relevant).tolist() == [[False, True, True, False]]
    assert precision(lists, relevant) == [2 / 4]
    assert recall(lists, relevant) == [2 / 3]
    assert reciprocal_rank(lists, relevant) == [1 / 2]
    assert hit(lists, relevant) == [1]
    np.testing.assert_allclose(average_precision(lists, relevant), (1 / 2 + 2 / 3) / 3)
    np.testing.assert_allclose(ndcg(lists, relevant), dcg / (1 + 1 / log2(3) + 1 / log2(4)))
    np.testing.assert_allclose(ndcg_list(lists, relevant), dcg / (1 + 1 / log2(3)))


@pytest.mark.parametrize("metric", ACCURACY)
def test_no_hit_is_zero(metric):
    lists = np.array([[0, 1, 2], [-1, -1, -1]])
    assert metric(lists, csr([3], [0, 1])).tolist() == [0, 0]


@pytest.mark.parametrize("metric", [precision, ndcg, ndcg_list, reciprocal_rank, average_precision, hit])
def test_a_list_of_nothing_but_hits_is_perfect_though_more_items_are_relevant(metric):
    assert metric(np.array([[4, 2]]), csr([1, 2, 3, 4, 5])) == [1]


def test_recall_counts_all_relevant_items_though_they_are_more_than_k():
    assert recall(np.array([[4, 2]]), csr([1, 2, 3, 4, 5])) == [2 / 5]


def test_the_two_ndcgs_differ_by_what_was_missed():
    """One hit, first, of three relevant: the list could not be ordered better, and yet it could be better."""
    lists, relevant = np.array([[1, 8, 9]]), csr([1, 2, 3])
    assert ndcg_list(lists, relevant) == [1]
    np.testing.assert_allclose(ndcg(lists, relevant), 1 / (1 + 1 / log2(3) + 1 / log2(4)))


def test_an_item_is_a_hit_only_for_the_user_to_whom_it_is_relevant():
    # the largest item index of one user, and the padding of the next, are neighbours in the sorted keys
    lists = np.array([[0, 1], [9, -1], [-1, -1]])
    assert hit_matrix(lists, csr([9, 1], [8], [9])).tolist() == [[False, True], [False, False], [False, False]]


def test_novelty_is_the_mean_information_in_bits():
    lists = np.array([[0, 1, 2], [2, -1, -1], [0, -1, -1], [-1, -1, -1]])
    # rated by all 8 users, by 4, by 1: 0, 1 and 3 bits
    assert novelty(lists, np.array([8, 4, 1]), 8).tolist() == [4 / 3, 3, 0, 0]


def test_novelty_refuses_a_listed_item_that_nobody_rated_and_allows_one_not_listed():
    counts = np.array([2, 0])
    assert novelty(np.array([[0, -1]]), counts, 4).tolist() == [1]
    with pytest.raises(ValueError, match="item 1 is listed and has 0 train ratings, expected 1 to 4"):
        novelty(np.array([[0, 1]]), counts, 4)


def test_popular_are_the_most_rated_tenth_rounded_up_ties_by_index():
    counts = np.full(21, 5)
    counts[20] = 9
    # three of 21: item 20, then 0 and 1 of the equals
    lists = np.array([[20, 0, 1, 2], [2, 3, 1, -1], [4, 5, 6, 7], [-1, -1, -1, -1]])
    assert popularity_bias(lists, counts).tolist() == [3 / 4, 1 / 3, 0, 0]


def test_diversity_of_equal_orthogonal_and_opposite_items():
    vectors = unit([[1, 0], [1, 0], [0, 1], [-1, 0]])
    lists = np.array([[0, 1, -1], [0, 2, -1], [0, 3, -1], [0, 1, 2], [0, -1, -1], [-1, -1, -1]])
    np.testing.assert_allclose(diversity(lists, vectors), [0, 1, 2, 2 / 3, 0, 0], atol=1e-6)


def test_diversity_is_the_mean_over_all_pairs():
    rng = np.random.default_rng(3)
    vectors = unit(rng.normal(size=(50, 16)))
    lists = padded([rng.choice(50, n, replace=False) for n in (2, 3, 7, 10)], 10)
    pairs = [[1 - vectors[a] @ vectors[b] for a, b in combinations(row[row >= 0], 2)] for row in lists]
    np.testing.assert_allclose(diversity(lists, vectors), [np.mean(p) for p in pairs], atol=1e-6)


def test_diversity_does_not_depend_on_the_block(monkeypatch):
    rng = np.random.default_rng(4)
    vectors, lists = unit(rng.normal(size=(30, 8))), np.array([rng.choice(30, 5, replace=False) for _ in range(7)])
    whole = diversity(lists, vectors)
    monkeypatch.setattr(metrics, "BLOCK_NUMBERS", 3 * 5 * 8)
    np.testing.assert_allclose(diversity(lists, vectors), whole, atol=1e-6)


@pytest.mark.parametrize("missing", [0.0, np.nan])
def test_diversity_refuses_a_missing_vector_and_names_the_item(missing):
    vectors = np.full((4, 2), 0.5**0.5, dtype=np.float32)
    vectors[2] = missing
    with pytest.raises(ValueError, match=r"vector of item 2 has length (0|nan), expected 1 \(1 such items\)"):
        diversity(np.array([[0, 1]]), vectors)


def test_coverage_is_the_share_of_the_items_that_somebody_gets():
    assert coverage(np.array([[0, 3, -1], [3, 0, 4], [-1, -1, -1]]), 6) == 3 / 6
    assert coverage(np.array([[-1]]), 6) == 0
    with pytest.raises(ValueError, match="item index 6 and there are 6 items"):
        coverage(np.array([[6]]), 6)


# --- what is refused ---


@pytest.mark.parametrize("metric", ACCURACY)
def test_a_user_without_a_relevant_item_is_refused(metric):
    with pytest.raises(ValueError, match="user 1 has no relevant item; leave such users out"):
        metric(np.array([[0], [0], [0]]), csr([1], [], [2]))


@pytest.mark.parametrize(
    ("lists", "relevant", "message"),
    [
        (np.array([[0]]), csr([1], [2]), "the CSR of 1 users: 2 offsets from 0 to 2 items"),
        (np.array([[0], [1]]), csr([1], [4, 2, 4]), "user 1 has item 4 twice"),
        (np.array([[0], [1]]), csr([1], [4, -1]), "user 1 has the relevant item -1"),
        (np.array([0, 1]), csr([1], [2]), r"must be \(users, k\)"),
        (np.empty((2, 0), dtype=np.int64), csr([1], [2]), "k at least 1"),
    ],
)
def test_inputs_that_would_miscount_are_refused(lists, relevant, message):
    with pytest.raises(ValueError, match=message):
        hit_matrix(lists, relevant)


# --- what holds for any lists ---


@given(cases())
def test_all_are_shares(case):
    lists, relevant, items = case
    for metric in ACCURACY:
        values = metric(lists, relevant)
        assert values.shape == (len(lists),)
        assert (values >= 0).all()
        assert (values <= 1).all()
    assert 0 <= coverage(lists, items) <= 1
    assert ((popularity_bias(lists, np.arange(items)) >= 0) & (popularity_bias(lists, np.arange(items)) <= 1)).all()


@given(cases())
def test_hits_are_what_sets_say(case):
    lists, (indptr, items), _ = case
    expected = [len({*row} & {*items[indptr[user] : indptr[user + 1]]}) for user, row in enumerate(lists.tolist())]
    assert hit_matrix(lists, (indptr, items)).sum(axis=1).tolist() == expected
    np.testing.assert_allclose(precision(lists, (indptr, items)) * lists.shape[1], expected, atol=1e-12)


@given(cases(), st.randoms(use_true_random=False))
def test_users_are_judged_each_alone(case, random):
    lists, (indptr, items), _ = case
    order = list(range(len(lists)))
    random.shuffle(order)
    shuffled = csr(*(items[indptr[user] : indptr[user + 1]] for user in order))
    for metric in ACCURACY:
        np.testing.assert_array_equal(metric(lists[order], shuffled), metric(lists, (indptr, items))[order])


@given(cases(shortest=2), st.data())
def test_an_earlier_hit_never_lowers_a_ranking_metric(case, data):
    lists, relevant, _ = case
    hits = hit_matrix(lists, relevant)
    user, rank = data.draw(st.integers(0, len(lists) - 1)), data.draw(st.integers(0, lists.shape[1] - 1))
    better = lists.copy()
    if rank > 0 and hits[user, rank]:
        better[user, [rank - 1, rank]] = better[user, [rank, rank - 1]]
    for metric in (ndcg, ndcg_list, reciprocal_rank, average_precision):
        assert (metric(better, relevant) >= metric(lists, relevant) - 1e-12).all()


@given(cases(shortest=1))
def test_hits_first_is_the_best_order_of_a_list(case):
    lists, relevant, _ = case
    hits = hit_matrix(lists, relevant)
    best = np.take_along_axis(lists, np.argsort(~hits, axis=1, kind="stable"), axis=1)
    np.testing.assert_array_equal(ndcg_list(best, relevant), hits.any(axis=1))
    np.testing.assert_array_equal(recall(best, relevant), recall(lists, relevant))


@given(cases())
def test_the_relevant_items_themselves_are_the_ideal_list(case):
    lists, (indptr, items), _ = case
    k = lists.shape[1]
    ideal = padded([items[a:b][:k] for a, b in pairwise(indptr)], k)
    for metric in (ndcg, ndcg_list, average_precision):
        np.testing.assert_array_equal(metric(ideal, (indptr, items)), 1)


@given(cases())
def test_a_longer_list_finds_no_less(case):
    lists, relevant, items = case
    found = [recall(lists[:, :k], relevant) for k in range(1, lists.shape[1] + 1)]
    assert (np.diff(found, axis=0) >= 0).all()
    covered = [coverage(lists[:, :k], items) for k in range(1, lists.shape[1] + 1)]
    assert (np.diff(covered) >= 0).all()


def test_memory_does_not_grow_with_users_times_items():
    users, items, k = 20_000, 50_000, 25  # a table of users x items would be 1 GB, a byte each
    rng = np.random.default_rng(0)
    lists = (rng.integers(0, items, (users, 1)) + np.arange(k)) % items
    relevant = (np.arange(users + 1) * 10), ((lists[:, 20:21] + np.arange(10)) % items).ravel()
    tracemalloc.start()
    hits = hit_matrix(lists, relevant)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert hits.sum() == users * 5
    assert peak < 100e6


# --- calibration and strata ---


def test_miscalibration_is_stecks_divergence():
    # two genres: the user rated one movie of the first and one of both; the list is of the second alone
    genres = np.array([[1, 0], [0.5, 0.5], [0, 1]])
    own, listed = np.array([0.75, 0.25]), np.array([0, 1])
    mixed = 0.99 * listed + 0.01 * own
    expected = sum(p * np.log(p / q) for p, q in zip(own, mixed, strict=True))
    found = miscalibration(np.array([[2, -1], [0, 1], [-1, -1]]), csr([0, 1], [0, 1], [0, 1]), genres)
    assert found == pytest.approx([expected, 0.0, np.log(100)])


def test_a_user_who_rated_nothing_has_no_genres():
    with pytest.raises(ValueError, match="user 1 has no train rating"):
        miscalibration(np.array([[0], [0]]), csr([0], []), np.ones((1, 1)))


@given(cases(), st.integers(0, 1000))
def test_miscalibration_is_never_negative_and_at_most_log_100(case, seed):
    lists, _, items = case
    rng = np.random.default_rng(seed)
    genres = (rng.random((items, 3)) < 0.6).astype(np.float64)
    genres[:, 0] = np.maximum(genres[:, 0], genres.sum(axis=1) == 0)
    genres /= genres.sum(axis=1, keepdims=True)
    rated = csr(*(rng.choice(items, rng.integers(1, 4), replace=False) for _ in lists))
    found = miscalibration(lists, rated, genres)
    assert ((found >= 0) & (found <= np.log(100) + 1e-9)).all()


def test_each_stratum_of_movies_holds_about_a_third_of_the_ratings():
    # 90 ratings: 40 begin in the first third, and so do 20; the next begins at 60
    assert popularity_strata(np.array([1, 20, 40, 10, 19])).tolist() == [2, 1, 0, 2, 2]
    assert popularity_strata(np.array([5, 5, 5])).tolist() == [0, 1, 2]
    assert popularity_strata(np.array([7])).tolist() == [0]
    counts = np.random.default_rng(0).zipf(1.6, 500)
    totals = np.bincount(popularity_strata(counts), counts, minlength=3)
    assert totals.sum() == counts.sum()
    assert (np.abs(totals - counts.sum() / 3) <= counts.max()).all()


# --- the table ---


def test_the_table_has_the_columns_of_user_metrics_and_the_values_of_the_functions():
    rng = np.random.default_rng(1)
    lists = np.array([rng.choice(40, 6, replace=False) for _ in range(5)])
    relevant = csr(*(rng.choice(40, 8, replace=False) for _ in range(5)))
    counts, vectors = rng.integers(1, 9, 40), unit(rng.normal(size=(40, 3)))
    ids = np.array([50, 10, 40, 20, 30])
    table = user_metrics(
        lists,
        relevant,
        user_ids=ids,
        train_ratings=np.arange(5) + 20,
        item_counts=counts,
        train_users=9,
        item_vectors=vectors,
        rated=csr(*([user, 7] for user in range(5))),
        genres=np.eye(40)[:, :3] + 1 / 3,
    )
    whole = ["user_id", "train_ratings", "relevant", "hits"]
    rest = [metric.__name__ for metric in ACCURACY] + ["novelty", "diversity", "popularity_bias"]
    rest.append("miscalibration")
    strata = [f"{what}_{name}" for what in ("relevant", "hits") for name in ("head", "middle", "tail")]
    assert table.schema == {
        **dict(zip(whole, [pl.Int64, pl.UInt32, pl.UInt32, pl.UInt32], strict=True)),
        **dict.fromkeys(rest, pl.Float64),
        **dict.fromkeys(strata, pl.UInt32),
    }
    assert list(table.schema) == whole + rest + strata
    for what in ("relevant", "hits"):
        assert table.select(pl.sum_horizontal(f"^{what}_.*$")).to_series().to_list() == table[what].to_list()
    in_head = np.isin(lists, np.flatnonzero(popularity_strata(counts) == 0)) & hit_matrix(lists, relevant)
    assert table["hits_head"].to_list() == in_head.sum(axis=1).tolist()
    assert table["user_id"].to_list() == ids.tolist()
    assert table["train_ratings"].to_list() == [20, 21, 22, 23, 24]
    assert table["relevant"].to_list() == [8] * 5
    assert table["hits"].to_list() == hit_matrix(lists, relevant).sum(axis=1).tolist()
    for metric in ACCURACY:
        np.testing.assert_array_equal(table[metric.__name__], metric(lists, relevant))
    np.testing.assert_array_equal(table["novelty"], novelty(lists, counts, 9))
    np.testing.assert_array_equal(table["diversity"], diversity(lists, vectors))
    np.testing.assert_array_equal(table["popularity_bias"], popularity_bias(lists, counts))
    own, genres = csr(*([user, 7] for user in range(5))), np.eye(40)[:, :3] + 1 / 3
    np.testing.assert_array_equal(table["miscalibration"], miscalibration(lists, own, genres))


# --- what other libraries say of the same lists ---


@pytest.fixture(scope="module")
def random_lists():
    """60 users, lists of 25 of 200 items, 1 to 60 relevant items each."""
    rng = np.random.default_rng(8)
    lists = np.array([rng.choice(200, 25, replace=False) for _ in range(60)])
    return lists, [rng.choice(200, rng.integers(1, 61), replace=False) for _ in range(60)]


def test_cornac_agrees(random_lists):
    from cornac.metrics import MRR, NDCG, HitRatio, Precision, Recall

    lists, relevant = random_lists
    for ours, theirs in (
        (precision, Precision(25)),
        (recall, Recall(25)),
        (ndcg, NDCG(25)),
        (hit, HitRatio(25)),
    ):
        expected = [theirs.compute(gt_pos=wanted, pd_rank=row) for row, wanted in zip(lists, relevant, strict=True)]
        np.testing.assert_allclose(ours(lists, csr(*relevant)), expected, atol=1e-12)
    # Cornac's MRR refuses a list without a hit
    found = hit(lists, csr(*relevant)) > 0
    expected = [
        MRR().compute(gt_pos=wanted, pd_rank=row) if any_hit else 0
        for row, wanted, any_hit in zip(lists, relevant, found, strict=True)
    ]
    np.testing.assert_allclose(reciprocal_rank(lists, csr(*relevant)), expected, atol=1e-12)


def test_scikit_learn_agrees_on_ndcg_and_on_average_precision_of_a_full_ranking(random_lists):
    from sklearn.metrics import average_precision_score, ndcg_score

    lists, relevant = random_lists
    rng = np.random.default_rng(9)
    for row, wanted in zip(lists, relevant, strict=True):
        truth, scores = np.zeros(200), -1 - rng.random(200)
        truth[wanted], scores[row] = 1, -np.arange(25) / 25
        expected = ndcg_score([truth], [scores], k=25, ignore_ties=True)
        np.testing.assert_allclose(ndcg(row[None], csr(wanted)), expected, atol=1e-12)
        # it knows no cutoff, so here k is the whole catalogue
        ranking = np.argsort(-scores)[None]
        np.testing.assert_allclose(
            average_precision(ranking, csr(wanted)), average_precision_score(truth, scores), atol=1e-12
        )


@pytest.fixture(scope="module")
def case():
    """The case of reference/generate_case.py."""
    data = json.loads((REFERENCE / "case.json").read_text())
    data["relevant"] = csr(*data["relevant"])
    data["relevant_counts"] = np.diff(data["relevant"][0])
    data["lengths"] = np.array([len(row) for row in data["lists"]])
    data["lists"] = padded(data["lists"], data["k"])
    data["item_counts"] = np.bincount(np.concatenate(data["train"]), minlength=data["items"])
    return data


def reference(library, version):
    content = json.loads((REFERENCE / f"{library}.json").read_text())
    assert content["version"] == version
    return content["values"]


def test_rectools_agrees(case):
    lists, relevant, k = case["lists"], case["relevant"], case["k"]
    theirs = reference("rectools", "0.19.0")
    counts = case["relevant_counts"]
    ideal_of = np.cumsum(1 / np.log2(np.arange(2, k + 2)))
    for name, ours in {
        "precision": precision(lists, relevant),
        "recall": recall(lists, relevant),
        "ndcg": ndcg(lists, relevant),
        # its default divides by the ideal of k hits, though fewer items be relevant
        "ndcg_over_ideal_of_k": ndcg(lists, relevant) * ideal_of[np.minimum(counts, k) - 1] / ideal_of[-1],
        "average_precision_over_relevant": average_precision(lists, relevant) * np.minimum(counts, k) / counts,
        "average_precision_over_k": average_precision(lists, relevant) * np.minimum(counts, k) / k,
        "reciprocal_rank": reciprocal_rank(lists, relevant),
        "hit": hit(lists, relevant),
        "novelty": novelty(lists, case["item_counts"], len(case["train"])),
        "coverage": coverage(lists, case["items"]),
    }.items():
        np.testing.assert_allclose(ours, theirs[name], atol=1e-12, err_msg=name)
    np.testing.assert_allclose(diversity(lists, unit(case["vectors"])), theirs["diversity"], atol=1e-6)


def test_lenskit_agrees(case):
    lists, relevant, k = case["lists"], case["relevant"], case["k"]
    theirs = reference("lenskit", "2026.4.0")
    counts, lengths = case["relevant_counts"], case["lengths"]
    weights = 1 / np.log2(np.maximum(np.arange(1, k + 1), 2))
    clipped = hit_matrix(lists, relevant) @ weights / np.cumsum(weights)[np.minimum(counts, k) - 1]
    for name, ours in {
        # it divides by how many are listed where that is less than k
        "precision_over_length": precision(lists, relevant) * k / lengths,
        "recall_over_at_most_k": recall(lists, relevant) * counts / np.minimum(counts, k),
        "ndcg": ndcg(lists, relevant),
        # its default, log2(max(rank, 2)), gives the first two ranks one weight
        "ndcg_first_two_ranks_alike": clipped,
        "average_precision_over_length": average_precision(lists, relevant)
        * np.minimum(counts, k)
        / np.minimum(counts, lengths),
        "reciprocal_rank": reciprocal_rank(lists, relevant),
        "hit": hit(lists, relevant),
    }.items():
        np.testing.assert_allclose(ours, theirs[name], atol=1e-12, err_msg=name)
    # it calls a list of one alike, we call it not diverse: the same
    np.testing.assert_allclose(diversity(lists, unit(case["vectors"])), 1 - np.array(theirs["similarity"]), atol=1e-6)


def test_trec_eval_agrees(case):
    lists, relevant, k = case["lists"], case["relevant"], case["k"]
    theirs = reference("pytrec_eval", "0.5.11")
    counts = case["relevant_counts"]
    for name, ours in {
        "precision": precision(lists, relevant),
        "recall": recall(lists, relevant),
        "ndcg": ndcg(lists, relevant),
        "ndcg_list": ndcg_list(lists, relevant),
        "average_precision_over_relevant": average_precision(lists, relevant) * np.minimum(counts, k) / counts,
        "reciprocal_rank": reciprocal_rank(lists, relevant),
        "hit": hit(lists, relevant),
    }.items():
        np.testing.assert_allclose(ours, theirs[name], atol=1e-12, err_msg=name)
