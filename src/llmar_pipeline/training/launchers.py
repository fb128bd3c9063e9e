"""Variables of launchers (torchrun, accelerate, MPI) in the environment of a program that starts its own."""

import logging
import os
import re
from collections.abc import MutableMapping

from llmar_pipeline.errors import UserError

logger = logging.getLogger(__name__)

MARKS = ("TORCHELASTIC_RUN_ID", "SLURM_STEP_ID", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""What a launcher sets and nobody exports by hand."""
SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_THEIRS = re.compile(
    r"((LOCAL_|GROUP_|ROLE_)?(WORLD_SIZE|RANK)|ROLE_NAME|MASTER_(ADDR|PORT)|TORCHELASTIC_RUN_ID"
    r"|(ACCELERATE|FSDP|DEEPSPEED|MEGATRON_LM|PARALLELISM_CONFIG|OMPI_COMM_WORLD|MV2_COMM_WORLD|PMI)_.*"
    r"|MPI_LOCALRANKID)"
)


def be_one_process(environment: MutableMapping[str, str] = os.environ) -> None:
    """Take away what would make a training wait for processes that nobody started, or compute otherwise.

    Trainings start their processes themselves (`training/launch.py`), each with variables of its own.

    Args:
        environment: Changed in place.

    Raises:
        UserError: a launcher started several of this program.

    Source: ours; the variables are those that accelerate and transformers read.
    """
    mark = next((name for name in MARKS if name in environment), None)
    several = next((name for name in SIZES if environment.get(name, "1") != "1"), None)
    if mark and several:
        raise UserError(
            "expected one process, which starts others itself (vqvae_training.processes and "
            f"lora_training.processes), saw {several}={environment[several]} of a launcher ({mark}); start "
            f"it without the launcher, or unset {several}"
        )
    left = sorted(filter(_THEIRS.fullmatch, environment))
    for name in left:
        del environment[name]
    if left:
        logger.warning("not used, as trainings start their processes themselves: %s", ", ".join(left))
