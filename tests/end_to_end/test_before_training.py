"""What can be known before a training is known before it, and doctor says what run says."""

import json
import shutil

import numpy as np
from test_errors import check_one_line

CLIPS = [(action, subject) for action in ("wave", "clap") for subject in "abcd" for _ in range(2)]


def own(folder, clips, extra=""):
    """Own recordings in pixels; subject d tests."""
    folder.mkdir()
    (folder / "corpus.yml").write_text(f"layout: coco17\nunits: pixels\n{extra}")
    rng, rows = np.random.default_rng(0), ["file,action,subject,split"]
    for number, (action, subject) in enumerate(clips):
        np.savez(folder / f"{number}.npz", keypoints=rng.normal(500, 100, (24, 17, 2)))
        rows.append(f"{number}.npz,{action},{subject},{'test' if subject == 'd' else 'train'}")
    (folder / "clips.csv").write_text("\n".join(rows))
    return folder


def both_refuse(kedro, workplace, *expected, **params):
    """Doctor prints it as missing, run refuses with the same words, and nothing was read or trained."""
    code, printed = kedro("--env=custom", command="doctor", **params)
    assert code == 1
    missing = [line for line in printed.splitlines() if line.startswith("missing ")]
    code, output = kedro("--env=custom", **params)
    check_one_line(code, output, *expected)
    reason = output.strip().splitlines()[-1].removeprefix("Error: ")
    assert any(line.endswith(reason) for line in missing), (missing, reason)
    assert not (workplace.folder / params["data"]).exists()


def test_classes_that_cannot_be_trained(kedro, workplace):
    lone = own(workplace.folder / "lone", [*CLIPS, ("jump", "d"), ("jump", "d")])
    both_refuse(kedro, workplace, "training clips", "'jump'", data="lone_data", raw_dir=lone)
    absent = own(workplace.folder / "absent", CLIPS, "classes: [wave, clap, jump]\n")
    both_refuse(kedro, workplace, "no clip (jump)", "allow_incomplete", data="absent_data", raw_dir=absent)


def test_language_models_and_settings_that_will_not_do(kedro, workplace, tiny_llm_folder):
    raw = own(workplace.folder / "good", CLIPS)
    cut = workplace.folder / "cut"
    shutil.copytree(tiny_llm_folder, cut)
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-100])
    for expected, params in (
        ("lora_training.seed", {"lora_training__seed": -1}),
        ("model.safetensors", {"llm__model": cut}),
    ):
        both_refuse(kedro, workplace, expected, data="good_data", raw_dir=raw, **params)
    code, output = kedro("--env=custom", command="doctor", data="good_data", raw_dir=raw, vqvae__width="abc")
    check_one_line(code, output, "invalid parameters", "width")


def test_python_of_a_model_is_not_run(kedro, workplace, tiny_llm_folder):
    folder, file = workplace.folder / "with_code", "tokenizer_config.json"
    shutil.copytree(tiny_llm_folder, folder)
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | {"auto_map": {"AutoTokenizer": ["own.Own", None]}}))
    (folder / "own.py").write_text(f"open({str(workplace.folder / 'ran')!r}, 'w')\n")
    check_one_line(*kedro(data="untouched", llm__model=folder), f"saw auto_map in {folder / file}")
    assert not (workplace.folder / "ran").exists()
