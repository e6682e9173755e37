"""Why a movie is on somebody's list, and which movies are alike.

Belongs here: nearest neighbours among vectors. Does not: titles, files, printing.
"""

import numpy as np

from hybrid_assets.recommender.towers import Ids, Vectors, positions, unit


def nearest(item_ids: Ids, vectors: Vectors, movie: int, k: int) -> tuple[Ids, Vectors]:
    """The k movies most like one by cosine, and the cosines, best first; equal ones by their place in the table.

    Args:
        item_ids: (items,) unique ids.
        vectors: (items, d), not zero.
        movie: id in `item_ids`.
        k: how many, at most items - 1 are there.

    Raises:
        ValueError: the movie has no vector.
    """
    place = int(positions(item_ids, np.array([movie]))[0])
    if place < 0:
        raise ValueError(f"movie {movie} has no vector")
    cosine = unit(vectors) @ unit(vectors[place : place + 1])[0]
    cosine[place] = -np.inf
    best = np.argsort(-cosine, kind="stable")[: min(k, len(item_ids) - 1)]
    return item_ids[best], cosine[best]


def closest_liked(item_ids: Ids, vectors: Vectors, listed: Ids, liked: Ids, k: int) -> list[list[int]]:
    """For each listed movie, the k liked movies whose vectors are closest to its own by cosine, best first.

    Liked movies without a vector, or with one of zeros, which points nowhere, are left out; a listed movie without one
    gets an empty list.
    """
    tells = np.append(vectors.any(axis=1), False)  # the last for place -1: not in the table
    at, places = positions(item_ids, liked), positions(item_ids, listed)
    known, at = liked[tells[at]], at[tells[at]]
    cosine = unit(vectors[places]) @ unit(vectors[at]).T
    best = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    return [known[row].tolist() if has else [] for row, has in zip(best, tells[places], strict=True)]
