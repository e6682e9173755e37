"""Settings of each system, as [systems.<name>] of the catalog has them.

Belongs here: what may be set of a system, its fusion and its re-ranking, its range and its default. Does not: what
the settings do (recommender/systems.py).
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hybrid_assets.settings import Lax, Name, Seed, Settings


class PublishedRow(Settings):
    """What the paper's Table I prints for a system, at k = 25 on ml-latest-small."""

    precision: float
    """P@25."""
    recall: float
    """R@25."""
    ndcg_list: float
    """The column "NDCG@25", which is the list-NDCG (see the glossary of the report)."""


# What concerns a ranker's trees and not what they learn from.
_TREES = {"trees", "learning_rate", "leaves", "smallest_leaf", "feature_share", "row_share"}


class StackerSettings(Settings):
    """How the fusions `stacked`, by boosted trees with the XE-NDCG loss (LightGBM), and `gated`, to which the settings
    of trees do not apply, learn on held-out folds of train."""

    folds: Annotated[int, Field(ge=2)] = 4
    """Parts of train, each held out once; the branches are fitted on the others, so that none has seen its targets."""
    candidates: Annotated[int, Field(ge=1)] = 200
    """Movies of each user that are ranked: those with the highest sum of the models' standardised scores."""
    negatives: Annotated[int, Field(ge=1)] = 100
    """How many of a user's candidates without a liked held-out rating teach, drawn at random; all with one do."""
    trees: Annotated[int, Field(ge=1)] = 100
    """How many trees."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    """Share of each tree's values that is added."""
    leaves: Annotated[int, Field(ge=2)] = 15
    """Most leaves of a tree."""
    smallest_leaf: Annotated[int, Field(ge=1)] = 200
    """Fewest rows of a leaf."""
    feature_share: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Share of the features that each tree may use."""
    row_share: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Share of the rows that each tree sees."""
    rankers: Annotated[int, Field(ge=1)] = 3
    """How many rankers are trained, each with draws of its own; their scores are averaged."""
    newcomers: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of the users who leave train whole and come back as new people; from them it learns to rank for such."""
    newcomer_ratings: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1), Lax] = (1, 3, 10, 30)
    """How many ratings they bring, each number in turn. Who brings more than the most is ranked as a user is."""
    seed: Seed = 42
    """Seed of the folds, and of the first ranker's draws; the next one's is 1 more. Newcomers are drawn by it + 1."""

    @property
    def of_candidates(self) -> dict[str, Any]:
        """What the candidates that teach depend on."""
        return self.model_dump(exclude={*_TREES, "rankers"})

    @property
    def of_trees(self) -> dict[str, Any]:
        """How one ranker is trained, but for its seed."""
        return self.model_dump(include=_TREES)


class RerankSettings(Settings):
    """How a system's lists are put into another order; docs/evaluation.md shows what it costs."""

    method: Literal["mmr", "popularity"]
    """`mmr`: away from what the list already holds (Carbonell & Goldstein 1998), by the cosine of `encoder`.
    `popularity`: away from what many have rated, by the logarithm of their number (Menon et al. 2021)."""
    weight: Annotated[float, Field(gt=0, lt=1)]
    """Of the penalty, against 1 - weight of the score min-max scaled over the list."""
    encoder: Name | None = None
    """For `mmr`: a name under [encoders]."""

    @model_validator(mode="after")
    def _mmr_has_an_encoder(self) -> "RerankSettings":
        if (self.method == "mmr") != (self.encoder is not None):
            raise ValueError("method = 'mmr' and encoder = '<name>' go together")
        return self


