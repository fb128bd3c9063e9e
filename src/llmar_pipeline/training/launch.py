"""Several processes, one a GPU (or one a few cores), that train one model together."""

from collections.abc import Callable
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from llmar_pipeline.errors import UserError


def launch(function: Callable[..., Any], processes: int, *arguments: Any) -> Any:
    """Call a function in so many new processes of one process group.

    Each finds its rank in the environment, where accelerate looks for it. With one process the function is
    simply called.

    Args:
        function: importable by name; its last act should be to write what it made.
        processes: how many.
        *arguments: picklable.

    Returns:
        What the function returned in the first process.

    Raises:
        UserError: what a process raised as such; the others are ended.
        ChildFailedError: a process failed otherwise.

    Source: torch's elastic launcher (torchrun).
    """
    if processes == 1:
        return function(*arguments)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="llmar",
        max_restarts=0,
        start_method="spawn",
    )
    try:
        return elastic_launch(config, function)(*arguments)[0]
    except ChildFailedError as error:
        message = error.get_first_failure()[1].message
        text = message["message"] if isinstance(message, dict) else message
        if text.startswith("UserError: "):
            raise UserError(text.removeprefix("UserError: ")) from error
        raise
