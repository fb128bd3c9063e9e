"""What launchers (torchrun, accelerate, SLURM's srun) say in the environment of the processes they start."""

import logging
import os
import re
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from llmar_pipeline.errors import UserError

logger = logging.getLogger(__name__)

_TORCHRUN, _SRUN = "TORCHELASTIC_RUN_ID", "SLURM_STEP_ID"
MARKS = (_TORCHRUN, "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""What a launcher sets and nobody exports by hand; accelerate starts torchrun."""
SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_THEIRS = re.compile(
    r"((LOCAL_|GROUP_|ROLE_)?(WORLD_SIZE|RANK)|ROLE_NAME|MASTER_(ADDR|PORT)|TORCHELASTIC_RUN_ID"
    r"|(ACCELERATE|FSDP|DEEPSPEED|MEGATRON_LM|PARALLELISM_CONFIG|OMPI_COMM_WORLD|MV2_COMM_WORLD|PMI)_.*"
    r"|MPI_LOCALRANKID)"
)
_FIRST_PORT, _PORTS = 20_000, 12_000  # of srun's steps: below those that Linux gives away by itself


@dataclass(frozen=True)
class Launched:
    """One of several processes that a launcher started.

    Attributes:
        rank: Its number among all, from 0.
        size: How many there are.
        local_rank: Its number on its machine, which is that of its GPU.
        local_size: How many there are on its machine.
        address: Of the machine of the first process.
        port: There.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int

    def variables(self) -> dict[str, str]:
        """The same as torch, accelerate and transformers look for it."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


_launched: Launched | None = None


def launched() -> Launched | None:
    """What `read_launcher` has found for this process."""
    return _launched


def read_launcher(environment: MutableMapping[str, str] = os.environ) -> Launched | None:
    """Find out whether a launcher started several of this program, and take its variables away.

    With them packages would wait for processes that nobody started, or compute otherwise; they stand there
    again while processes work together (`training/world.py`).

    Args:
        environment: Changed in place.

    Returns:
        Which of the processes this is; None: it is alone.

    Raises:
        UserError: A launcher started several that is not known here, or says too little.

    Source: ours; the variables are those that accelerate and transformers read, and srun's (man srun).
    """
    global _launched
    _launched = _torchrun(environment) or _srun(environment)
    mark = next((name for name in MARKS if name in environment), None)
    several = next((name for name in SIZES if environment.get(name, "1") != "1"), None)
    if _launched is None and mark and several:
        raise UserError(
            f"expected torchrun, accelerate launch or srun, saw {several}={environment[several]} of another "
            f"launcher ({mark}); use one of these (docs/scale.md), or unset {several}"
        )
    left = sorted(filter(_THEIRS.fullmatch, environment))
    for name in left:
        del environment[name]
    if left and _launched is None:
        logger.warning("not used, as no launcher has started this process: %s", ", ".join(left))
    return _launched


def _torchrun(environment: Mapping[str, str]) -> Launched | None:
    if _TORCHRUN not in environment or environment.get("WORLD_SIZE", "1") == "1":
        return None
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return _read(environment, names)


def _srun(environment: Mapping[str, str]) -> Launched | None:
    """A step of srun; its first machine is where the processes meet, unless MASTER_ADDR says another."""
    tasks = environment.get("SLURM_STEP_NUM_TASKS", environment.get("SLURM_NTASKS", "1"))
    if _SRUN not in environment or tasks == "1":
        return None
    step = environment.get("SLURM_JOB_ID", "") + environment[_SRUN]
    told = {
        "MASTER_ADDR": _first_host(environment.get("SLURM_STEP_NODELIST", "")),
        "MASTER_PORT": str(_FIRST_PORT + int(step) % _PORTS) if step.isdecimal() else "",
        **environment,
        "SLURM_NTASKS": tasks,
        "SLURM_NTASKS_PER_NODE": _a_node(tasks, environment.get("SLURM_STEP_NUM_NODES", "1")),
    }
    names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE")
    return _read(told, (*names, "MASTER_ADDR", "MASTER_PORT"))


def _a_node(tasks: str, nodes: str) -> str:
    """As many as each machine has, or one more than the smaller ones."""
    known = tasks.isdecimal() and nodes.isdecimal() and nodes != "0"
    return str(-(-int(tasks) // int(nodes))) if known else ""


def _first_host(nodes: str) -> str:
    """The first of a list as SLURM writes it: `gpu[03-07,12],login` begins with gpu03."""
    return re.sub(r"^([^,\[]*)(?:\[(\w+)[^\]]*\])?([^,]*).*$", r"\1\2\3", nodes)


def _read(environment: Mapping[str, str], names: Sequence[str]) -> Launched:
    values = {name: environment.get(name, "") for name in names}
    address = values.pop("MASTER_ADDR")
    wrong = [f"{name}={value}" for name, value in values.items() if not value.isdecimal()]
    if wrong or not address:
        raise UserError(
            f"expected {', '.join(names)} of the launcher, saw {', '.join(wrong) or 'no MASTER_ADDR'}; "
            "see docs/scale.md for how a run is launched, or unset them"
        )
    rank, size, local_rank, local_size, port = map(int, values.values())
    return Launched(rank, size, local_rank, local_size, address, port)
