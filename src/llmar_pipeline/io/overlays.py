"""Sizes and experiments: files that are merged over a dataset's values, and the sections in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from llmar_pipeline.errors import UserError
from llmar_pipeline.io.conf_folder import read_mapping
from llmar_pipeline.io.known_names import check_parameters, nearest

SECTIONS = {"sizes": "size", "environments": "environment"}
"""Of an experiment: what holds at one size or on one dataset alone, in the order of merging."""
START = "from"
"""Of an experiment: the one that it starts from."""


class Experiment(NamedTuple):
    """Own content of an experiment's file: its values, and `sizes` and `environments` by name."""

    name: str
    values: dict[str, Any]
    sections: dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Overlays:
    """The files of `conf/sizes` and `conf/experiments`.

    A size holds parameters. An experiment holds parameters, sections by size and by environment, and may name
    the experiment that it starts from, all of which is merged before anything of its own.

    Attributes:
        conf: The configuration's folder.
        environments: Those that there are.

    Source: ours.
    """

    conf: Path
    environments: Sequence[str]

    def names(self, kind: str) -> list[str]:
        """The sizes or experiments that there are."""
        return sorted(path.stem for path in Path(self.conf, f"{kind}s").glob("*.yml"))

    def layers(self, size: str, experiment: str, environment: str) -> list[dict[str, Any]]:
        """What is merged over a dataset's values, first to last.

        Args:
            size: Name of the size.
            experiment: Name of the experiment.
            environment: Whose sections apply.

        Raises:
            UserError: a file that is no mapping of such content.
        """
        chosen = {"sizes": size, "environments": environment}
        layers = [self._read("size", size)]
        for _, values, sections in self._ancestry(experiment):
            layers += [values, *(sections[kind].get(name, {}) for kind, name in chosen.items())]
        return layers

    def adapted(self, size: str, experiment: str) -> bool:
        """Whether the experiment, or one that it starts from, has values of its own for this size."""
        return any(sections["sizes"].get(size) for _, _, sections in self._ancestry(experiment))

    def check(self, size: str, experiment: str, parameters: Any) -> None:
        """Refuse parameters that do not exist, in sections that do not apply too.

        Args:
            size: Name of the size.
            experiment: Name of the experiment.
            parameters: Those that there are, with a dataset's values.

        Raises:
            UserError: one does not exist.
        """
        check_parameters(self._read("size", size), parameters, f" in {_file('size', size)}")
        for name, values, sections in self._ancestry(experiment):
            file = f" in {_file('experiment', name)}"
            check_parameters(values, parameters, file, (START, *SECTIONS))
            for kind, named in sections.items():
                for section, own in named.items():
                    check_parameters(own, parameters, f"{file}, {kind}: {section}")

    def _ancestry(self, experiment: str, after: tuple[str, ...] = ()) -> list[Experiment]:
        """An experiment behind those that it starts from, the first first."""
        values = self._read("experiment", experiment)
        start, where = values.pop(START, None), f"{_file('experiment', experiment)}, {START}"
        sections = {kind: self._sections(experiment, kind, values.pop(kind, None)) for kind in SECTIONS}
        own = Experiment(experiment, values, sections)
        if start is None:
            return [own]
        _check_name(start, self.names("experiment"), where, "experiment")
        if start in (seen := (*after, experiment)):
            circle = ", ".join((*seen, start))
            raise UserError(f"{where}: starts in a circle, {circle}: leave one '{START}' out")
        return [*self._ancestry(start, seen), own]

    def _sections(self, experiment: str, kind: str, seen: Any) -> dict[str, dict[str, Any]]:
        choices = self.environments if kind == "environments" else self.names("size")
        where = f"{_file('experiment', experiment)}, {kind}"
        sections = _mapping(seen, where)
        for name in sections:
            _check_name(name, choices, where, SECTIONS[kind])
        return {name: _mapping(values, f"{where}: {name}") for name, values in sections.items()}

    def _read(self, kind: str, name: str) -> dict[str, Any]:
        return read_mapping(self.conf / f"{kind}s" / f"{name}.yml", _file(kind, name))


def _file(kind: str, name: str) -> str:
    return f"conf/{kind}s/{name}.yml"


def _mapping(seen: Any, where: str) -> dict[str, Any]:
    """What stands there; nothing is an empty mapping."""
    if seen is None:
        return {}
    if not isinstance(seen, Mapping):
        raise UserError(f"{where}: expected names with values, saw {seen!r}")
    return dict(seen)


def _check_name(seen: Any, choices: Sequence[str], where: str, kind: str) -> None:
    if seen not in choices:
        raise UserError(
            f"{where}: unknown {kind} '{seen}': {nearest(seen, choices)}there are {', '.join(choices)}"
        )
