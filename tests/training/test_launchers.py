import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.training import launchers
from llmar_pipeline.training.launchers import Launched, read_launcher

LEFT = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "1"}
LEFT["LOCAL_WORLD_SIZE"] = "1"
TORCHRUN = LEFT | {"TORCHELASTIC_RUN_ID": "x", "GROUP_RANK": "1", "ACCELERATE_MIXED_PRECISION": "fp16"}
SRUN = {
    "SLURM_JOB_ID": "71",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[03-04]",
    "SLURM_STEP_NUM_NODES": "2",
}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """What a test reads of launchers is not left to the next."""
    monkeypatch.setattr(launchers, "_launched", None)


@pytest.mark.parametrize(
    "left",
    [
        LEFT,
        {"LOCAL_RANK": "0"},
        {"WORLD_SIZE": "two"},
        {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "ACCELERATE_MIXED_PRECISION": "fp16"},
        {"WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "x", "GROUP_RANK": "0", "ROLE_WORLD_SIZE": "1"},
    ],
)
def test_what_is_left_over_in_a_shell_is_taken_away_and_said(left, caplog):
    environment = {"HOME": "/x", "WORLD": "y", **left}
    assert read_launcher(environment) is None
    assert environment == {"HOME": "/x", "WORLD": "y"}
    assert all(name in caplog.text for name in left)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (TORCHRUN, Launched(1, 2, 0, 1, "x", 1)),
        (TORCHRUN | SRUN, Launched(1, 2, 0, 1, "x", 1)),  # srun starts torchrun, which starts this
        (SRUN, Launched(5, 8, 1, 4, "gpu03", 20_710)),
        (SRUN | {"SLURM_STEP_NUM_TASKS": "6"}, Launched(5, 6, 1, 3, "gpu03", 20_710)),
        (SRUN | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "99"}, Launched(5, 8, 1, 4, "10.0.0.1", 99)),
        (SRUN | {"SLURM_STEP_NODELIST": "a1,b[2-3]"}, Launched(5, 8, 1, 4, "a1", 20_710)),
        (SRUN | {"SLURM_STEP_NODELIST": "rack[7,9]-gpu,b"}, Launched(5, 8, 1, 4, "rack7-gpu", 20_710)),
    ],
)
def test_a_launcher_says_which_process_this_is(environment, expected, caplog):
    left = {"HOME": "/x", **environment}
    assert read_launcher(left) == expected
    assert set(left) == {"HOME"} | {name for name in environment if name.startswith("SLURM_")}
    assert not caplog.text
    for name, value in expected.variables().items():
        assert str(value)
        assert name in LEFT


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"OMPI_COMM_WORLD_SIZE": "4"}, r"saw OMPI_COMM_WORLD_SIZE=4 of another launcher"),
        ({"PMI_SIZE": "2"}, r"saw PMI_SIZE=2 of another launcher"),
        ({**TORCHRUN, "RANK": ""}, r"saw RANK=; see docs/scale.md"),
        ({**SRUN, "SLURM_STEP_NODELIST": ""}, r"saw no MASTER_ADDR; see docs/scale.md"),
    ],
)
def test_what_does_not_say_enough_is_refused_at_once(environment, expected):
    with pytest.raises(UserError, match=expected):
        read_launcher(dict(environment))


def test_a_usual_environment_is_left_alone(caplog):
    environment = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "1", "HOME": "/x"}
    assert read_launcher(environment) is None
    assert len(environment) == 3
    assert not caplog.text
