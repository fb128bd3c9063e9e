"""Configuration in one stack: base, environment, size, experiment, command line, each over the one before."""

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

NOT_ENVIRONMENTS = {"base", "local", "sizes", "experiments"}
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
    """Kedro's loader with two more layers, and names that must exist.

    Kedro stacks `base` and one environment. Here an environment is a dataset; a machine size
    (`conf/sizes`) and an experiment (`conf/experiments`) are merged over it, softly, before anything is
    interpolated, and the command line over all. The selectors and the folders they lead to are written
    into the globals, from which the catalog composes every path:

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
        runtime_params = dict(runtime_params or {})
        self._selected = {key: runtime_params.pop(key) for key in SELECTORS if key in runtime_params}
        super().__init__(conf_source, env, runtime_params, **kwargs)
        self["globals"] = self._selection(self._globals)
        self._globals_oc = None

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
        return is_here(str(OmegaConf.select(merged, "llm.model")))

    def _overlays(self, kind: str) -> list[str]:
        return sorted(path.stem for path in Path(self.conf_source, f"{kind}s").glob("*.yml"))

    def _overlay(self, kind: str, name: str) -> DictConfig:
        loaded = OmegaConf.load(Path(self.conf_source, f"{kind}s", f"{name}.yml"))
        return loaded if isinstance(loaded, DictConfig) else OmegaConf.create({})

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


def _check_overrides(overrides: Mapping[str, Any], parameters: Any, prefix: str = "") -> None:
    """Every override must name a parameter that exists: a typo must not pass for an experiment."""
    for key, value in overrides.items():
        choices = list(parameters) if isinstance(parameters, DictConfig) else []
        if key not in choices:
            near = get_close_matches(str(key), [*choices, *([] if prefix else SELECTORS)], n=1)
            hint = f"did you mean '{prefix}{near[0]}'? " if near else ""
            known = choices if prefix else [*SELECTORS, *choices]
            where = f"'{prefix[:-1]}' has" if prefix else "there are"
            raise UserError(f"unknown parameter '{prefix}{key}': {hint}{where} {', '.join(map(str, known))}")
        if isinstance(value, Mapping) and isinstance(parameters[key], DictConfig):
            _check_overrides(value, parameters[key], f"{prefix}{key}.")


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
