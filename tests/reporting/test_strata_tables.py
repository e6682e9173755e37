"""Strata in words and cells, by hand."""

import polars as pl

from hybrid_assets.reporting.strata import strata_cells, strata_columns, strata_sentence


def test_the_sentence_and_the_cells_of_strata_by_hand():
    def row(system, by, stratum, metric, value, members=5, fewest=2, most=40):
        return {
            "system": system,
            "by": by,
            "stratum": stratum,
            "members": members,
            "fewest": fewest,
            "most": most,
            "metric": metric,
            "value": value,
            "low": value - 0.01,
            "high": value + 0.01,
            "users": 3,
        }

    table = pl.DataFrame(
        [
            row(system, by, stratum, metric, value + plus)
            for system, plus in (("a", 0.0), ("b", 0.1))
            for by, stratum, metric, value in (
                ("user activity", "few", "ndcg", 0.2),
                ("user activity", "middle", "ndcg", 0.5),
                ("user activity", "many", "ndcg", 0.3),
                ("movie popularity", "head", "recall", 0.6),
                ("movie popularity", "middle", "recall", 0.2),
                ("movie popularity", "tail", "recall", 0.1),
            )
        ]
    )
    told = strata_sentence(table, "a", 25)
    assert "0.200 for the third of users with the fewest ratings and 0.300 for the third with the most" in told
    assert "60.0% of those in the head and 10.0% of those in the tail" in told
    (_, cells), (_, others) = strata_cells(table, ["a", "b"])
    assert not any(cell.best for cell in cells)
    assert all(cell.best for cell in others)
    assert (cells[0].value, cells[0].interval) == ("0.200", "0.190\N{EN DASH}0.210")
    assert strata_columns(table, 25)[0].range == "5 with 2 to 40 ratings"
