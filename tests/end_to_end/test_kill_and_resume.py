"""A run killed at any moment goes on as if nothing had happened."""

import time

STEPS = {f"{stage}_training__{key}": n for stage in ("vqvae", "lora") for key, n in [("max_steps", 60)]}
MODELS = {"vqvae": "model.safetensors", "recognizer": "adapter_model.safetensors"}
MANIFESTS = {"vqvae": "config.json", "recognizer": "recognizer.json"}


def run_folder(workplace, data):
    """The folder of models; its name ends with a hash of the overridden steps."""
    return next(iter((workplace.folder / data / "06_models" / "demo" / "xsub").glob("llm_ar-tiny-*")), None)


def kill_at_checkpoint(workplace, checkpoints):
    """Start the run and kill it once `checkpoints` holds a complete one; return its step."""
    process = workplace.start(*workplace.arguments(data="killed", **STEPS))
    deadline = time.monotonic() + 240
    try:
        while process.poll() is None and time.monotonic() < deadline:
            folder = run_folder(workplace, "killed")
            if folder and list(folder.glob(f"{checkpoints}/checkpoint-*/complete.json")):
                break
            time.sleep(0.005)
    finally:
        process.kill()
    output, _ = process.communicate()
    assert process.returncode == -9, output
    steps = (run_folder(workplace, "killed") / checkpoints).glob("checkpoint-*/complete.json")
    return max(int(path.parent.name.split("-")[1]) for path in steps)


def test_the_killed_run_ends_with_the_same_weights(workplace):
    code, output = workplace.kedro(data="whole", **STEPS)
    assert code == 0, output

    for checkpoints, model in (("vqvae_checkpoints", "vqvae"), ("lora_checkpoints", "recognizer")):
        step = kill_at_checkpoint(workplace, checkpoints)
        assert 0 < step < 60
        assert not (run_folder(workplace, "killed") / model / MANIFESTS[model]).exists()

    code, output = workplace.kedro(data="killed", **STEPS)
    assert code == 0, output
    assert "continuing from checkpoint-" in output
    whole, killed = (run_folder(workplace, data) for data in ("whole", "killed"))
    assert whole.name == killed.name
    for model, file in MODELS.items():
        assert (whole / model / file).read_bytes() == (killed / model / file).read_bytes(), model
