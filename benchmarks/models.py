"""How fast and how large EASE is over 9,000 movies, against the bare matrix inverse of that size.

Both forms of the closed form on made-up ratings: few users (as in ml-latest-small, the smaller inverse) and many (the
full item-item inverse). Each is measured in a process of its own, so that its peak memory is its own.
Usage: python benchmarks/models.py [--items 9000]
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

ITEMS, FEW_USERS, MANY_USERS, RATINGS_A_USER = 9_000, 610, 9_500, 130
GOAL_SECONDS = 30.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--only", choices=["idle", "inverse", "few", "many"], help="one measurement, as JSON")
    given = parser.parse_args()
    if given.only:
        print(json.dumps(measured(given.only, given.items)))
        return
    found = {}
    for what in ("idle", "inverse", "few", "many"):
        command = [sys.executable, __file__, "--only", what, "--items", str(given.items)]
        found[what] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    seconds = {what: it["seconds"] for what, it in found.items()}
    gib = {what: it["gib"] - found["idle"]["gib"] for what, it in found.items()}
    print(f"{given.items:,} movies, {RATINGS_A_USER} ratings a user")
    print(f"bare inverse, float64:          {seconds['inverse']:6.1f} s, {gib['inverse']:.2f} GiB")
    for what, users in (("few", FEW_USERS), ("many", MANY_USERS)):
        goal = f" (goal: under {GOAL_SECONDS:g} s)" if given.items == ITEMS else ""
        print(
            f"ease, {users:>6,} users:            {seconds[what]:6.1f} s, {gib[what]:.2f} GiB{goal}, "
            f"{seconds[what] / seconds['inverse']:.2f} times the bare inverse"
        )


def measured(what: str, items: int) -> dict[str, float]:
    """Seconds of one measurement, and the peak memory of this process in GiB."""
    from hybrid_assets.recommender.models.ease import ease

    generator = np.random.default_rng(42)
    seconds = 0.0
    if what == "inverse":
        tall = generator.random((items, 64))
        matrix = tall @ tall.T + 200.0 * np.eye(items)
        started = time.perf_counter()
        np.linalg.inv(matrix)
        seconds = time.perf_counter() - started
    elif what != "idle":
        users = FEW_USERS if what == "few" else MANY_USERS
        # every movie once, then at random: the catalogue is as large as it says
        user_ids = np.concatenate([np.arange(items) % users, np.repeat(np.arange(users), RATINGS_A_USER)])
        movies = np.concatenate([np.arange(items), generator.integers(items, size=users * RATINGS_A_USER)])
        keep = np.unique(user_ids * items + movies, return_index=True)[1]
        ratings = generator.choice([2.0, 3.0, 4.0, 5.0], len(keep)).astype(np.float32)
        started = time.perf_counter()
        ease(
            user_ids[keep],
            movies[keep],
            ratings,
            threshold=4.0,
            regularisation=200.0,
            liked_only=False,
            power=2.0,
        )
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


if __name__ == "__main__":
    main()
