"""Where `hybrid-assets tune` looks: for each algorithm the settings that are searched, and between which values.

Belongs here: a range a setting, all models in one place. Does not: the search (model_search.py), defaults
(model_settings.py). A new model's line goes here; what is not named keeps the value that the catalog gives it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def search_space(algorithm: str) -> "dict[str, BaseDistribution]":
    """Setting -> its values, as Optuna's distributions; without one the algorithm has nothing to search.

    Raises:
        ValueError: the algorithm has no space.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    def share(low: float, high: float) -> FloatDistribution:
        return FloatDistribution(low, high)

    def scale(low: float, high: float) -> FloatDistribution:
        return FloatDistribution(low, high, log=True)

    def count(low: int, high: int) -> IntDistribution:
        return IntDistribution(low, high, log=True)

    either = CategoricalDistribution([False, True])
    weighted: dict[str, Any] = {"liked_only": either, "power": share(0.0, 4.0)}
    in_order: dict[str, Any] = {
        **weighted,
        "regularisation": scale(10.0, 1000.0),
        "decay": scale(2.0, 100.0),
        "most_movies": count(1000, 4000),
        "arrival_weight": scale(0.01, 1.0),
        "arrival_width": scale(0.5, 20.0),
    }
    descent: dict[str, Any] = {
        "factors": count(8, 128),
        "epochs": count(10, 200),
        "learning_rate": scale(0.001, 0.1),
        "regularisation": scale(0.0001, 0.3),
    }
    pairwise: dict[str, Any] = {
        "liked_only": either,
        "epochs": count(20, 200),
        "learning_rate": scale(0.001, 0.03),
        "regularisation": scale(0.001, 30.0),
    }
    sequential: dict[str, Any] = {
        "factors": IntDistribution(32, 128, step=16),  # the usual numbers of heads divide it
        "blocks": IntDistribution(1, 3),
        "dropout": share(0.1, 0.7),
        "learning_rate": scale(0.0003, 0.01),
    }
    spaces: dict[str, dict[str, BaseDistribution]] = {
        "pmf": descent,
        "biased_mf": descent,
        "bpr": descent,
        "ease": {**weighted, "regularisation": scale(10.0, 3000.0)},
        "sequence_ease": in_order,
        "text_ease": {
            **in_order,
            "text_weight": scale(0.03, 3.0),
            "text_width": scale(0.05, 2.0),
            "genre_weight": scale(0.01, 1.0),
            "year_weight": scale(0.01, 1.0),
            "year_width": scale(1.0, 50.0),
        },
        "als": {
            **weighted,
            "factors": count(8, 128),
            "regularisation": scale(0.1, 300.0),
            "confidence": scale(1.5, 100.0),
        },
        "item_knn": {**weighted, "neighbours": count(5, 500)},
        "user_knn": {**weighted, "neighbours": count(5, 500)},
        "lightgcn": {**pairwise, "factors": count(16, 128), "layers": IntDistribution(1, 4)},
        "vbpr": {**pairwise, "factors": count(8, 128), "text_factors": count(8, 128)},
        # it learns each rating from its own look at those before, so that passes are few and dear
        "sasrec": {**sequential, "longest": count(10, 50), "epochs": count(2, 20)},
        "bert4rec": {**sequential, "longest": count(20, 200), "epochs": count(5, 60), "masked": share(0.1, 0.6)},
    }
    if algorithm not in spaces:
        raise ValueError(f"{algorithm} has nothing to search; models that have: {', '.join(spaces)}")
    return spaces[algorithm]
