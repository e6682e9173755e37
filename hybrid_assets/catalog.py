"""The catalog: typed, documented settings read from `catalog.toml`.

Belongs here: what a user may set, its ranges and its error messages. Does not: what the settings do.
"""

import difflib
import hashlib
import importlib.resources
import json
import math
import os
import tomllib
from collections import abc
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, model_validator

from hybrid_assets.model_settings import ModelSettings, VbprSettings
from hybrid_assets.settings import Name, Settings, Share

DatasetName = Literal["sample", "ml-latest-small", "ml-1m", "ml-25m", "ml-32m", "folder"]
DATASETS: tuple[str, ...] = get_args(DatasetName)
MOVIELENS_RANGE = (0.5, 5.0)


class CatalogError(ValueError):
    """The catalog cannot be used; the message names the file, the setting and what it may be."""


class FolderSettings(Settings):
    """The dataset `folder`: your own ratings, movies and (if you have them) tags as CSV or Parquet."""

    path: Path
    """Folder that holds ratings.csv (or .parquet), movies.csv and, if there are any, tags.csv."""
    columns: Mapping[str, str] = {}
    """Our field -> your column, for example `user_id = "customer"`; what is not named keeps MovieLens's name."""
    rating_range: tuple[float, float] = MOVIELENS_RANGE
    """Lowest and highest rating allowed; a rating outside is an error."""

    @model_validator(mode="after")
    def _range_ascends(self) -> "FolderSettings":
        if self.rating_range[0] >= self.rating_range[1]:
            raise ValueError("rating_range must be [lowest, highest]")
        return self


class SplitSettings(Settings):
    """How ratings are divided into train, validation and test; docs/evaluation.md says what each kind promises."""

    kind: Literal["random", "leave_last_out", "temporal", "user_folds"] = "random"
    """`random`: within each user (the paper). `leave_last_out`: each user's last rating is test. `temporal`: all that
    comes after one moment is. `user_folds`: as `random`, but only of the users of one fold."""
    test_share: Share = 0.2
    """Share of each user's ratings that goes to the test part; of all ratings in `temporal`."""
    min_ratings: Annotated[int, Field(ge=2)] = 5
    """A user with fewer ratings stays whole in train; not of account in `temporal`."""
    validation_share: Share = 0.2
    """Share of each user's train ratings on which fusion weights are chosen; the test part is never used for it."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of the split."""
    folds: Annotated[int, Field(ge=2)] = 5
    """`user_folds`: parts that the users are dealt into."""
    fold: Annotated[int, Field(ge=0)] = 0
    """`user_folds`: the part that is judged, from 0; validation is of the next."""

    @property
    def in_words(self) -> str:
        """The test part, for people."""
        if self.kind == "leave_last_out":
            return "last rating of each user"
        if self.kind == "temporal":
            return f"temporal, the last {self.test_share:g} of all ratings"
        fold = f"fold {self.fold} of {self.folds} of the users, " if self.kind == "user_folds" else ""
        return f"{fold}random per user, {self.test_share:g} test, seed {self.seed}"

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> "SplitSettings":
        for name, share in (("test_share", self.test_share), ("validation_share", self.validation_share)):
            if math.ceil(share * self.min_ratings) >= self.min_ratings:
                raise ValueError(
                    f"{name} = {share} would leave nothing of a user with {self.min_ratings} ratings; "
                    "lower it, or raise min_ratings"
                )
        if self.fold >= self.folds:
            raise ValueError(f"fold = {self.fold} is not there: folds = {self.folds} are counted from 0")
        return self


class EvaluationSettings(Settings):
    """What is counted, and how sure one can be of it."""

    k: Annotated[int, Field(ge=1)] = 25
    """Cutoff: how many entries of a list are judged."""
    relevance_threshold: float = 4.0
    """A test rating of at least this makes a movie relevant; a train rating of at least this makes it liked."""
    list_length: Annotated[int, Field(ge=1)] = 100
    """Entries kept for each user in scores/<system>; at least k."""
    bootstrap_resamples: Annotated[int, Field(ge=100)] = 1000
    """Resamples of the users behind each confidence interval."""
    confidence: Share = 0.95
    """Coverage of the intervals."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of the bootstrap."""
    diversity_encoder: Name = "minilm"
    """Encoder in whose space the diversity within a list is measured, the same one for every system."""

    @model_validator(mode="after")
    def _lists_are_long_enough(self) -> "EvaluationSettings":
        if self.list_length < self.k:
            raise ValueError(f"list_length ({self.list_length}) must be at least k ({self.k})")
        return self


