"""A list of movies for the terminal, and in words what put each there.

Belongs here: what is told of a recommendation, and how it looks. Does not: making them (queries.py,
newcomer_queries.py), printing (cli.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

# Branches that are told of one by one.
MOST_REASONS = 3


@dataclass(frozen=True)
class Reason:
    """What one branch had to do with a listed movie.

    Attributes:
        branch: the model or encoder; "context" for what a learned fusion knows of user and film.
        score: its own score of the movie; None for the context.
        part: what it added to the fused score; None far down the list of a learned fusion, where it is not computed.
        liked: titles of the liked movies that are closest to it in the branch's item vectors.
    """

    branch: str
    score: float | None
    part: float | None
    liked: tuple[str, ...]


@dataclass(frozen=True)
class Recommendation:
    """One entry of a list."""

    rank: int
    movie_id: int
    title: str
    score: float
    reasons: tuple[Reason, ...]


def recommendation_table(entries: Sequence[Recommendation], title: str, why: bool) -> Table:
    """Rank, movie and score, a row an entry; where `why`, the reasons that matter most."""
    shown = Table(title=escape(title), title_justify="left")
    shown.add_column("#", justify="right")
    shown.add_column("movie")
    shown.add_column("score", justify="right")
    if why:
        shown.add_column("why")
    for entry in entries:
        cells = [str(entry.rank), escape(f"{entry.title} [{entry.movie_id}]"), f"{entry.score:.3f}"]
        if why:
            cells.append(escape("\n".join(most_telling(entry.reasons))))
        shown.add_row(*cells)
    return shown


def most_telling(reasons: Sequence[Reason]) -> list[str]:
    """The reasons that add or take off most, in words, and what the others add together."""
    parts = {reason: reason.part for reason in reasons if reason.part is not None}
    if not parts:
        return [_in_words(reason) for reason in reasons[:MOST_REASONS]]
    told = sorted(parts, key=lambda reason: -abs(parts[reason]))[:MOST_REASONS]
    others = [reason for reason in parts if reason not in told]
    together = f"{', '.join(reason.branch for reason in others)}: together {sum(parts[it] for it in others):.3f}"
    return [*(_in_words(reason) for reason in told), *([together] if others else [])]


def _in_words(reason: Reason) -> str:
    liked = f"; near {', '.join(reason.liked)}" if reason.liked else ""
    own = "" if reason.score is None else f" (score {reason.score:.3f})"
    adds = "adds a part that is not computed this far down" if reason.part is None else f"adds {reason.part:.3f}"
    return f"{reason.branch} {adds}{own}{liked}"
