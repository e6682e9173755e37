"""What a model is fitted on: ratings, the embeddings it names, and nothing that is held out; one fold or both."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from planted_ratings import two_tastes

from hybrid_assets.model_settings import Bert4RecSettings, PmfSettings, SasRecSettings, TextEaseSettings, VbprSettings
from hybrid_assets.recommender.models import algorithms
from hybrid_assets.recommender.models.algorithms import ModelSpec, fit_folds, fit_model, fold_in_models
from hybrid_assets.recommender.split import split_ratings
from hybrid_assets.recommender.tables import fold_of
from hybrid_assets.recommender.towers import TowerPair
from hybrid_assets.specs import model_spec

BRIEF = {
    "factors": 4,
    "blocks": 1,
    "heads": 1,
    "longest": 6,
    "places": 2,
    "epochs": 1,
    "batch_size": 32,
    "negatives": 8,
}
IN_TIME = [SasRecSettings(algorithm="sasrec", **BRIEF), Bert4RecSettings(algorithm="bert4rec", **BRIEF)]


def timed_ratings() -> pl.DataFrame:
    """12 users who rated 10 of 15 movies each, at random times."""
    generator = np.random.default_rng(0)
    rows = [(user, movie) for user in range(12) for movie in generator.permutation(15)[:10].tolist()]
    return pl.DataFrame(rows, schema=["user_id", "movie_id"], orient="row").with_columns(
        rating=pl.Series(generator.choice([2.0, 4.0, 5.0], len(rows)), dtype=pl.Float32),
        timestamp=pl.Series(generator.permutation(len(rows)) * 1000),
    )


def split(ratings: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    return split_ratings(ratings, test_share=0.2, min_ratings=5, validation_share=0.2, seed=42)


def held_out_by(ratings: pl.DataFrame, fold: str) -> pl.DataFrame:
    """Pairs that a fold must know nothing of: the test part, and for "fit" the validation part too."""
    train, test = split(ratings)
    hidden = [test] if fold == "train" else [test, train.filter(pl.col("validation")).drop("validation")]
    return pl.concat(hidden).select("user_id", "movie_id", hidden=True)


def test_folds_fitted_side_by_side_are_those_fitted_one_after_the_other(monkeypatch):
    train, _ = split(timed_ratings())
    model = model_spec(PmfSettings(algorithm="pmf", factors=4, epochs=5), 4.0)
    alone = fit_folds(model, train)
    monkeypatch.setattr(algorithms, "WORTH_A_PROCESS", 0)
    beside = fit_folds(model, train)
    for fold, pair in alone.items():
        np.testing.assert_array_equal(pair.user_vectors, beside[fold].user_vectors)
        np.testing.assert_array_equal(pair.item_vectors, beside[fold].item_vectors)
    with pytest.raises(ValueError, match="at least one rating, found none"):
        fit_folds(model, train.with_columns(validation=True))


def test_a_script_that_builds_the_graph_is_not_run_again_by_the_process_beside_it(tmp_path):
    """As a script runs that says nothing of `__main__`: with the standard library's processes it failed, and one that
    materialized the asset waited for its own lock for ever."""
    split(timed_ratings())[0].write_parquet(tmp_path / "train.parquet")
    script = tmp_path / "script.py"
    script.write_text(
        "import polars as pl\n"
        "from hybrid_assets.specs import model_spec\n"
        "from hybrid_assets.model_settings import PmfSettings\n"
        "from hybrid_assets.recommender.models import algorithms\n"
        "algorithms.WORTH_A_PROCESS = 0\n"
        "model = model_spec(PmfSettings(algorithm='pmf', factors=4, epochs=5), 4.0)\n"
        f"train = pl.read_parquet({str(tmp_path / 'train.parquet')!r})\n"
        "print(list(algorithms.fit_folds(model, train)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.stdout == "['train', 'fit']\n", done.stderr


@pytest.mark.parametrize("settings", IN_TIME, ids=lambda settings: settings.algorithm)
@pytest.mark.parametrize("fold", ["train", "fit"])
@pytest.mark.parametrize("time", ["first", "last", "shuffled"])
def test_when_a_held_out_movie_was_rated_and_how_changes_nothing(settings, fold, time):
    ratings = timed_ratings()
    hidden = ratings.join(held_out_by(ratings, fold), on=["user_id", "movie_id"], how="left", maintain_order="left")
    moved = {"first": pl.lit(-1), "last": pl.lit(10**9), "shuffled": pl.col("timestamp").shuffle(seed=1)}[time]
    changed = hidden.select(
        "user_id",
        "movie_id",
        rating=pl.when("hidden").then(pl.lit(0.5, pl.Float32)).otherwise("rating"),
        timestamp=pl.when("hidden").then(moved).otherwise("timestamp"),
    )
    assert not changed.equals(ratings)
    model = model_spec(settings, 4.0)
    found: list[TowerPair] = [fit_model(model, fold_of(split(table)[0], fold)) for table in (ratings, changed)]
    assert found[0].user_vectors.tobytes() == found[1].user_vectors.tobytes()
    assert found[0].item_vectors.tobytes() == found[1].item_vectors.tobytes()


@pytest.mark.parametrize("settings", IN_TIME, ids=lambda settings: settings.algorithm)
def test_when_a_train_movie_was_rated_changes_a_model_of_sequences(settings):
    train, _ = split(timed_ratings())
    other = train.with_columns(pl.col("timestamp").reverse())
    found = [fit_model(model_spec(settings, 4.0), table) for table in (train, other)]
    assert found[0].user_vectors.tobytes() != found[1].user_vectors.tobytes()


def test_a_model_that_reads_texts_says_so_where_it_gets_none():
    with pytest.raises(ValueError, match="vbpr learns from an encoder's embeddings"):
        fit_model(model_spec(VbprSettings(algorithm="vbpr", encoder="minilm"), 4.0), timed_ratings())


def test_a_model_that_reads_years_and_genres_says_so_where_it_gets_none():
    model, texts = model_spec(TextEaseSettings(algorithm="text_ease", encoder="minilm"), 4.0), np.ones((1, 2))
    with pytest.raises(ValueError, match="text_ease reads the films' years and genres and was given none"):
        fit_model(model, timed_ratings(), (np.array([1]), texts.astype(np.float32)))


def test_a_new_person_is_weighed_by_the_threshold_that_the_model_was_fitted_with():
    users, items, ratings = two_tastes()
    table = pl.DataFrame({"user_id": users, "movie_id": items, "rating": ratings, "timestamp": 0})
    models = {"knn": ModelSpec("item_knn", {"neighbours": 5, "liked_only": True, "power": 1.0}, 4.0)}
    fitted_models = {"knn": fit_model(models["knn"], table)}
    (user_of, pair) = fold_in_models(models, fitted_models, table)["knn"]
    own = users == pair.user_ids[0]
    np.testing.assert_array_equal(user_of(items[own], ratings[own]), pair.user_vectors[0])