class SystemSettings(Settings):
    """A named way to rank: models, encoders, or both and a fusion."""

    model: Name | None = None
    """Collaborative branch: a name under [models]."""
    encoder: Name | None = None
    """Content branch: a name under [encoders]."""
    models: Annotated[tuple[Name, ...], Lax] = ()
    """Several collaborative branches, in place of `model`."""
    encoders: Annotated[tuple[Name, ...], Lax] = ()
    """Several content branches, in place of `encoder`."""
    fusion: Literal["convex", "notebook", "zscore", "gated", "stacked"] = "convex"
    """`convex`: a*sigmoid(MF) + (1-a)*cosine to the mean of what the user liked (the paper's text).
    `notebook`: both min-max scaled per user, recency-weighted profile (the paper's code).
    `zscore`: weighted sum of the branches' scores, each standardised per user; weights from validation.
    `gated`: the same sum, each weight linear in what is known of user and film, learned on held-out folds of train.
    `stacked`: boosted trees over the branches' scores and what is known of user and film, learned likewise."""
    alpha: Annotated[float, Field(ge=0, le=1)] | None = None
    """Weight of the collaborative branch in `convex` and `notebook`; None: grid search on the validation part."""
    stacker: StackerSettings | None = None
    """How `gated` and `stacked` learn, the first without trees; None: the defaults."""
    rerank: RerankSettings | None = None
    """What is done to the order of its evaluation.list_length movies; None: nothing."""
    published: PublishedRow | None = None
    """The paper's figures for this system, shown beside ours on ml-latest-small."""

    @property
    def model_names(self) -> tuple[str, ...]:
        """The collaborative branches, whichever way they are written."""
        return self.models or ((self.model,) if self.model else ())

    @property
    def encoder_names(self) -> tuple[str, ...]:
        """The content branches, whichever way they are written."""
        return self.encoders or ((self.encoder,) if self.encoder else ())

    @property
    def branch_names(self) -> tuple[str, ...]:
        """All its branches, the collaborative ones first."""
        return (*self.model_names, *self.encoder_names)

    @property
    def weighs_branches(self) -> bool:
        """Whether validation chooses weights for its branches; the stamp of its lists has them."""
        return not self.is_learned and len(self.branch_names) > 1 and self.alpha is None

    @property
    def needed_encoders(self) -> tuple[str, ...]:
        """The encoders without which it has no lists: its content branches, and what it is re-ranked by."""
        reranked_by = (self.rerank.encoder,) if self.rerank and self.rerank.encoder else ()
        return tuple(dict.fromkeys((*self.encoder_names, *reranked_by)))

    @property
    def is_learned(self) -> bool:
        """Whether its fusion learns from candidates of held-out folds."""
        return self.fusion in ("gated", "stacked")

    @property
    def learning(self) -> StackerSettings:
        """How it learns, if it does."""
        return self.stacker or StackerSettings()

    @model_validator(mode="after")
    def _branches_fit_the_fusion(self) -> "SystemSettings":
        if (self.model and self.models) or (self.encoder and self.encoders):
            raise ValueError("name one branch by `model` or `encoder`, several by `models` or `encoders`, not both")
        models, encoders = self.model_names, self.encoder_names
        branches = list(self.branch_names)
        if not branches:
            raise ValueError("a system needs a model, an encoder, or both")
        if len(set(branches)) < len(branches):
            raise ValueError(f"each branch once, found {branches}; rename one that is both a model and an encoder")
        two = len(models) == len(encoders) == 1
        if self.fusion in ("convex", "notebook") and len(branches) > 1 and not two:
            raise ValueError(
                f"fusion {self.fusion!r} takes one model and one encoder, found {branches}; "
                'choose "zscore", "gated" or "stacked" for several'
            )
        if self.alpha is not None and not (two and self.fusion in ("convex", "notebook")):
            raise ValueError("alpha weighs a model against an encoder: name both, or leave alpha out")
        if self.is_learned and not models:
            raise ValueError(f"fusion {self.fusion!r} takes its candidates from models; name at least one")
        if self.is_learned and "context" in branches:
            raise ValueError(f"in {self.fusion!r}, context is what is known of user and film; rename that branch")
        if self.fusion == "gated" and len(branches) == 1:
            raise ValueError("a gate weighs branches against each other; name several")
        if self.rerank is not None and "rerank" in branches:
            raise ValueError("rerank is what re-ranking takes off a score; rename the branch of that name")
        if self.stacker is not None and not self.is_learned:
            raise ValueError('stacker is of account for fusion = "gated" or "stacked" alone; leave it out')
        if self.stacker is not None and self.fusion == "gated":
            self.stacker.refuse(sorted(_TREES | {"rankers"}), "is of trees, and a gate has none; leave it out")
        return self