class AutomationSettings(Settings):
    """When the graph refreshes itself while `make ui` (or a Dagster daemon) runs."""

    watch: bool = True
    """Whether the sensor that watches the raw files is on from the start; it can be switched in the UI."""
    watch_seconds: Annotated[int, Field(ge=1)] = 60
    """How often it looks."""
    nightly: bool = False
    """Whether the nightly schedule is on from the start; it can be switched in the UI."""
    nightly_cron: str = "0 3 * * *"
    """When, as a cron expression."""


class CheckSettings(Settings):
    """When an asset check warns."""

    alarm_drop: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of a metric's last value by which it may fall before `not_fallen` warns."""


class PairSettings(Settings):
    """Pairs of movies that fine-tuned encoders learn from, drawn from train without its validation part."""

    per_user: Annotated[int, Field(ge=1)] = 10
    """Pairs of liked movies drawn of each user, at most."""
    most: Annotated[int, Field(ge=1)] = 10_000
    """Such pairs in all, at most."""
    disliked: float = 2.5
    """A rating of at most this makes a movie disliked; liked is evaluation.relevance_threshold."""
    cold_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the movies that no pair holds, so that encoders are judged on movies they never learnt from."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of the draws."""


class ColdStartSettings(Settings):
    """How well systems do for new movies and new people: both are held out of train and the models fitted again."""

    systems: tuple[Name, ...] = ()
    """Names under [systems]; their models are fitted once more, so leave out what takes long. None: not measured."""
    users: Share = 0.2
    """Share of the users that is held out; each is then judged with a few ratings known."""
    movies: Share = 0.1
    """Share of the movies that is held out, drawn as pairs.cold_share is, so that no fine-tuned encoder has learnt
    from them; where it is larger, systems with such encoders are left out."""
    known: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 3, 5, 10)
    """How many ratings of a new user are known; a user needs more than the largest to be judged."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of which users are held out, which of their ratings are known, and of the order of equal scores."""


class GpuSettings(Settings):
    """The GPU for encoders that say they need one."""

    device: Annotated[str, Field(pattern=r"^cuda(:\d+)?$")] = "cuda:0"
    """Which, as torch counts them."""
    wait_seconds: Annotated[int, Field(ge=0)] = 0
    """How long to wait for enough free memory before the run fails; 0 does not wait."""


