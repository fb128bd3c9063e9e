"""What is added to a trained model later: numbers, and what is said of them, in files of their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import file_checksum, whole_file
from llmar_pipeline.records import read_sealed, write_sealed

_STAGE1, _NUMBERS = "stage1_sha256", "numbers_sha256"


def write_beside(
    path: Path, facts: Mapping[str, Any], numbers: Mapping[str, np.ndarray], stage1: str
) -> None:
    """Write numbers, and then what is said of them: with the latter they are whole.

    Args:
        path: Of the JSON file; the numbers lie beside it, as safetensors.
        facts: What is said, JSON-able.
        numbers: By their names.
        stage1: Checksum of the VQ-VAE's weights that they belong to.

    Source: ours.
    """
    path.unlink(missing_ok=True)
    with whole_file(path.with_suffix(".safetensors")) as stream:
        stream.write(save({name: np.ascontiguousarray(array) for name, array in numbers.items()}))
    checksum = file_checksum(path.with_suffix(".safetensors"))
    write_sealed(path, {**facts, _STAGE1: stage1, _NUMBERS: checksum})


def read_beside(path: Path, stage1: str, again: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `write_beside` wrote.

    Args:
        path: Of the JSON file.
        stage1: Checksum of the VQ-VAE's weights of the model beside which it lies.
        again: What to do where it is not whole, or of another model.

    Returns:
        What is said, and the numbers.

    Raises:
        UserError: It is damaged, or of another model.

    Source: ours.
    """
    try:
        facts = read_sealed(path)
        belongs, checksum = str(facts.pop(_STAGE1)), facts.pop(_NUMBERS)
        content = path.with_suffix(".safetensors")
        if file_checksum(content) != checksum:
            raise ValueError(f"the content of {content.name} is not that of its checksum")
        numbers = load(content.read_bytes())
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"expected {path} as it was written, saw another content ({reason}); {again}"
        ) from error
    if belongs != stage1:
        raise UserError(
            f"expected {path} of the model beside it, whose stage 1 has the checksum {stage1[:12]}, saw that "
            f"of another one, {belongs[:12]}; {again}"
        )
    return facts, numbers
