"""Configuration in one stack: base, environment, size, experiment, local, command line."""

import atexit
import functools
import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.unseen import UnseenConfig
from llmar_pipeline.errors import UserError
from llmar_pipeline.io import size as sizes
from llmar_pipeline.language.llm_cache import llm_cache

SELECTORS = (
    *("protocol", "size", "experiment", "raw_dir", "data_dir", "allow_incomplete"),
    *("unseen", "unseen_seed"),
)
"""What `--params` may choose besides single parameters; their defaults stand in globals.yml."""

LOCAL = "local"
"""The folder of what holds on this machine or for this user alone; git knows nothing of it."""
NOT_ENVIRONMENTS = {"base", LOCAL, "sizes", "experiments"}
RECORDINGS_PARAMETERS = ("ingestion", "normalization", "demo_recordings")
"""What the stored sequences depend on: all else only names a run."""
NEUTRAL_PARAMETERS = (
    *("ingestion.workers", "evaluation.table_rows"),
    *(f"{stage}_training.{often}" for stage in ("vqvae", "lora") for often in ("save_every", "log_every")),
)
"""What no result depends on."""
PLACES = ("raw_dir", "llm.model")
"""Parameters that may be folders: the same one under another name is the same."""


class StackedConfigLoader(OmegaConfigLoader):
    """Kedro's loader with three more layers, and names that must exist.

    Kedro stacks `base` and one environment. Here an environment is a dataset; a machine size
    (`conf/sizes`) and an experiment (`conf/experiments`) are merged over it, softly, before anything is
    interpolated, then `conf/local`, and the command line over all. What globals and parameters in
    `conf/local` say counts as if it stood on the command line of every run; catalog, credentials and mlflow
    there go over those of the environment, as in Kedro.

    The selectors and the folders they lead to are written into the globals, from which the catalog composes
    every path:

    - `run_folder`: `<dataset>/<protocol>/<run>`, where `run` is `<experiment>-<size>`, the unseen classes
      where there are any, and a short hash of single overrides;
    - `recordings_folder`: `<dataset>/recordings`, and a short hash where ingestion or normalization are
      overridden: what does not depend on protocol and experiment is shared;
    - `split_folder`: the same under the protocol, and the unseen classes where there are any, as in `run`.

    Attributes:
        size_note: Which size was chosen and why, in a line; empty where it was named.

    Raises:
        UserError: an environment, size, experiment, protocol or parameter that does not exist.

    Source: ours.
    """

    def __init__(
        self,
        conf_source: str,
        env: str | None = None,
        runtime_params: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        conf_source = _folder(str(conf_source))
        environments = sorted(
            p.name for p in Path(conf_source).iterdir() if p.is_dir() and p.name not in NOT_ENVIRONMENTS
        )
        _check_choice("environment", env or kwargs.get("default_run_env"), environments, "--env=")
        super().__init__(conf_source, env, **kwargs)
        self._local = self._local_overrides()
        chosen = _merged(self._local, runtime_params or {})
        self._selected = {key: chosen.pop(key) for key in SELECTORS if key in chosen}
        self.runtime_params = chosen
        self["globals"] = self._selection(self._globals)
        self._globals_oc = None

    def __getitem__(self, key: str) -> dict[str, Any]:
        self._register_globals_resolver()  # OmegaConf knows one for all: without this, the newest loader's
        return super().__getitem__(key)

    def place(self, dataset: str) -> Path:
        """Where the catalog says that a dataset of its own entry lies."""
        return Path(self["catalog"][dataset]["filepath"])

    def _selection(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        chosen = {**defaults, **self._selected}
        for kind, more in (("size", [sizes.AUTO]), ("experiment", [])):
            _check_choice(kind, chosen[kind], [*more, *self._overlays(kind)], f"--params={kind}=")
        if protocols := CORPORA[chosen["corpus"]].protocols:  # those of `custom` are known from its folder
            _check_choice("protocol", chosen["protocol"], protocols, "--params=protocol=")
        unseen = _unseen(chosen)
        folder = chosen["raw_name"] or chosen["dataset"]
        usual = f"{chosen['data_dir']}/01_raw/{folder}"
        chosen["raw_dir"] = chosen["raw_dir"] or usual
        # A user's own corpus is whatever lies in the folder: another folder, another corpus.
        elsewhere = chosen["corpus"] == "custom" and _place(chosen["raw_dir"]) != _place(usual)
        own = {"raw_dir": chosen["raw_dir"]} if elsewhere else {}
        chosen["llm_cache"] = str(llm_cache(chosen["data_dir"]))
        single = _short_hash({**self.runtime_params, **own})
        self.size_note = ""
        if chosen["size"] == sizes.AUTO:
            chosen["size"], self.size_note = sizes.choose(
                Path(chosen["data_dir"], "06_models", chosen["dataset"], chosen["protocol"]),
                lambda size: f"{chosen['experiment']}-{size}{unseen}{single}",
                self._overlays("size"),
                lambda: self._model_is_here(chosen),
            )
        chosen["run"] = f"{chosen['experiment']}-{chosen['size']}{unseen}{single}"
        overrides = leaves(self._overlay("experiment", chosen["experiment"]), self.runtime_params)
        recordings = "recordings" + _short_hash(
            {k: v for k, v in overrides.items() if k.split(".")[0] in RECORDINGS_PARAMETERS} | own
        )
        chosen["recordings_folder"] = f"{chosen['dataset']}/{recordings}"
        chosen["split_folder"] = f"{chosen['dataset']}/{chosen['protocol']}/{recordings}{unseen}"
        chosen["run_folder"] = f"{chosen['dataset']}/{chosen['protocol']}/{chosen['run']}"
        return chosen

    def _model_is_here(self, chosen: Mapping[str, Any]) -> bool:
        """Whether the language model that size paper would read is on this machine."""
        from llmar_pipeline.language.llm import is_here

        base = [OmegaConf.load(file) for file in sorted(Path(self.conf_source, "base").rglob("param*/*.yml"))]
        overlays = [
            self._overlay(*layer) for layer in (("size", "paper"), ("experiment", chosen["experiment"]))
        ]
        merged = OmegaConf.merge(*base, *overlays, self.runtime_params)
        return is_here(str(OmegaConf.select(merged, "llm.model")), OmegaConf.select(merged, "llm.revision"))

    def _overlays(self, kind: str) -> list[str]:
        return sorted(path.stem for path in Path(self.conf_source, f"{kind}s").glob("*.yml"))

    def _overlay(self, kind: str, name: str) -> DictConfig:
        loaded = OmegaConf.load(Path(self.conf_source, f"{kind}s", f"{name}.yml"))
        return loaded if isinstance(loaded, DictConfig) else OmegaConf.create({})

    def _local_overrides(self) -> dict[str, Any]:
        chosen = self._local_files("globals").values()
        for key in _merged(*chosen):
            if key not in SELECTORS:
                raise UserError(
                    f"unknown name '{key}' in conf/{LOCAL}/globals.yml: {_nearest(key, SELECTORS)}there are "
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

    def _read_raw_config(
        self, key: str
    ) -> tuple[dict[Path, DictConfig], dict[Path, DictConfig], str, str, set[Path]]:
        base, env, base_path, env_path, read = super()._read_raw_config(key)
        if key not in ("globals", "parameters"):
            env |= self._local_files(key, read)
        return base, env, base_path, env_path, read

    def _resolve_from_raw_config(
        self,
        key: str,
        base_configs: dict[Path, DictConfig],
        env_configs: dict[Path, DictConfig],
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        if key != "parameters":
            return super()._resolve_from_raw_config(key, base_configs, env_configs, *args, **kwargs)
        layers = [
            *base_configs.values(),
            *env_configs.values(),
            *(self._overlay(kind, self["globals"][kind]) for kind in ("size", "experiment")),
        ]
        merged = OmegaConf.merge(*layers)
        _check_overrides(
            {k: v for k, v in self._local.items() if k not in SELECTORS}, merged, f" in conf/{LOCAL}"
        )
        _check_overrides(self.runtime_params, merged)
        try:
            resolved = OmegaConf.to_container(OmegaConf.merge(merged, self.runtime_params), resolve=True)
        except OmegaConfBaseException as error:
            raise UserError(f"configuration cannot be resolved: {str(error).splitlines()[0]}") from error
        return dict(resolved)  # type: ignore[arg-type]


def _folder(conf_source: str) -> str:
    """The folder of a configuration, which may come as an archive of `kedro package`."""
    source = Path(conf_source)
    if source.is_dir():
        return conf_source
    if source.is_file():
        return _unpacked(source)
    raise UserError(
        f"there is no configuration {source}: go to the project's folder, or name a folder or an archive of "
        "`kedro package` with --conf-source="
    )


@functools.cache
def _unpacked(archive: Path) -> str:
    """The folder in an archive, unpacked until this process ends.

    Kedro reads archives in place, but knows nothing of sizes and experiments in them.
    """
    folder = tempfile.mkdtemp(prefix="llmar-conf-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        if archive.suffix == ".zip" or not hasattr(tarfile, "data_filter"):  # which came with Python 3.11.4
            shutil.unpack_archive(archive, folder)
        else:
            shutil.unpack_archive(archive, folder, filter="data")
        return str(min(Path(folder).rglob("base")).parent)
    except (shutil.ReadError, ValueError) as error:
        raise UserError(
            f"--conf-source={archive}: expected a folder with 'base' in it, or one as tar.gz or zip"
        ) from error


def _check_choice(kind: str, seen: Any, choices: Iterable[str], flag: str) -> None:
    choices = list(choices)
    if str(seen) not in choices:
        raise UserError(f"unknown {kind} '{seen}': choose one of {', '.join(choices)} ({flag}<{kind}>)")


def _unseen(chosen: Mapping[str, Any]) -> str:
    try:
        unseen = UnseenConfig(classes=chosen["unseen"], seed=chosen["unseen_seed"])
    except ValidationError as error:
        raise UserError(
            f"--params=unseen={chosen['unseen']},unseen_seed={chosen['unseen_seed']}: expected a number or a "
            "name, and a seed from 0 on"
        ) from error
    return unseen.suffix(chosen["corpus"])


def _check_overrides(
    overrides: Mapping[str, Any], parameters: Any, where: str = "", prefix: str = ""
) -> None:
    """Every override must name a parameter that exists: a typo must not pass for an experiment."""
    for key, value in overrides.items():
        choices = list(parameters) if isinstance(parameters, DictConfig) else []
        if key not in choices:
            known = choices if prefix else [*SELECTORS, *choices]
            hint = _nearest(key, known, prefix)
            whose = f"'{prefix[:-1]}' has" if prefix else "there are"
            raise UserError(
                f"unknown parameter '{prefix}{key}'{where}: {hint}{whose} {', '.join(map(str, known))}"
            )
        if isinstance(value, Mapping) and isinstance(parameters[key], DictConfig):
            _check_overrides(value, parameters[key], where, f"{prefix}{key}.")


def _nearest(key: Any, known: Iterable[Any], prefix: str = "") -> str:
    near = get_close_matches(str(key), list(map(str, known)), n=1)
    return f"did you mean '{prefix}{near[0]}'? " if near else ""


def _merged(*layers: Any) -> dict[str, Any]:
    """Nested mappings, softly, later ones over earlier ones; nothing is interpolated yet."""
    return dict(OmegaConf.to_container(OmegaConf.merge({}, *layers), resolve=False))  # type: ignore[arg-type]


def leaves(*mappings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings made flat: dotted path -> value of all leaves, later mappings over earlier ones."""
    flat: dict[str, Any] = {}
    for mapping in mappings:
        for key, value in mapping.items():
            if isinstance(value, Mapping):
                flat |= {f"{key}.{inner}": leaf for inner, leaf in leaves(value).items()}
            else:
                flat[str(key)] = value
    return flat


def _place(value: Any) -> Any:
    """A folder under its one full name; anything else as it is."""
    try:
        place = Path(str(value)).expanduser()
        return str(place.resolve()) if place.is_absolute() or place.exists() else value
    except (OSError, RuntimeError):
        return value


def _short_hash(overrides: Mapping[str, Any]) -> str:
    chosen = {
        key: _place(value) if key in PLACES else value
        for key, value in leaves(overrides).items()
        if key not in NEUTRAL_PARAMETERS
    }
    if not chosen:
        return ""
    text = json.dumps(chosen, sort_keys=True, default=str)
    return "-" + hashlib.sha256(text.encode()).hexdigest()[:8]