class TuningSettings(Settings):
    """How a base encoder is fine-tuned on contrastive pairs; docs/encoders.md compares the losses."""

    method: Literal["full", "lora"]
    """`full`: all weights. `lora`: low-rank updates of the attention projections, over a frozen base."""
    loss: Literal["multiple_negatives", "multiple_negatives_cached", "contrastive", "co_like", "alignment"]
    """`multiple_negatives` (the paper's code; `_cached` for batches larger than memory), `contrastive` (the paper's
    text), `co_like` (same-user masking and logQ popularity correction), `alignment` (to the factors of `align_with`).
    Sources: recommender/losses.py."""
    epochs: Annotated[int, Field(ge=1)] = 2
    """Passes over the pairs."""
    batch_size: Annotated[int, Field(ge=2)] = 16
    """Pairs a step."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    """Highest rate; warmed up, then linearly down to 0."""
    temperature: Annotated[float, Field(gt=0)] = 0.05
    """Divides the cosines in all losses but `contrastive`."""
    rank: Annotated[int, Field(ge=1)] = 8
    """r of LoRA."""
    targets: tuple[str, ...] | None = None
    """Modules that LoRA updates; None: the attention projections of BERT, Llama and Qwen3."""
    align_with: Name | None = None
    """For `alignment`: a name under [models] whose item factors the texts are aligned to."""
    alike: Annotated[float, Field(ge=-1, le=1)] = 0.8
    """For `alignment`: texts with a cosine above this are no negatives of each other."""
    evaluations: Annotated[int, Field(ge=0)] = 4
    """How often recall on validation is measured while it trains."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many measurements without a better one and keep the best; None trains to the end."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of the training."""

    @model_validator(mode="after")
    def _alignment_has_a_model(self) -> "TuningSettings":
        if (self.loss == "alignment") != (self.align_with is not None):
            raise ValueError("loss = 'alignment' and align_with = '<model>' go together")
        if self.patience is not None and self.evaluations == 0:
            raise ValueError("patience counts evaluations: set evaluations to 1 or more, or leave patience out")
        return self


class EncoderSettings(Settings):
    """A text encoder: any SentenceTransformer or bare transformer, as it is or fine-tuned from another entry."""

    weights: str | None = None
    """`package:<module>` (a Python package that carries them), a local folder, or a hub id such as
    `sentence-transformers/all-mpnet-base-v2`."""
    revision: str | None = None
    """Commit of the hub id; without it the hub's newest is taken and results may change with it."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Expected SHA-256 of the weights file; another file is refused."""
    pooling: Literal["mean", "cls", "lasttoken"] | None = None
    """How tokens become one vector, for weights without a modules.json."""
    prompt: str = ""
    """Text put before every document."""
    max_length: Annotated[int, Field(ge=1)] | None = None
    """Tokens kept of a document; None takes the encoder's own limit."""
    precision: Literal["float32", "bfloat16", "nf4"] = "float32"
    """Of the weights in memory; `nf4` is 4-bit with bitsandbytes."""

    base: Name | None = None
    """In place of weights: the entry under [encoders] that this one is fine-tuned from, as `tuning` says."""
    tuning: TuningSettings | None = None
    """How it is fine-tuned."""

    dimensions: Annotated[int, Field(ge=1)] | None = None
    """Expected length of a vector; another one is refused."""
    keep_dimensions: Annotated[int, Field(ge=1)] | None = None
    """Keep only the first ones of each vector, for encoders trained for it (Matryoshka)."""
    stored_as: Literal["float32", "float16"] = "float32"
    """Of the vectors on disk."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Documents encoded at once; halved by itself when memory runs out."""
    backend: Literal["torch", "onnxruntime"] = "torch"
    """`onnxruntime`: the same vectors (cosine at least 0.9999) faster on a CPU; needs `pip install
    'hybrid-assets[onnx]'`."""
    gpu_gib: Annotated[float, Field(ge=0)] = 0.0
    """Free GPU memory it needs, in GiB; 0 runs on the CPU."""
    refresh: bool = True
    """Whether `run` and the scheduled refresh keep it up to date; false leaves it to `hybrid-assets backfill`."""

    @model_validator(mode="after")
    def _weights_or_base(self) -> "EncoderSettings":
        if (self.weights is None) == (self.base is None):
            raise ValueError("an encoder needs either weights, or a base and a [tuning] table")
        if (self.base is None) != (self.tuning is None):
            raise ValueError("base and tuning go together: base names an encoder, tuning says how it is fine-tuned")
        inherited = ("revision", "sha256", "pooling", "prompt", "max_length", "precision")
        for name in inherited if self.base else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is the base's; set it there")
        if self.backend == "onnxruntime" and (self.base or self.precision != "float32" or self.gpu_gib):
            raise ValueError("backend = 'onnxruntime' is for untuned float32 encoders on the CPU")
        return self


class PublishedRow(Settings):
    """What the paper's Table I prints for a system, at k = 25 on ml-latest-small."""

    precision: float
    """P@25."""
    recall: float
    """R@25."""
    ndcg_list: float
    """The column "NDCG@25", which is the list-NDCG (see the glossary of the report)."""


