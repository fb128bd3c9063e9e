"""Several processes, one a GPU (or one a few cores), that work on one thing together."""

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from llmar_pipeline import machine
from llmar_pipeline.errors import UserError
from llmar_pipeline.interruption import Interrupted, ending_in_order
from llmar_pipeline.training import processes
from llmar_pipeline.training.history import write_history
from llmar_pipeline.training.sharding import is_sharded
from llmar_pipeline.training.world import leading


def train_and_save(
    train: Callable[..., tuple[Any, list[dict[str, float]]]],
    save: Callable[[Any, Path], None],
    folder: Path,
    *arguments: Any,
    **settings: Any,
) -> list[dict[str, float]]:
    """Train in one of possibly several processes; the first one saves the model, or all their parts of it.

    Args:
        train: takes `model_folder` beside the arguments; returns a model and the log history.
        save: writes the model into a folder.
        folder: where the model is written, with its log history.
        *arguments: of `train`.
        **settings: of `train`.

    Returns:
        The log history.
    """
    model, history = train(*arguments, **settings, model_folder=folder)
    if processes.first():
        write_history(folder, history)
    if processes.first() or is_sharded(model):
        save(model, folder)
    return history


def launch(function: Callable[..., Any], number: int, *arguments: Any, **settings: Any) -> Any:
    """Call a function in so many new processes of one process group, which share the processor's threads.

    Each finds its rank in the environment, where accelerate looks for it. With one process the function is
    simply called. Where a launcher started several processes, it is called in all of them instead.

    Args:
        function: importable by name; its last act should be to write what it made.
        number: of processes, where no launcher has started them.
        *arguments: of the function, picklable.
        **settings: of the function, picklable.

    Returns:
        What the function returned in the first process.

    Raises:
        UserError: what a process raised as such; the others are ended. Or they cannot be started.
        Interrupted: the process was asked to end; the others are ended.
        ChildFailedError: a process failed otherwise.

    Source: torch's elastic launcher (torchrun).
    """
    if (world := leading()) is not None:
        return world.call(function, *arguments, **settings)
    if number == 1:
        return function(*arguments, **settings)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=number,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="llmar",
        max_restarts=0,
        start_method="spawn",
    )
    try:
        with machine.shared_by(number), ending_in_order():  # which also puts the launcher's handlers right
            return elastic_launch(config, _call)(partial(function, *arguments, **settings))[0]
    except SignalException as error:
        raise Interrupted(error.sigval) from error
    except OSError as error:
        raise UserError(
            f"{number} processes of a training cannot be started: {error.strerror or error}; see that shared "
            "memory (/dev/shm) can be written and a local port opened, or set processes to 1"
        ) from error
    except ChildFailedError as error:
        message = error.get_first_failure()[1].message
        text = message["message"] if isinstance(message, dict) else message
        if text.startswith("UserError: "):
            raise UserError(text.removeprefix("UserError: ")) from error
        raise


def _call(function: Callable[[], Any]) -> Any:
    """What runs in each process; the launcher takes no keywords and wants a name."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all of a terminal; the launcher ends these
    return function()
