"""The catalog: typed, documented settings read from `catalog.toml`.

Belongs here: what a user may set of the whole, how entries refer to each other, and the error messages. Does not:
settings of encoders, models and systems (the *_settings.py beside it), what the settings do.
"""

import difflib
import hashlib
import importlib.resources
import json
import math
import os
import tomllib
from collections import abc
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from hybrid_assets.datasets.fields import check_columns
from hybrid_assets.encoder_settings import EncoderSettings
from hybrid_assets.model_settings import ModelSettings
from hybrid_assets.settings import Lax, Name, Seed, Settings, Share
from hybrid_assets.system_settings import SystemSettings

DatasetName = Literal["sample", "ml-latest-small", "ml-1m", "ml-25m", "ml-32m", "folder"]
DATASETS: tuple[str, ...] = get_args(DatasetName)
MOVIELENS_RANGE = (0.5, 5.0)
# Algorithms whose scores are counts, or sums over many users or movies.
COUNTING = ("most_popular", "item_knn", "user_knn")


class CatalogError(ValueError):
    """The catalog cannot be used; the message names the file, the setting and what it may be."""


class FolderSettings(Settings):
    """The dataset `folder`: your own ratings, movies and (if you have them) tags as CSV or Parquet."""

    path: Annotated[Path, Lax, AfterValidator(Path.expanduser)]
    """Folder that holds ratings.csv (or .parquet), movies.csv and, if there are any, tags.csv; from the current one, or
    with a leading ~ from your home."""
    columns: Mapping[str, str] = {}
    """Our field -> your column, for example `user_id = "customer"`; what is not named keeps MovieLens's name."""
    rating_range: Annotated[tuple[float, float], Lax] = MOVIELENS_RANGE
    """Lowest and highest rating allowed; a rating outside is an error. Another than MovieLens's needs an
    evaluation.relevance_threshold of its own."""

    @model_validator(mode="after")
    def _range_ascends(self) -> "FolderSettings":
        if self.rating_range[0] >= self.rating_range[1]:
            raise ValueError("rating_range must be [lowest, highest]")
        return self

    @model_validator(mode="after")
    def _each_field_has_a_column_of_its_own(self) -> "FolderSettings":
        check_columns(self.columns)
        return self


class SplitSettings(Settings):
    """How ratings are divided into train, validation and test; docs/evaluation.md says what each kind promises."""

    kind: Literal["random", "leave_last_out", "temporal", "user_folds"] = "random"
    """`random`: within each user (the paper). `leave_last_out`: each user's last rating is test. `temporal`: all that
    comes after one moment is. `user_folds`: as `random`, but only of the users of one fold."""
    test_share: Share = 0.2
    """Share of each user's ratings that goes to the test part; of all ratings in `temporal`; not of account in
    `leave_last_out`."""
    min_ratings: Annotated[int, Field(ge=2)] = 5
    """A user with fewer ratings stays whole in train; not of account in `temporal`."""
    validation_share: Share = 0.2
    """The same of the train ratings, on which fusion weights are chosen; the test part is never used for it."""
    seed: Seed = 42
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
        by_user = self.kind in ("random", "user_folds")
        for name, share in (("test_share", self.test_share), ("validation_share", self.validation_share)):
            if by_user and math.ceil(share * self.min_ratings) >= self.min_ratings:
                raise ValueError(
                    f"{name} = {share} would leave nothing of a user with {self.min_ratings} ratings; "
                    "lower it, or raise min_ratings"
                )
        if self.fold >= self.folds:
            raise ValueError(f"fold = {self.fold} is not there: folds = {self.folds} are counted from 0")
        if self.kind != "user_folds":
            self.refuse(("folds", "fold"), "is of account for kind = 'user_folds' alone; leave it out")
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
    seed: Seed = 42
    """Seed of the bootstrap."""
    diversity_encoder: Name = "minilm"
    """Encoder in whose space the diversity within a list is measured, the same one for every system."""

    @property
    def bootstrap(self) -> dict[str, Any]:
        """What intervals over users are made with: the arguments of recommender/intervals.py."""
        return {"seed": self.seed, "resamples": self.bootstrap_resamples, "confidence": self.confidence}

    @property
    def of_figures(self) -> list[object]:
        """What figures over users depend on: all but the length of the kept lists and the space of diversity."""
        return [self.k, self.relevance_threshold, self.bootstrap_resamples, self.confidence, self.seed]

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
    """When, as a cron expression; in UTC."""


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
    seed: Seed = 42
    """Seed of the draws."""