class StackerSettings(Settings):
    """How the fusion `stacked` learns: LambdaMART with the cross-entropy loss (LightGBM) on held-out folds of train."""

    folds: Annotated[int, Field(ge=2)] = 4
    """Parts of train, each held out once; the branches are fitted on the others, so that none has seen its targets."""
    candidates: Annotated[int, Field(ge=1)] = 200
    """Movies of each user that are ranked: those with the highest sum of the models' standardised scores."""
    trees: Annotated[int, Field(ge=1)] = 200
    """How many trees."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    """Share of each tree's values that is added."""
    leaves: Annotated[int, Field(ge=2)] = 15
    """Most leaves of a tree."""
    smallest_leaf: Annotated[int, Field(ge=1)] = 200
    """Fewest rows of a leaf."""
    feature_share: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Share of the features that each tree may use."""
    row_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the rows that each tree sees."""
    rankers: Annotated[int, Field(ge=1)] = 3
    """How many rankers are trained, each with draws of its own; their scores are averaged."""
    newcomers: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of the users who leave train whole and come back as new people; from them it learns to rank for such."""
    newcomer_ratings: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 3, 10, 30)
    """How many ratings they bring, each number in turn. Who brings more than the most is ranked as a user is."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of the folds, and of the first ranker's draws; the next one's is 1 more. Newcomers are drawn by it + 1."""


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
    models: tuple[Name, ...] = ()
    """Several collaborative branches, in place of `model`."""
    encoders: tuple[Name, ...] = ()
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

    @property
    def kind(self) -> Literal["hybrid", "collaborative", "content"]:
        """What it is made of: models and encoders, models alone, or encoders alone."""
        if self.model_names and self.needed_encoders:
            return "hybrid"
        return "collaborative" if self.model_names else "content"

    @model_validator(mode="after")
    def _branches_fit_the_fusion(self) -> "SystemSettings":
        if (self.model and self.models) or (self.encoder and self.encoders):
            raise ValueError("name one branch by `model` or `encoder`, several by `models` or `encoders`, not both")
        models, encoders = self.model_names, self.encoder_names
        branches = [*models, *encoders]
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
        return self


