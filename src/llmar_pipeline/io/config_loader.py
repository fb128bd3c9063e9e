"""Configuration in one stack: base, environment, size, experiment, local, command line."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from llmar_pipeline.corpora import CORPORA, folds
from llmar_pipeline.corpora.shots import ShotsConfig
from llmar_pipeline.corpora.unseen import UnseenConfig
from llmar_pipeline.errors import UserError
from llmar_pipeline.io import size as sizes
from llmar_pipeline.io.chosen_values import folder, settle
from llmar_pipeline.io.conf_folder import conf_folder, read_mapping
from llmar_pipeline.io.known_names import check_choice, check_parameters, nearest
from llmar_pipeline.io.known_places import PLACES, first_place, known_places, place
from llmar_pipeline.io.overlays import Overlays
from llmar_pipeline.io.run_names import RECORDINGS_PARAMETERS, VAL_SHARE, departures, leaves, short_hash
from llmar_pipeline.language.llm_cache import llm_cache
from llmar_pipeline.training.launchers import launched

SELECTORS = (
    *("protocol", "size", "experiment", "raw_dir", "data_dir", "allow_incomplete"),
    *("unseen", "unseen_seed", "generalized", "fold", "shots", "shots_seed"),
)
"""What `--params` may choose besides single parameters; their defaults stand in globals.yml."""

LOCAL = "local"
"""The folder of what holds on this machine or for this user alone; git knows nothing of it."""
NOT_ENVIRONMENTS = {"base", LOCAL, "sizes", "experiments", "tune"}
KEPT = ("metrics", "artifact", "reference", "splits")
"""What an entry of the catalog may have MLflow keep of it, see `tracking.tell`."""


class StackedConfigLoader(OmegaConfigLoader):
    """Kedro's loader with three more layers, and names that must exist.

    Kedro stacks `base` and one environment. Here an environment is a dataset; a machine size
    (`conf/sizes`) and an experiment (`conf/experiments`, see `Overlays`) are merged over it, softly, before
    anything is interpolated, then `conf/local`, and the command line over all. What globals and parameters in
    `conf/local` say counts as if it stood on the command line of every run; catalog, credentials and mlflow
    there go over those of the environment, as in Kedro.

    The selectors and the folders they lead to are written into the globals, from which the catalog composes
    every path:

    - `run_folder`: `<dataset>/<protocol>/<run>`, where `run` is `<experiment>-<size>`, the unseen classes,
      the fold and the shots where there are any, and a short hash of single overrides;
    - `recordings_folder`: `<dataset>/recordings`, and a short hash where ingestion or normalization are not
      as the dataset has them, wherever that was said: what does not depend on the protocol is shared;
    - `split_folder`: the same under the protocol, the share that validates where it is another than usual,
      and the unseen classes, the fold and the shots, as in `run`.

    `adapted` says whether the experiment has values of its own for the size.

    Attributes:
        size_note: Which size was chosen and why, in a line; empty where it was named.
        places: Folders and models that the run's folders are named after, by parameter.

    Raises:
        UserError: an environment, size, experiment, protocol or parameter that does not exist; a size or an
            experiment that is not written as `Overlays` expects it.

    Source: ours.
    """

    def __init__(
        self,
        conf_source: str,
        env: str | None = None,
        runtime_params: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        conf_source = conf_folder(str(conf_source))
        environments = sorted(
            p.name for p in Path(conf_source).iterdir() if p.is_dir() and p.name not in NOT_ENVIRONMENTS
        )
        check_choice("environment", env or kwargs.get("default_run_env"), environments, "--env=")
        super().__init__(conf_source, env, **kwargs)
        self._overlays = Overlays(Path(conf_source), environments)
        self._local = self._local_overrides()
        chosen = _merged(self._local, runtime_params or {})
        self._selected = {key: chosen.pop(key) for key in SELECTORS if key in chosen}
        if chosen.get("init_from") in ("none", None):
            chosen.pop("init_from", None)
        else:
            chosen["init_from"] = folder(chosen["init_from"], "init_from")
        self.runtime_params = chosen
        self._base_and_environment("globals")
        self._usual = self._base_and_environment("parameters")
        self._tell(self._selection(self._globals))
        self._layers = self._stack(self._globals["size"], self._globals["experiment"])
        self._tell(self._globals | self._folders(self._globals))  # named after values that may refer to these

    def __getitem__(self, key: str) -> dict[str, Any]:
        self._register_globals_resolver()  # OmegaConf knows one for all: without this, the newest loader's
        if key == "parameters" and key not in self:
            self._register_runtime_params_resolver()
            return _as_launched(dict(_resolved(self._layers)))
        try:
            made = super().__getitem__(key)
        except OmegaConfBaseException as error:
            raise _unresolved(error) from error
        if key == "catalog":
            _check_entries(made)
        return made

    def place(self, dataset: str) -> Path:
        """Where the catalog says that a dataset of its own entry lies."""
        return Path(self._entries[dataset]["filepath"])

    @cached_property
    def _entries(self) -> dict[str, Any]:
        """The catalog, read once: a grid asks for the places of many runs."""
        return self["catalog"]

    def _tell(self, names: dict[str, Any]) -> None:
        self["globals"] = names
        self._globals_oc = None

    def _selection(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        chosen = {**defaults, **settle({**defaults, **self._selected})}
        for kind, more in (("size", [sizes.AUTO]), ("experiment", [])):
            check_choice(kind, chosen[kind], [*more, *self._overlays.names(kind)], f"--params={kind}=")
        check_choice("corpus", chosen["corpus"], CORPORA, "corpus: ")
        if protocols := CORPORA[chosen["corpus"]].protocols:  # those of `custom` are known from its folder
            check_choice("protocol", chosen["protocol"], protocols, "--params=protocol=")
        chosen["raw_dir"] = chosen["raw_dir"] or _usual_raw_dir(chosen)
        chosen["llm_cache"] = str(llm_cache(chosen["data_dir"]))
        self.places = {k: v for k, v in leaves(self.runtime_params).items() if k in PLACES} | _own(chosen)
        known = known_places(chosen["data_dir"])
        self._named = {name: first_place(value, known) for name, value in self.places.items()}
        if self._named.get("raw_dir") == place(_usual_raw_dir(chosen)):
            del self._named["raw_dir"]
        single = _part(chosen) + short_hash(leaves(self.runtime_params) | self._named)
        self.size_note = ""
        if chosen["size"] == sizes.AUTO:
            chosen["size"], self.size_note = sizes.choose(
                Path(chosen["data_dir"], "06_models", chosen["dataset"], chosen["protocol"]),
                lambda size: f"{chosen['experiment']}-{size}{single}",
                self._overlays.names("size"),
                lambda: self._model_is_here(chosen["experiment"]),
            )
        chosen["run"] = f"{chosen['experiment']}-{chosen['size']}{single}"
        return chosen

    def _folders(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        usual, merged = (
            {name: _resolved(layers, name) for name in RECORDINGS_PARAMETERS}
            for layers in (self._usual, self._layers)
        )
        own = {k: v for k, v in self._named.items() if k == "raw_dir"}
        recordings = "recordings" + short_hash(departures(usual, merged) | own)
        protocol = f"{chosen['dataset']}/{chosen['protocol']}"
        return {
            "adapted": self._overlays.adapted(chosen["size"], chosen["experiment"]),
            "recordings_folder": f"{chosen['dataset']}/{recordings}",
            "split_folder": f"{protocol}/{recordings}{_val_share(self._layers)}{_part(chosen)}",
            "run_folder": f"{protocol}/{chosen['run']}",
        }

    def _stack(self, size: str, experiment: str) -> DictConfig | ListConfig:
        """All layers, the command line last; nothing is interpolated yet."""
        self._overlays.check(size, experiment, self._usual)
        layers = self._overlays.layers(size, experiment, self.env or self.default_run_env)
        merged = _stacked(self._usual, *layers)
        local = {k: v for k, v in self._local.items() if k not in SELECTORS}
        check_parameters(local, merged, f" in conf/{LOCAL}", SELECTORS)
        check_parameters(self.runtime_params, merged, others=SELECTORS)
        return _stacked(merged, self.runtime_params)

    def _model_is_here(self, experiment: str) -> bool:
        """Whether the language model that size paper would read is on this machine."""
        from llmar_pipeline.language.llm import is_here

        merged = self._stack("paper", experiment)
        return is_here(str(OmegaConf.select(merged, "llm.model")), OmegaConf.select(merged, "llm.revision"))

    def _base_and_environment(self, key: str) -> DictConfig | ListConfig:
        """What both say, merged; the environment has no names that base has not."""
        base, of_environment, *_ = self._read_raw_config(key)
        common = _stacked({}, *base.values())
        for file, values in of_environment.items():
            check_parameters(values, common, f" in {self._called(file)}")
        return _stacked(common, *of_environment.values())

    def _local_overrides(self) -> dict[str, Any]:
        chosen = self._local_files("globals").values()
        for key in _merged(*chosen):
            if key not in SELECTORS:
                raise UserError(
                    f"unknown name '{key}' in conf/{LOCAL}/globals.yml: {nearest(key, SELECTORS)}there are "
                    f"{', '.join(SELECTORS)}"
                )
        return _merged(*chosen, *self._local_files("parameters").values())

    def _local_files(self, key: str, read: set[Path] | None = None) -> dict[Path, DictConfig]:
        folder = self._get_conf_env_path(LOCAL)
        if not self._fs.isdir(folder):
            return {}
        patterns = self.config_patterns[key]
        seen = set() if read is None else read
        return dict(self._read_dir_configs(folder, patterns, key, seen, key == "credentials"))

    def _read_dir_configs(
        self, conf_path: str, patterns: Any, key: str, *others: Any
    ) -> dict[Path, DictConfig]:
        """Kedro's, with one line for a file that is not written so."""
        try:
            found = dict(super()._read_dir_configs(conf_path, patterns, key, *others))
        except Exception as error:
            for file in sorted(Path(conf_path).rglob("*")):
                if self._is_valid_config_path(file):
                    read_mapping(file, self._called(file))
            if isinstance(error, ValueError):  # names that two files have
                raise UserError(" ".join(str(error).split())) from error
            raise
        for file, content in found.items():
            if not isinstance(content, DictConfig):
                read_mapping(file, self._called(file))
        return found

    def _called(self, file: Path) -> str:
        return f"conf/{Path(file).relative_to(Path(self.conf_source).absolute()).as_posix()}"

    def _read_raw_config(
        self, key: str
    ) -> tuple[dict[Path, DictConfig], dict[Path, DictConfig], str, str, set[Path]]:
        base, env, base_path, env_path, read = super()._read_raw_config(key)
        if key not in ("globals", "parameters"):  # which are layers of their own
            env |= self._local_files(key, read)
        return base, env, base_path, env_path, read


