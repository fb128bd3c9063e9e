"""Where a configuration lies, in a folder or in an archive."""

import atexit
import functools
import shutil
import tarfile
import tempfile
from pathlib import Path

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