class Catalog(Settings):
    """Everything a user sets."""

    dataset: DatasetName = "sample"
    """Which ratings to use."""
    folder: FolderSettings | None = None
    """Where your own files are, for dataset = "folder"."""
    split: SplitSettings = SplitSettings()
    """Train, validation and test."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """Cutoff, relevance, intervals."""
    automation: AutomationSettings = AutomationSettings()
    """Sensor and schedule."""
    checks: CheckSettings = CheckSettings()
    """Asset checks."""
    pairs: PairSettings = PairSettings()
    """What fine-tuned encoders learn from."""
    cold_start: ColdStartSettings = ColdStartSettings()
    """New movies and new people."""
    gpu: GpuSettings = GpuSettings()
    """Where encoders run that need a GPU."""
    encoders: Mapping[Name, EncoderSettings] = {}
    """Text encoders by name."""
    models: Mapping[Name, ModelSettings] = {}
    """Collaborative models by name."""
    systems: Mapping[Name, SystemSettings] = {}
    """Ranked systems by name."""

    @property
    def rating_range(self) -> tuple[float, float]:
        """Lowest and highest rating of the dataset; MovieLens' for all but your own files."""
        own = self.folder if self.dataset == "folder" else None
        return own.rating_range if own else MOVIELENS_RANGE

    def candidates_of(self, name: str) -> str:
        """The first system that learns from the same candidates as this one: they share them."""

        def drawn_from(system: SystemSettings) -> tuple[object, ...]:
            learns = system.learning
            of_users = (learns.folds, learns.candidates, learns.seed)
            return system.is_learned, system.model_names, *of_users, learns.newcomers, learns.newcomer_ratings

        own = drawn_from(self.systems[name])
        return next(other for other, system in self.systems.items() if drawn_from(system) == own)

    def is_most_popular(self, system: SystemSettings) -> bool:
        """Whether a system is the plain list of the most popular movies, the floor for every other."""
        models = [self.models[name].algorithm for name in system.model_names]
        return models == ["most_popular"] and not system.encoder_names

    def reranked(self) -> dict[str, str]:
        """Re-ranked system -> the system with the same settings but for `rerank`, where the catalog has it."""
        plain = {name: it.model_dump(exclude={"published", "rerank"}) for name, it in self.systems.items()}
        return {
            name: base
            for name, it in self.systems.items()
            for base, other in self.systems.items()
            if it.rerank and not other.rerank and plain[name] == plain[base]
        }

    @model_validator(mode="after")
    def _names_refer_to_entries(self) -> "Catalog":
        if self.dataset == "folder" and self.folder is None:
            raise ValueError('dataset = "folder" needs a [folder] table with `path = "/your/files"`')
        if not self.systems:
            raise ValueError("at least one [systems.<name>] is needed")
        references: list[tuple[str, str, Mapping[str, object]]] = [
            ("evaluation.diversity_encoder", self.evaluation.diversity_encoder, self.encoders)
        ]
        for name, system in self.systems.items():
            setting = "models" if system.models else "model"
            references += [(f"systems.{name}.{setting}", model, self.models) for model in system.model_names]
            setting = "encoders" if system.encoders else "encoder"
            references += [(f"systems.{name}.{setting}", encoder, self.encoders) for encoder in system.encoder_names]
            if system.rerank and system.rerank.encoder:
                references.append((f"systems.{name}.rerank.encoder", system.rerank.encoder, self.encoders))
            tuned = [it for it in system.encoder_names if it in self.encoders and self.encoders[it].tuning]
            if system.is_learned and tuned:
                raise ValueError(
                    f"systems.{name} is {system.fusion} and its encoder {tuned[0]} fine-tuned: that has seen the "
                    'ratings which are held out to learn from; name its base, or take fusion = "zscore"'
                )
            read = [model for model in system.model_names if self.encoder_of(model)]
            if system.is_learned and read:
                raise ValueError(
                    f"systems.{name} is {system.fusion} and its model {read[0]} reads an encoder: candidates are made "
                    'from ratings alone; name the encoder beside other models, or take fusion = "zscore"'
                )
            if system.is_learned and system.learning.candidates < self.evaluation.list_length:
                raise ValueError(
                    f"systems.{name}.stacker.candidates ({system.learning.candidates}) must be at least "
                    f"evaluation.list_length ({self.evaluation.list_length})"
                )
        for name, model in self.models.items():
            if isinstance(model, VbprSettings):
                references.append((f"models.{name}.encoder", model.encoder, self.encoders))
        for name, encoder in self.encoders.items():
            if encoder.base is not None:
                references.append((f"encoders.{name}.base", encoder.base, self.encoders))
            if encoder.tuning is not None and encoder.tuning.align_with is not None:
                references.append((f"encoders.{name}.tuning.align_with", encoder.tuning.align_with, self.models))
        both = [name for name in self.models if name in self.encoders]
        if both:
            raise ValueError(
                f"{both[0]!r} is the name of a model and of an encoder; commands could not tell; rename one"
            )
        for name in self.cold_start.systems:
            references.append(("cold_start.systems", name, self.systems))
            if name in self.systems and self.systems[name].rerank:
                raise ValueError(
                    f"cold_start.systems: {name} puts lists into another order, which is not judged there; name "
                    "systems without `rerank`"
                )
        for setting, target, entries in references:
            if target not in entries:
                raise ValueError(f"{setting} = {target!r} is not defined; {_nearest(target, entries)}")
        for name, encoder in self.encoders.items():
            base = self.encoders[encoder.base] if encoder.base else encoder
            if base.base is not None:
                raise ValueError(
                    f"encoders.{name}.base = {encoder.base!r} is itself fine-tuned; name what it came from"
                )
            aligned = encoder.tuning.align_with if encoder.tuning else None
            if aligned is not None and self.encoder_of(aligned):
                raise ValueError(
                    f"encoders.{name}.tuning.align_with = {aligned!r} reads an encoder itself; name another"
                )
            if encoder.tuning is not None and encoder.tuning.method == "full" and base.precision == "nf4":
                raise ValueError(f"encoders.{name}.tuning: 4-bit weights cannot be trained; use method = 'lora'")
        return self

    def encoder_of(self, model: str) -> str | None:
        """The encoder that a model learns from, if it does from any."""
        settings = self.models.get(model)
        return settings.encoder if isinstance(settings, VbprSettings) else None

    def encoders_behind(self, system: SystemSettings) -> tuple[str, ...]:
        """The encoders that a system's lists depend on: those it needs itself, and those that its models learn from."""
        read = [encoder for model in system.model_names if (encoder := self.encoder_of(model))]
        return tuple(dict.fromkeys([*system.needed_encoders, *read]))

    def on_request(self, system: SystemSettings) -> tuple[str, ...]:
        """What `run` leaves out of a system's branches: names to give `hybrid-assets backfill`."""
        encoders = [name for name in self.encoders_behind(system) if not self.encoders[name].refresh]
        return (*encoders, *(name for name in system.model_names if not self.models[name].refresh))

    def base_of(self, encoder: str) -> EncoderSettings:
        """The entry that holds an encoder's weights: its own, or that of its base."""
        settings = self.encoders[encoder]
        return self.encoders[settings.base] if settings.base else settings