def _as_launched(parameters: dict[str, Any]) -> dict[str, Any]:
    """Trainings have the processes that a launcher started, where one did.

    Raises:
        UserError: They ask for others.
    """
    if (place := launched()) is not None:
        for name in ("vqvae_training", "lora_training"):
            asked = parameters[name].get("processes", 1)
            if asked not in (1, place.size):
                raise UserError(
                    f"expected {name}.processes={place.size}, as many as the launcher started, saw {asked}; "
                    "leave it out"
                )
            parameters[name]["processes"] = place.size
    return parameters


def _check_entries(catalog: Mapping[str, Any]) -> None:
    """What Kedro answers with a traceback."""
    for name, entry in catalog.items():
        if name.startswith("_"):  # what other entries take their values from
            continue
        if not (isinstance(entry, Mapping) and isinstance(entry.get("type"), str)):
            raise UserError(
                f"catalog entry {name!r}: expected a mapping with the type of a dataset, saw {entry!r:.80}; "
                "correct it in conf/*/catalog"
            )
        for key, value in entry.items():
            if value is not None and not isinstance(value, Mapping) and _is_mapping(key):
                raise UserError(
                    f"catalog entry {name!r}: expected a mapping at {key}, saw {value!r:.80}; correct it in "
                    "conf/*/catalog"
                )
        if not isinstance(place := entry.get("filepath", ""), str):
            raise UserError(
                f"catalog entry {name!r}: expected a path at filepath, saw {place!r:.80}; correct it in "
                "conf/*/catalog"
            )
        kept = (entry.get("metadata") or {}).get("mlflow")
        if kept not in (None, *KEPT):
            raise UserError(
                f"catalog entry {name!r}: expected {', '.join(KEPT[:-1])} or {KEPT[-1]} at metadata.mlflow, "
                f"saw {kept!r:.80}; correct it in conf/*/catalog"
            )


