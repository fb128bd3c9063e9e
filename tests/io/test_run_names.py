from llmar_pipeline.io.run_names import of_other_runs


def test_other_runs_of_the_protocol(tmp_path):
    for run in ("xsub/a", "xsub/b", "xsub/c", "xview/d"):
        (tmp_path / run / "vqvae_checkpoints").mkdir(parents=True)
    (tmp_path / "xsub" / "e" / "vqvae_checkpoints.before-1").mkdir(parents=True)
    own = tmp_path / "xsub" / "b" / "vqvae_checkpoints"
    assert of_other_runs(own) == [tmp_path / "xsub" / run / "vqvae_checkpoints" for run in "ac"]
    assert len(of_other_runs(tmp_path / "xsub" / "new" / "vqvae_checkpoints")) == 3
    assert of_other_runs(tmp_path / "none" / "new" / "vqvae_checkpoints") == []