class ColdStartSettings(Settings):
    """How well systems do for new movies and new people: both are held out of train and the models fitted again."""

    systems: Annotated[tuple[Name, ...], Lax] = ()
    """Names under [systems]; their models are fitted once more, so leave out what takes long. None: not measured."""
    users: Share = 0.2
    """Share of the users that is held out; each is then judged with a few ratings known."""
    movies: Share = 0.1
    """Share of the movies that is held out, drawn as pairs.cold_share is, so that no fine-tuned encoder has learnt
    from them; where it is larger, systems with such encoders are left out."""
    known: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1), Lax] = (1, 3, 5, 10)
    """How many ratings of a new user are known; a user needs more than the largest to be judged."""
    seed: Seed = 42
    """Seed of which users are held out, which of their ratings are known, and of the order of equal scores."""


class GpuSettings(Settings):
    """The GPU for encoders that say they need one."""

    device: Annotated[str, Field(pattern=r"^cuda(:\d+)?$")] = "cuda:0"
    """Which, by its place in `nvidia-smi` or in CUDA_VISIBLE_DEVICES."""
    wait_seconds: Annotated[int, Field(ge=0)] = 0
    """How long to wait for enough free memory before the run fails; 0 does not wait."""


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
            choosing = [model for model in system.model_names if not self.encoder_of(model)]
            return system.is_learned, choosing, system.learning.of_candidates

        own = drawn_from(self.systems[name])
        return next(other for other, system in self.systems.items() if drawn_from(system) == own)

    @property
    def floor(self) -> str | None:
        """The first system that is the plain list of the most popular movies; None where the catalog has none."""
        for name, system in self.systems.items():
            models = [self.models[model].algorithm for model in system.model_names]
            if models == ["most_popular"] and not system.encoder_names and system.rerank is None:
                return name
        return None

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
    def _something_is_ranked(self) -> "Catalog":
        if self.dataset == "folder" and self.folder is None:
            raise ValueError('dataset = "folder" needs a [folder] table with `path = "/your/files"`')
        if not self.systems:
            raise ValueError("at least one [systems.<name>] is needed")
        return self

    @model_validator(mode="after")
    def _liked_is_on_the_scale_of_the_ratings(self) -> "Catalog":
        low, high = self.rating_range
        threshold = self.evaluation.relevance_threshold
        if self.rating_range != MOVIELENS_RANGE and "relevance_threshold" not in self.evaluation.model_fields_set:
            raise ValueError(
                f"folder.rating_range = [{low:g}, {high:g}] is another scale than MovieLens's: set "
                f"evaluation.relevance_threshold too, the rating from which on a movie is liked ({threshold:g} there)"
            )
        if not low <= threshold <= high:
            raise ValueError(
                f"evaluation.relevance_threshold = {threshold:g} is outside the ratings of dataset = {self.dataset!r}, "
                f"{low:g} to {high:g}: everything or nothing would be liked; choose one of these"
            )
        if self.pairs.disliked >= threshold:
            raise ValueError(
                f"pairs.disliked = {self.pairs.disliked:g} is not below evaluation.relevance_threshold = "
                f"{threshold:g}: a movie would be liked and disliked; set a lower pairs.disliked"
            )
        return self

    @model_validator(mode="after")
    def _a_sigmoid_is_of_scores_that_it_can_tell_apart(self) -> "Catalog":
        for name, system in self.systems.items():
            for model in system.model_names if system.encoder_names and system.fusion == "convex" else ():
                if model in self.models and self.models[model].algorithm in COUNTING:
                    raise ValueError(
                        f"systems.{name}: `convex` puts scores through a sigmoid, which is 1 for nearly all of those "
                        f'of {model}, sums over many users or movies; take fusion = "zscore" or "notebook"'
                    )
        return self

    @model_validator(mode="after")
    def _diversity_can_be_measured_in_every_run(self) -> "Catalog":
        space = self.evaluation.diversity_encoder
        encoder = self.encoders.get(space)
        if encoder and (not encoder.refresh or encoder.gpu_gib):
            raise ValueError(
                f"evaluation.diversity_encoder = {space!r} is left out of `hybrid-assets run`, which measures the "
                "diversity of every system in its space; name an encoder with refresh = true and without gpu_gib"
            )
        return self

    @model_validator(mode="after")
    def _names_refer_to_entries(self) -> "Catalog":
        for setting, target, entries in self._references():
            if target not in entries:
                raise ValueError(f"{setting} = {target!r} is not defined; {_nearest(target, entries)}")
        both = [name for name in self.models if name in self.encoders]
        if both:
            raise ValueError(
                f"{both[0]!r} is the name of a model and of an encoder; commands could not tell; rename one"
            )
        return self

    def _references(self) -> Iterator[tuple[str, str, Mapping[str, object]]]:
        """Every setting that names an entry: as the file writes it, the name, and the entries it is looked up in."""
        yield "evaluation.diversity_encoder", self.evaluation.diversity_encoder, self.encoders
        for name, system in self.systems.items():
            setting = "models" if system.models else "model"
            yield from ((f"systems.{name}.{setting}", model, self.models) for model in system.model_names)
            setting = "encoders" if system.encoders else "encoder"
            yield from ((f"systems.{name}.{setting}", encoder, self.encoders) for encoder in system.encoder_names)
            if system.rerank and system.rerank.encoder:
                yield f"systems.{name}.rerank.encoder", system.rerank.encoder, self.encoders
        for name in self.models:
            read = self.encoder_of(name)
            if read is not None:
                yield f"models.{name}.encoder", read, self.encoders
        for name, encoder in self.encoders.items():
            if encoder.base is not None:
                yield f"encoders.{name}.base", encoder.base, self.encoders
            if encoder.tuning is not None and encoder.tuning.align_with is not None:
                yield f"encoders.{name}.tuning.align_with", encoder.tuning.align_with, self.models
        for name in self.cold_start.systems:
            yield "cold_start.systems", name, self.systems

    @model_validator(mode="after")
    def _learned_systems_learn_from_what_no_branch_has_seen(self) -> "Catalog":
        for name, system in self.systems.items():
            if not system.is_learned:
                continue
            read = [encoder for model in system.model_names if (encoder := self.encoder_of(model))]
            tuned = [encoder for encoder in (*system.encoder_names, *read) if self.encoders[encoder].tuning]
            if tuned:
                raise ValueError(
                    f"systems.{name} is {system.fusion} and its encoder {tuned[0]} fine-tuned: that has seen the "
                    'ratings which are held out to learn from; name its base, or take fusion = "zscore"'
                )
            if len(read) == len(system.model_names):
                raise ValueError(
                    f"systems.{name} is {system.fusion} and all its models read an encoder: candidates are made from "
                    "ratings alone; name a model beside them that knows nothing else"
                )
            if system.learning.candidates < self.evaluation.list_length:
                raise ValueError(
                    f"systems.{name}.stacker.candidates ({system.learning.candidates}) must be at least "
                    f"evaluation.list_length ({self.evaluation.list_length})"
                )
        return self

    @model_validator(mode="after")
    def _fine_tuned_encoders_have_a_base_to_train(self) -> "Catalog":
        for name, encoder in self.encoders.items():
            base = self.base_of(name)
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

    @model_validator(mode="after")
    def _cold_start_can_judge(self) -> "Catalog":
        for name in self.cold_start.systems:
            system = self.systems[name]
            if system.rerank:
                raise ValueError(
                    f"cold_start.systems: {name} puts lists into another order, which is not judged there; name "
                    "systems without `rerank`"
                )
            if system.is_learned and self.cold_start.seed == system.learning.seed + 1:
                raise ValueError(
                    f"cold_start.seed = {self.cold_start.seed} draws the people by whom {name} learns to rank new "
                    "people (its stacker.seed + 1), so that few of them would be left to learn from; choose another"
                )
        return self

    def encoder_of(self, model: str) -> str | None:
        """The encoder that a model learns from, if it does from any."""
        encoder: str | None = getattr(self.models.get(model), "encoder", None)
        return encoder

    def encoders_behind(self, system: SystemSettings) -> tuple[str, ...]:
        """The encoders that a system's lists depend on: those it needs itself, and those that its models learn from."""
        read = [encoder for model in system.model_names if (encoder := self.encoder_of(model))]
        return tuple(dict.fromkeys([*system.needed_encoders, *read]))

    def kind_of(self, system: SystemSettings) -> Literal["hybrid", "collaborative", "content"]:
        """What a system is made of: models and encoders, its models' own too; models alone; or encoders alone."""
        if system.model_names and self.encoders_behind(system):
            return "hybrid"
        return "collaborative" if system.model_names else "content"

    def on_request(self, system: SystemSettings) -> tuple[str, ...]:
        """What `run` leaves out of a system's branches: names to give `hybrid-assets backfill`."""
        encoders = [name for name in self.encoders_behind(system) if not self.encoders[name].refresh]
        return (*encoders, *(name for name in system.model_names if not self.models[name].refresh))

    def command_for(self, name: str) -> str:
        """What brings a system up to date, whole."""
        on_request = self.on_request(self.systems[name])
        return self.backfill_command(*on_request) if on_request else f"hybrid-assets run --dataset {self.dataset}"

    def backfill_command(self, *names: str) -> str:
        """The command that builds encoders and models."""
        return f"hybrid-assets backfill {' '.join(names)} --dataset {self.dataset}"

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
    path = path or (Path(os.environ["HYBRID_CATALOG"]).expanduser() if os.environ.get("HYBRID_CATALOG") else None)
    dataset = dataset or os.environ.get("HYBRID_DATASET") or None
    name = str(path) if path else "hybrid_assets/catalog.toml"
    if dataset and dataset not in DATASETS:
        raise CatalogError(f"--dataset or HYBRID_DATASET = {dataset!r} is not a dataset; {_nearest(dataset, DATASETS)}")
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
