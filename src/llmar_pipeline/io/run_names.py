"""What the folders of a run are called after: the values that its results depend on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORDINGS_PARAMETERS = ("ingestion", "normalization", "demo_recordings")
"""What the stored sequences depend on: all else only names a run."""
NEUTRAL_PARAMETERS = (
    *("ingestion.workers", "evaluation.table_rows", "chosen_on"),
    *(
        f"{stage}_training.{name}"
        for stage in ("vqvae", "lora")
        for name in ("save_every", "log_every", "processes")
    ),
)
"""What no result depends on."""
VAL_SHARE = 0.1
"""The share that validates which needs no name in a folder."""


def leaves(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A nested mapping made flat: dotted path -> value of all leaves."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": leaf for inner, leaf in leaves(value).items()}
        else:
            flat[str(key)] = value
    return flat


def departures(usual: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted path -> value of the leaves that are not as usual.

    Args:
        usual: Nested values that need no name.
        values: Nested values in their place.

    Source: ours.
    """
    known = leaves(usual)
    return {k: v for k, v in leaves(values).items() if k not in known or known[k] != v}


def seeds(parameters: Mapping[str, Any]) -> str:
    """The seed of both trainings, or "1/2" where they differ.

    Args:
        parameters: Of a run.
    """
    both = (str(parameters[stage]["seed"]) for stage in ("vqvae_training", "lora_training"))
    return "/".join(dict.fromkeys(both))


def short_hash(overrides: Mapping[str, Any]) -> str:
    """A suffix for a folder of results that depend on these values; empty where they depend on none.

    Args:
        overrides: Nested or flat values; folders under their one name.

    Source: ours.
    """
    chosen = {key: value for key, value in leaves(overrides).items() if key not in NEUTRAL_PARAMETERS}
    if not chosen:
        return ""
    text = json.dumps(chosen, sort_keys=True, default=str)
    return "-" + hashlib.sha256(text.encode()).hexdigest()[:8]


def of_other_runs(place: Path) -> list[Path]:
    """Where the other runs of the same protocol keep what a run keeps in a place, in the order of names.

    Args:
        place: `<layer>/<dataset>/<protocol>/<run>/<name>`.
    """
    found = place.parent.parent.glob(f"*/{place.name}") if place.name else []
    return sorted(other for other in found if other != place)
