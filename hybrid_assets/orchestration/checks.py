"""Asset checks: what must hold of a table before it replaces the last one.

Belongs here: what a check is and how Dagster hears of it. Does not: the rules (recommender/validity.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
import polars as pl


@dataclass(frozen=True)
class Made:
    """A table that has been computed and is not yet in storage.

    Attributes:
        table: the whole of it.
        inputs: parameter name -> what it was made from; None for an optional one that was not there.
        previous: what storage holds in its place now, if anything.
    """

    table: pl.DataFrame
    inputs: Mapping[str, pl.LazyFrame | None]
    previous: pl.LazyFrame | None

    def given(self, name: str) -> pl.DataFrame:
        """An input that is not optional."""
        table = self.inputs[name]
        assert table is not None
        return table.collect()


@dataclass(frozen=True)
class Check:
    """One rule.

    Attributes:
        name: letters, digits and underscores.
        says: what holds where it passes.
        problem: what is wrong, naming the rows; "" where it passes.
        blocking: whether a table that fails is not stored, so that the last one stays and nothing is made from this
            one; else it is a warning.
    """

    name: str
    says: str
    problem: Callable[[Made], str]
    blocking: bool = True


def check_specs(key: dg.AssetKey, checks: Sequence[Check]) -> list[dg.AssetCheckSpec]:
    """The checks as Dagster declares them."""
    return [
        dg.AssetCheckSpec(check.name, asset=key, description=check.says, blocking=check.blocking) for check in checks
    ]


def check_results(checks: Sequence[Check], problems: Mapping[str, str]) -> list[dg.AssetCheckResult]:
    """What the checks found, as Dagster records it."""
    return [
        dg.AssetCheckResult(
            check_name=check.name,
            passed=not problems[check.name],
            severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
            description=problems[check.name] or None,
        )
        for check in checks
    ]


def refusal(checks: Sequence[Check], problems: Mapping[str, str]) -> str:
    """Why the table is not stored, "" where no blocking check failed."""
    failed = [f"{check.name}: {problems[check.name]}" for check in checks if check.blocking and problems[check.name]]
    return "; ".join(failed)