def _is_mapping(key: Any) -> bool:
    """Whether Kedro and its datasets take nothing else there."""
    return key == "metadata" or str(key).endswith("_args")


def _usual_raw_dir(chosen: Mapping[str, Any]) -> str:
    return f"{chosen['data_dir']}/01_raw/{chosen['raw_name'] or chosen['dataset']}"


def _own(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A user's own corpus is whatever lies in the folder: another folder, another corpus."""
    return {"raw_dir": chosen["raw_dir"]} if chosen["corpus"] == "custom" else {}


def _part(chosen: Mapping[str, Any]) -> str:
    """What of the protocol's clips is read in another way than it says."""
    return _unseen(chosen) + folds.suffix(chosen["fold"]) + _shots(chosen)


def _unseen(chosen: Mapping[str, Any]) -> str:
    try:
        unseen = UnseenConfig(
            classes=chosen["unseen"], seed=chosen["unseen_seed"], generalized=chosen["generalized"]
        )
    except ValidationError as error:
        raise UserError(
            f"--params=unseen={chosen['unseen']},unseen_seed={chosen['unseen_seed']},"
            f"generalized={chosen['generalized']}: expected a number or a name, a seed from 0 on, and true "
            "or false"
        ) from error
    return unseen.suffix(chosen["corpus"])


def _shots(chosen: Mapping[str, Any]) -> str:
    try:
        return ShotsConfig(clips=chosen["shots"], seed=chosen["shots_seed"]).suffix()
    except ValidationError as error:
        raise UserError(
            f"--params=shots={chosen['shots']},shots_seed={chosen['shots_seed']}: expected all or a number, "
            "and a seed from 0 on"
        ) from error


def _val_share(layers: DictConfig | ListConfig) -> str:
    share = _resolved(layers, "val_share")
    if not isinstance(share, int | float) or not 0 <= share < 1:
        raise UserError(f"val_share={share}: expected a share of the training subjects, 0 to below 1")
    return "" if share == VAL_SHARE else f"-val{share:g}"


def _unresolved(error: OmegaConfBaseException) -> UserError:
    return UserError(f"configuration cannot be resolved: {str(error).splitlines()[0]}")


def _stacked(*layers: Any) -> DictConfig | ListConfig:
    """Layers over one another; nothing is interpolated yet."""
    try:
        return OmegaConf.merge(*layers)
    except OmegaConfBaseException as error:
        raise UserError(
            "configuration cannot be merged: expected the same kind of value under a name in each file, saw "
            f"another ({str(error).splitlines()[0]}); correct the one that has a list where others have names"
        ) from error


def _merged(*layers: Any) -> dict[str, Any]:
    """Nested mappings, softly, later ones over earlier ones; nothing is interpolated yet."""
    return dict(OmegaConf.to_container(_stacked({}, *layers), resolve=False))  # type: ignore[arg-type]


def _resolved(layers: DictConfig | ListConfig, name: str | None = None) -> Any:
    """What it holds, or what stands there under a name, as plain values."""
    try:
        found = OmegaConf.select(layers, name) if name else layers
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
    except OmegaConfBaseException as error:
        raise _unresolved(error) from error
