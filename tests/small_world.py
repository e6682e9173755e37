"""A graph of four small tables, a -> b -> c and a -> d, whose inputs, settings and code a test changes."""

from collections.abc import Callable

import dagster as dg
import polars as pl

from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.orchestration.storage import TableStore


class World:
    """What the small graph looks at, and what it computed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.source = [1, 2, 3]
        self.weights = "w1"
        self.factor = 2
        self.version_of_b = "1"
        self.computed: list[str] = []

    def assets(self) -> list[dg.AssetsDefinition]:
        def asset(key: str, **options: object) -> Callable[..., dg.AssetsDefinition]:
            return incremental_asset(key=key, group="g", columns={"x": "a number"}, **{"version": "1", **options})

        @asset("a", look=lambda: pl.DataFrame({"x": self.source}))
        def a(step: Step) -> Computed:
            self.computed.append("a")
            return Computed(pl.DataFrame({"x": self.source}))

        @asset("b", inputs=["a"], version=self.version_of_b)
        def b(step: Step, a: pl.LazyFrame) -> Computed:
            self.computed.append("b")
            table = a.select(pl.col("x").abs()).collect()
            if table["x"].max() > 100:
                raise ValueError("x must be at most 100")
            return Computed(table, {"largest": table["x"].max()})

        @asset("c", inputs=["b"], settings=[self.factor], observed=lambda store, fetch: {"weights": self.weights})
        def c(step: Step, b: pl.LazyFrame) -> Computed:
            self.computed.append("c")
            return Computed(b.select(pl.col("x") * self.factor).collect())

        @asset("d", inputs=["a"])
        def d(step: Step, a: pl.LazyFrame) -> Computed:
            self.computed.append("d")
            return Computed(a.collect())

        return [a, b, c, d]

    def run(self, selection: str | None = None) -> dg.ExecuteInProcessResult:
        self.computed.clear()
        return dg.materialize(
            self.assets(),
            resources={"io_manager": TableStore(url=self.url)},
            selection=selection,
            raise_on_error=False,
        )

    def table(self, key: str) -> list[int]:
        return TableStore(url=self.url).scan(dg.AssetKey(key)).collect()["x"].to_list()
