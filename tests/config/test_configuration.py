"""Every configuration file loads, and says what the code expects."""

import inspect
import json
from collections import Counter
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from kedro.io import CatalogConfigResolver
from omegaconf import OmegaConf
from pydantic import TypeAdapter

from llmar_pipeline.demo.recordings import DemoConfig
from llmar_pipeline.io.config_loader import NOT_ENVIRONMENTS, StackedConfigLoader
from llmar_pipeline.io.run_names import VAL_SHARE
from llmar_pipeline.language.config import AdapterConfig
from llmar_pipeline.language.llm_cache import llm_cache
from llmar_pipeline.pipeline_registry import register_pipelines, stages
from llmar_pipeline.reporting.config import RunInfo
from llmar_pipeline.settings import CONFIG_LOADER_ARGS
from llmar_pipeline.training.config import TrainingConfig
from llmar_pipeline.vqvae.config import TokenizationConfig, VQVAEConfig

CONF = Path(__file__).resolve().parents[2] / "conf"
ENVIRONMENTS = sorted(p.name for p in CONF.iterdir() if p.is_dir() and p.name not in NOT_ENVIRONMENTS)
SIZES = sorted(p.stem for p in (CONF / "sizes").glob("*.yml"))
EXPERIMENTS = sorted(p.stem for p in (CONF / "experiments").glob("*.yml"))

CHANGED: dict[str, dict[str, Any]] = {
    "llm_ar": {},
    "no_biases": {"vqvae.zipf_weight": 0, "vqvae.context_weight": 0, "vqvae.mmd_weight": 0},  # Table 4
    "no_zipf": {"vqvae.zipf_weight": 0},
    "no_context": {"vqvae.context_weight": 0},
    "no_mmd": {"vqvae.mmd_weight": 0},
    "euclidean": {"vqvae.geometry": "euclidean"},  # Table 6
    "no_discretization": {"lora.input": "features"},  # Table 5
    "class_list_known": {"lora.listed": "all"},
    "full_tuning": {"lora.method": "full", "lora_training.learning_rate": 5e-5},  # Table 7
    "residual_codes": {"vqvae.residual_levels": 2},  # ours, as the rest
    "body_parts": {"vqvae.body_parts": True},
    "supervised": {"vqvae.auxiliary": "class"},
    "text_aligned": {"vqvae.auxiliary": "text"},
    "ball": {"vqvae.codes_as": "ball"},
}
"""What each experiment changes in the paper's method."""
AT_SIZE: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("sizes.json").read_text())
"""What `llm_ar` has at each size in place of the paper's values, in all."""

RECIPES: dict[str, dict[str, Any]] = {
    "best": {},
    "best_biases": {"vqvae.human_weight": 0.05},  # Table 4 under it
    "best_zipf": {"vqvae.human_weight": 0.05, "vqvae.context_weight": 0, "vqvae.mmd_weight": 0},
    "best_context": {"vqvae.human_weight": 0.05, "vqvae.zipf_weight": 0, "vqvae.mmd_weight": 0},
    "best_mmd": {"vqvae.human_weight": 0.05, "vqvae.zipf_weight": 0, "vqvae.context_weight": 0},
    "best_no_discretization": {"lora.input": "features", "lora.answers": "labels"},  # Table 5
    "best_euclidean": {"vqvae.geometry": "euclidean"},  # Table 6
}
"""What each experiment changes in `best`, which changes many parameters at once."""


def load(env: str | None = None, **runtime: Any) -> StackedConfigLoader:
    return StackedConfigLoader(str(CONF), env, runtime, **CONFIG_LOADER_ARGS)


@cache
def hinted_parameters() -> dict[str, Any]:
    """Parameter -> the type that a node's signature gives it."""
    hints: dict[str, Any] = {}
    for node in register_pipelines()["full"].nodes:
        names = list(inspect.signature(node.func).parameters)
        types = get_type_hints(node.func)
        for argument, source in zip(names, node.inputs, strict=False):  # all figures are one argument
            if source.startswith("params:"):
                hints[source.removeprefix("params:")] = types[argument]
    return hints


