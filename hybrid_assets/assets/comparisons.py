"""leaderboard + user_metrics/<system> -> comparisons: its systems against each other, paired over users."""

import dagster as dg
import polars as pl

from hybrid_assets.assets.leaderboard import user_metrics_of, with_figures
from hybrid_assets.catalog import Catalog
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.comparison import compare

METRIC = "ndcg"
COLUMNS = {
    "system": "the better one",
    "other": "the one it is compared with",
    "value": "mean NDCG@k of the better one",
    "other_value": "mean NDCG@k of the other",
    "difference": "of the means",
    "low": "lower end of its bootstrap interval over users",
    "high": "upper end of its interval",
    "effect": "Cohen's d of the paired differences",
    "p_t": "paired t-test, two-sided",
    "p_wilcoxon": "Wilcoxon's signed ranks, two-sided",
    "p_t_holm": "p_t corrected over all pairs by Holm",
    "p_wilcoxon_holm": "p_wilcoxon corrected over all pairs by Holm",
    "users": "users compared",
    "kind": '"hybrid", "collaborative" or "content": what the better one is made of',
    "other_kind": "the same of the other",
}


def comparison_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """The comparisons."""
    evaluation = catalog.evaluation
    judged = user_metrics_of(catalog)
    kinds = {name: catalog.kind_of(system) for name, system in catalog.systems.items()}

    @incremental_asset(
        key="comparisons",
        group="leaderboard",
        version="2",
        settings=[kinds, evaluation.bootstrap],
        libraries=["scipy", "statsmodels"],
        inputs={"leaderboard": "leaderboard", **judged},
        optional=[*judged],
        columns=COLUMNS,
        lineage={"difference": [(f"user_metrics/{name}", METRIC) for name in catalog.systems]},
    )
    def comparisons(step: Step, leaderboard: pl.LazyFrame, **tables: pl.LazyFrame | None) -> Computed:
        """Is A better than B: NDCG@k of every system against every other, paired over users, Holm-corrected."""
        found = with_figures(leaderboard.collect(), tables, "users_")
        values = {
            name: table.select("user_id", METRIC).sort("user_id").collect()[METRIC].to_numpy()
            for name, table in found.items()
        }
        pairs = compare(values, **evaluation.bootstrap).with_columns(
            pl.col("system").replace_strict(kinds, return_dtype=pl.String).alias("kind"),
            pl.col("other").replace_strict(kinds, return_dtype=pl.String).alias("other_kind"),
        )
        return Computed(pairs, {"pairs": pairs.height})

    return [comparisons]
