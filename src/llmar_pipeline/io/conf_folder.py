"""Where a configuration lies, in a folder or in an archive, and its files one by one."""

import atexit
import functools
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from llmar_pipeline.errors import UserError


def conf_folder(conf_source: str) -> str:
    """The folder of a configuration, which may come as an archive of `kedro package`.

    Args:
        conf_source: A folder or an archive.

    Raises:
        UserError: it is neither.

    Source: ours.
    """
    source = Path(conf_source)
    if source.is_dir():
        return conf_source
    if source.is_file():
        return _unpacked(source)
    raise UserError(
        f"there is no configuration {source}: go to the project's folder, or name a folder or an archive of "
        "`kedro package` with --conf-source="
    )


def read_mapping(path: Path, name: str) -> dict[str, Any]:
    """Names and values of a YAML file; nothing is interpolated yet.

    Args:
        path: The file.
        name: What it is called in messages.

    Raises:
        UserError: it cannot be read, is no YAML, or is no mapping.

    Source: ours.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        seen = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UserError(
            f"{name}{line}: expected YAML, saw {seen}; tabs do not indent, names stand once"
        ) from error
    if not isinstance(content, Mapping):
        raise UserError(f"{name}: expected names with values, saw {content!r}")
    return {str(key): value for key, value in content.items()}


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