def base_parameters(env: str = "no_environment") -> dict[str, Any]:
    files = [*sorted((CONF / "base/parameters").glob("*.yml")), *(CONF / env).glob("parameters.yml")]
    return dict(OmegaConf.to_container(OmegaConf.merge(*map(OmegaConf.load, files)), resolve=False))


def flat(parameters: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted name -> value of every single parameter."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


@pytest.mark.parametrize(
    ("env", "size", "experiment"),
    [*product(ENVIRONMENTS, SIZES, ["llm_ar"]), *product(["ntu120"], SIZES, EXPERIMENTS)],
)
def test_every_combination_validates(env, size, experiment):
    parameters = load(env, size=size, experiment=experiment)["parameters"]
    hints = hinted_parameters()
    assert set(hints) == set(parameters)  # no parameter that nothing reads
    for name, hint in hints.items():
        TypeAdapter(hint).validate_python(parameters[name])


@pytest.mark.parametrize(
    ("key", "model"), [("vqvae", VQVAEConfig), ("lora", AdapterConfig), ("tokenization", TokenizationConfig)]
)
def test_the_base_values_are_the_defaults(key, model):
    loaded = model.model_validate(base_parameters()[key])
    for name, field in model.model_fields.items():
        assert field.is_required() or getattr(loaded, name) == field.default, name


def test_the_share_that_validates_is_the_one_that_needs_no_name():
    assert base_parameters()["val_share"] == VAL_SHARE


def test_the_demo_settings_are_the_defaults():
    assert DemoConfig.model_validate(load("demo")["parameters"]["demo_recordings"]) == DemoConfig()


@pytest.mark.parametrize("env", [name for name in ENVIRONMENTS if name != "demo"])
def test_only_the_demo_makes_recordings_up(env):
    loader = load(env)
    assert loader["parameters"]["demo_recordings"] is None
    assert not loader["globals"]["synthetic"]
    assert loader.size_note.startswith(f"size: {loader['globals']['size']}, ")


def test_the_papers_overlays_change_nothing_but_at_the_small_sizes_and_train_on_official_splits():
    assert OmegaConf.load(CONF / "sizes/paper.yml") == {"val_share": 0}
    for experiment in EXPERIMENTS:
        assert load("ntu60", size="paper", experiment=experiment)["parameters"]["val_share"] == 0
    assert load("ntu60", size="gpu")["parameters"]["val_share"] == VAL_SHARE
    own = OmegaConf.load(CONF / "experiments/llm_ar.yml")
    assert set(own) == {"sizes"}
    assert set(own.sizes) == {"laptop", "demo"}


def test_our_sizes_change_what_their_name_says_and_not_the_method():
    cost = {
        "llm": {"model", "quantization"},
        "vqvae": {"code_dim", "width"},
        "tokenization": {"readings"},
        "vqvae_training": set(TrainingConfig.model_fields),
        "lora_training": set(TrainingConfig.model_fields),
        "evaluation": {"batch_size"},
    }
    for size in SIZES:
        own = OmegaConf.load(CONF / "sizes" / f"{size}.yml")
        assert own.pop("val_share", VAL_SHARE) == (0 if size in ("paper", "qlora") else VAL_SHARE)
        for section, values in own.items():
            assert set(values) <= cost[section], size


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize(("size", "adapted"), [("paper", False), ("gpu", False), ("laptop", True)])
def test_a_report_says_where_the_experiment_is_adapted_to_the_size(size, adapted, experiment):
    run = RunInfo.model_validate(load("nwucla", size=size, experiment=experiment)["parameters"]["run"])
    assert run.method == (f"{experiment}, adapted to size {size}" if adapted else experiment)


@pytest.mark.slow
@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_each_value_comes_from_base_environment_size_or_experiment(env):
    """Whichever file it stands in; `sizes.json` has what `llm_ar` sets at each size."""
    paper = flat(base_parameters(env))
    for size, experiment in product(SIZES, CHANGED):
        loaded = flat(load(env, size=size, experiment=experiment)["parameters"])
        expected = paper | AT_SIZE[size] | CHANGED[experiment]
        chosen = {name: loaded[name] for name, value in expected.items() if str(value).startswith("${")}
        assert chosen["run.experiment"] == experiment
        assert loaded == expected | chosen, (size, experiment)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("env", ["nwucla", "custom"])
@pytest.mark.parametrize("size", SIZES)
def test_a_recipe_changes_only_what_its_file_names_at_every_size(recipe, env, size):
    own = dict(OmegaConf.to_container(OmegaConf.load(CONF / "experiments" / f"{recipe}.yml")))
    sections = {key: own.pop(key, {}) for key in ("sizes", "environments")}
    start = own.pop("from")
    assert start == ("llm_ar" if recipe == "best" else "best")
    paper, ours = (flat(load(env, size=size, experiment=name)["parameters"]) for name in (start, recipe))
    assert recipe == "best" or flat(own) == RECIPES[recipe]
    named = flat(own) | flat(sections["sizes"].get(size, {})) | flat(sections["environments"].get(env, {}))
    assert set(named) <= set(paper)
    changed = {name for name, value in ours.items() if value != paper[name]} - {"run.experiment"}
    assert changed <= set(named)
    assert {name: ours[name] for name in named} == named
    TypeAdapter(VQVAEConfig).validate_python(load(env, size=size, experiment=recipe)["parameters"]["vqvae"])


def test_every_experiment_is_in_the_table_and_departs_from_the_papers_value():
    assert sorted([*CHANGED, *RECIPES]) == EXPERIMENTS
    base = flat(base_parameters())
    for name, changes in CHANGED.items():
        assert {key for key, value in changes.items() if base[key] == value} == set(), name


def datasets() -> dict[str, Any]:
    """Entry of every dataset of the pipelines; of those of a pattern, what it makes of their names."""
    resolver = CatalogConfigResolver(load("demo")["catalog"])
    names = {name for name in register_pipelines()["full"].datasets() if not name.startswith("param")}
    return {name: resolver.resolve_pattern(name) for name in names}


def test_every_dataset_lies_in_the_folder_of_its_layer():
    catalog = datasets()
    assert catalog.pop("llm_cache")["filepath"] == str(
        llm_cache("data")
    )  # once a machine, not once a project
    for name, entry in catalog.items():
        folder = Path(entry["filepath"]).parts[1]
        layer = entry["metadata"]["kedro-viz"]["layer"]  # models_vqvae and models_llm share a folder
        assert folder[2:] == "_" + layer.removesuffix("_vqvae").removesuffix("_llm"), name
        assert folder[:2].isdigit(), name


def test_every_dataset_is_persisted_and_every_entry_is_of_one():
    entries = load("demo")["catalog"]
    resolver = CatalogConfigResolver(entries)
    assert all(datasets().values())
    assert {resolver.match_dataset_pattern(name) or name for name in datasets()} == set(entries)


def test_a_place_on_disk_has_one_name():
    places = Counter(entry["filepath"] for entry in datasets().values())
    assert [place for place, names in places.items() if names > 1] == []


def test_the_registered_pipelines():
    names = ["ingestion", "normalization", "vqvae", "tokenization", "lora", "evaluation", "reporting"]
    assert list(stages()) == names
    made = register_pipelines()
    assert set(made) == {*names, "stage1", "stage2", "full", "__default__"}

    def nodes(*pipelines: str) -> set[str]:
        return {node.name for pipeline in pipelines for node in made[pipeline].nodes}

    assert nodes("stage1") == nodes(*names[:3])
    assert nodes("stage2") == nodes(*names[3:])
    assert nodes("full") == nodes("__default__") == nodes("stage1", "stage2")
    assert not nodes("stage1") & nodes("stage2")
