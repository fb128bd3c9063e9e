"""What a run has left and was damaged since: refused by name, or made again to the same result."""

from damage import cut, empty, flip, remove

SPLIT = "03_primary/demo/xsub/recordings/splits.parquet"
READ_BY = {  # what the pipeline reads that others made -> the one to run again
    "evaluation": {
        "04_feature/demo/xsub/llm_ar-tiny/action_sentences.parquet": "tokenization",
        "03_primary/demo/xsub/recordings/class_lists.json": "normalization",
        "06_models/demo/xsub/llm_ar-tiny/recognizer/adapter_model.safetensors": "lora",
        "06_models/demo/xsub/llm_ar-tiny/recognizer/vqvae/config.json": "lora",
    },
    "reporting": {
        "07_model_output/demo/xsub/llm_ar-tiny/predictions.parquet": "evaluation",
        "08_reporting/demo/xsub/llm_ar-tiny/metrics.json": "evaluation",
        "06_models/demo/xsub/llm_ar-tiny/lora_history.parquet": "lora",
    },
    "tokenization": {
        "03_primary/demo/recordings/sequences/shard-00000.bin": "normalization",
        "06_models/demo/xsub/llm_ar-tiny/vqvae/model.safetensors": "vqvae",
    },
}
RESULTS = [
    "06_models/demo/xsub/llm_ar-tiny/vqvae/model.safetensors",
    "06_models/demo/xsub/llm_ar-tiny/recognizer/adapter_model.safetensors",
    "07_model_output/demo/xsub/llm_ar-tiny/predictions.parquet",
]
DAMAGED = [
    (empty, "02_intermediate/demo/recordings/index.parquet"),
    (flip, "02_intermediate/demo/recordings/recordings/shard-00000.bin"),
    (cut, "02_intermediate/demo/recordings/recordings/listing.json"),
    (cut, "03_primary/demo/recordings/sequences/manifest.json"),
    (flip, SPLIT),
    (remove, "06_models/demo/xsub/llm_ar-tiny/vqvae_checkpoints/checkpoint-12/optimizer.pt"),
    (flip, "06_models/demo/xsub/llm_ar-tiny/vqvae/model.safetensors"),
    (remove, "04_feature/demo/xsub/llm_ar-tiny/action_sentences.parquet"),  # so that what is kept is read
    (cut, "04_feature/demo/xsub/llm_ar-tiny/kept_sentences/part-00000.npz"),
    (empty, "06_models/demo/xsub/llm_ar-tiny/lora_checkpoints/checkpoint-12/scheduler.pt"),
    (cut, "06_models/demo/xsub/llm_ar-tiny/lora_checkpoints/checkpoint-11/complete.json"),
    (remove, "06_models/demo/xsub/llm_ar-tiny/recognizer/recognizer.json"),
    (flip, "07_model_output/demo/xsub/llm_ar-tiny/predictions.parquet"),
    (flip, "07_model_output/demo/xsub/llm_ar-tiny/scores/test/part-00000.npz"),
]


def test_damage_is_refused_by_name_or_made_again(kedro, workplace, caplog):
    code, output = kedro("--pipelines=full")
    assert code == 0, output
    data = workplace.folder / "data"
    results = {name: (data / name).read_bytes() for name in RESULTS}
    damages = [cut, flip, empty] * 3
    for pipeline, files in READ_BY.items():
        for name, maker in files.items():
            content = (data / name).read_bytes()
            damages.pop()(data / name)
            code, output = kedro(f"--pipelines={pipeline}")
            line = output.strip().splitlines()[-1]
            assert code == 1, (name, output)
            assert (data / name).name in line, line
            assert "as it was written, saw that" in line
            assert f"kedro run --pipelines={maker}`" in line
            (data / name).write_bytes(content)

    for damage, name in DAMAGED:
        damage(data / name)
    caplog.clear()
    code, output = kedro("--pipelines=full")
    assert code == 0, output
    for text in (
        "checkpoints: of checkpoint-12, optimizer.pt is gone; set aside as",
        "checkpoints: of checkpoint-12, scheduler.pt has 0 bytes",
        "of checkpoint-11, complete.json cannot be read",
        "sequences, shard-00000 first: shard-00000.bin was changed since it was written",
        "kept_sentences/part-00000.npz cannot be read",
        "scores/test/part-00000.npz cannot be read",
    ):
        assert text in caplog.text, text
    assert {name: (data / name).read_bytes() for name in RESULTS} == results
