"""Several processes of a launcher come to what one process comes to, on one machine and on two."""

import shutil
import time

import pytest
from launching import (
    SETTINGS,
    check_same,
    free_port,
    kedro,
    no_namespaces,
    start,
    torchrun,
    two_machines,
    wait_for,
)

MISSED = 20  # seconds: torchrun takes a machine for lost that it has not heard of for 15
REJOINING = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Without it, torch 2.13 tells a machine that joins later no address: both sides wait for one another."""


@pytest.fixture(scope="module")
def alone(workplace):
    """A whole run in one process: its data folder."""
    code, output = workplace.kedro(data="alone", **SETTINGS)
    assert code == 0, output
    return workplace.folder / "alone"


def begun(workplace, alone, name, *layers):
    """A data folder that has some layers of the run already."""
    folder = workplace.folder / name
    for layer in layers:
        shutil.copytree(alone / layer, folder / layer)
    return folder


def test_torchrun(workplace, alone):
    """The whole run; an error of the first process is said once."""
    command = ["-m", "torch.distributed.run", "--nproc-per-node=2"]
    start(workplace, [*command, *kedro(workplace, "torchrun")]).output()
    check_same(alone, workplace.folder / "torchrun")
    failing = start(workplace, [*command, *kedro(workplace, "torchrun", experiment="nonsense")])
    said, _ = failing.process.communicate(timeout=200)
    assert failing.process.returncode != 0
    assert said.count("unknown experiment") == 1, said
    assert "exitcode  : 1" in said.split("Root Cause")[1].split("rank      : 0")[1], said


def test_accelerate_launch(workplace, alone):
    """Stage 1."""
    data = begun(workplace, alone, "accelerate", "01_raw", "02_intermediate", "03_primary")
    options = ["--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=no"]
    options += ["--dynamo_backend=no", f"--main_process_port={free_port()}"]
    command = ["-m", "accelerate.commands.launch", *options]
    run = kedro(workplace, "accelerate", "--pipelines=stage1")
    start(workplace, [*command, *run]).output()
    check_same(alone, data, ["vqvae"])


def test_srun(workplace, alone):
    """Stage 2 and its scores, with the variables that a step of SLURM has, on one machine without SLURM."""
    layers = ("01_raw", "02_intermediate", "03_primary", "04_feature", "06_models")
    data = begun(workplace, alone, "srun", *layers)
    shutil.rmtree(next(data.glob("06_models/*/*/*/lora_checkpoints")))
    step = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "localhost"}
    step |= {"SLURM_NTASKS": "2", "MASTER_PORT": str(free_port())}
    tasks = [
        start(
            workplace,
            kedro(workplace, "srun", "--pipelines=stage2"),
            step | {"SLURM_PROCID": number, "SLURM_LOCALID": number},
        )
        for number in ("0", "1")
    ]
    said = [task.output() for task in tasks]
    assert "lora.train_lora" in said[0]
    assert said[1] == ""
    check_same(alone, data, ["recognizer", "scores"])


@pytest.mark.skipif(bool(why := no_namespaces()), reason=why)
def test_two_machines_one_of_which_is_cut_off_and_comes_back(workplace, alone):
    """Two processes on each; all that they have in common is the folder."""
    data, variables = workplace.folder / "two", {"GLOO_SOCKET_IFNAME": "cable", **REJOINING}
    with two_machines() as machines:
        started = []
        try:
            for machine in machines:
                command = torchrun(machine, *kedro(workplace, "two"))
                started.append(start(workplace, command, variables, machine.enter()))
            wait_for(data, "06_models/*/*/*/vqvae_checkpoints/checkpoint-4/complete.json", started[0])
            machines[1].set_link("down")
            started.pop().kill()
            time.sleep(MISSED)
            machines[1].set_link("up")
            command = torchrun(machines[1], *kedro(workplace, "two"))
            started.append(start(workplace, command, variables, machines[1].enter()))
            said = started[0].output()
            started[1].output()
        finally:
            for one in started:
                one.kill()
    assert "continuing from checkpoint-" in said
    check_same(alone, data)
