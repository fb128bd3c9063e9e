import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.training.launchers import be_one_process

TORCHRUN = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    "left",
    [
        TORCHRUN,
        {"LOCAL_RANK": "0"},
        {"WORLD_SIZE": "two"},
        {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "ACCELERATE_MIXED_PRECISION": "fp16"},
        {"WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "x", "GROUP_RANK": "0", "ROLE_WORLD_SIZE": "1"},
    ],
)
def test_what_is_left_over_in_a_shell_is_taken_away_and_said(left, caplog):
    environment = {"HOME": "/x", "WORLD": "y", **left}
    be_one_process(environment)
    assert environment == {"HOME": "/x", "WORLD": "y"}
    assert all(name in caplog.text for name in left)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({**TORCHRUN, "TORCHELASTIC_RUN_ID": "x"}, r"saw WORLD_SIZE=2 of a launcher \(TORCHELASTIC_RUN_ID\)"),
        ({**TORCHRUN, "SLURM_STEP_ID": "0"}, r"saw WORLD_SIZE=2 of a launcher \(SLURM_STEP_ID\)"),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, "saw OMPI_COMM_WORLD_SIZE=4"),
    ],
)
def test_several_processes_of_a_launcher_are_refused_at_once(environment, expected):
    with pytest.raises(UserError, match=expected):
        be_one_process(environment)


def test_a_usual_environment_is_left_alone(caplog):
    environment = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "1", "HOME": "/x"}
    be_one_process(environment)
    assert len(environment) == 3
    assert not caplog.text