def load_catalog(path: Path | None = None, dataset: str | None = None) -> Catalog:
    """Read a catalog file.

    `path` defaults to HYBRID_CATALOG, then to the packaged `catalog.toml`; `dataset` to HYBRID_DATASET, then to
    what the file says.

    Raises:
        CatalogError: the file is missing, is not TOML, or holds an unknown key or a value out of range.
    """
    path = path or (Path(os.environ["HYBRID_CATALOG"]) if os.environ.get("HYBRID_CATALOG") else None)
    dataset = dataset or os.environ.get("HYBRID_DATASET") or None
    name = str(path) if path else "hybrid_assets/catalog.toml"
    try:
        text = (path or importlib.resources.files("hybrid_assets") / "catalog.toml").read_text("utf-8")
        settings = tomllib.loads(text)
    except OSError as error:
        raise CatalogError(f"{name}: {error.strerror}; set HYBRID_CATALOG to a file that exists") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"{name}: not valid TOML: {error}") from error
    if dataset:
        settings["dataset"] = dataset
    try:
        return Catalog.model_validate(settings)
    except ValidationError as error:
        raise CatalogError(_explain(name, error)) from error


def settings_digest(*settings: object) -> str:
    """Short hash of settings, as it enters an asset's code version: 12 hexadecimal digits."""

    def plain(value: object) -> object:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        raise TypeError(f"{value!r} cannot be part of a code version")

    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=plain).encode()).hexdigest()[:12]


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known)) or 'none'}"


def _explain(file: str, error: ValidationError) -> str:
    lines = [f"{file}: {error.error_count()} setting(s) cannot be used"]
    for problem in error.errors():
        written, holder = _locate(problem["loc"])
        where = ".".join(str(part) for part in written) or "catalog"
        if problem["type"] == "extra_forbidden" and holder is not None:
            lines.append(f"  {where}: unknown setting; {_nearest(str(problem['loc'][-1]), holder.model_fields)}")
        else:
            lines.append(f"  {where}: {problem['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def _locate(location: tuple[int | str, ...]) -> tuple[list[int | str], type[Settings] | None]:
    """A problem's location as the file writes it, and the settings that hold its last part.

    Follows the annotations from Catalog on. Where one of several kinds of settings is meant, pydantic puts the
    discriminator ("pmf") into the location; the file has no such key.
    """
    written: list[int | str] = []
    here: Any = Catalog
    holder: type[Settings] | None = None
    for part in location:
        kinds = _settings_within(here)
        if len(kinds) > 1:
            here = next(kind for kind in kinds if part in get_args(kind.model_fields["algorithm"].annotation))
            continue
        written.append(part)
        holder = kinds[0] if kinds else None
        if holder is not None:
            field = holder.model_fields.get(str(part))
            here = field.annotation if field else None
        elif get_origin(here) is abc.Mapping:
            here = get_args(here)[1]
        else:
            here = None
    return written, holder


def _settings_within(annotation: Any) -> list[type[Settings]]:
    """The kinds of settings that an annotation allows: itself, or those of its union; not those inside a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return [kind for inner in get_args(annotation) for kind in _settings_within(inner)]
    return []
