"""A catalog may hold datasets of any kind: in memory, versioned, and without a place on disk."""

import shutil
from typing import Any, ClassVar

import pytest
import yaml
from kedro.io import AbstractDataset
from mlflow.tracking import MlflowClient


class Elsewhere(AbstractDataset):
    """Says neither where it lies nor whether it is there."""

    kept: ClassVar[dict[str, Any]] = {}

    def __init__(self, name: str, metadata: dict[str, Any] | None = None):
        self.name, self.metadata = name, metadata

    def load(self) -> Any:
        return self.kept[self.name]

    def save(self, data: Any) -> None:
        self.kept[self.name] = data

    def _describe(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def edit(workplace, tmp_path):
    """Change entries of a catalog file in a configuration of its own; None takes one away."""
    conf = shutil.copytree(workplace.conf, tmp_path / "conf")

    def change(file: str, **entries: Any) -> str:
        path = conf / "base" / "catalog" / f"{file}.yml"
        catalog = yaml.safe_load(path.read_text())
        for name, entry in entries.items():
            kept = {} if entry is None or "type" in entry else catalog[name]
            catalog[name] = kept | (entry or {})
            if entry is None:
                del catalog[name]
        path.write_text(yaml.safe_dump(catalog))
        return f"--conf-source={conf}"

    return change


def artifacts(workplace) -> list[set[str]]:
    """Names of each run's files, and of what lies in folders among them; newest run first."""
    client = MlflowClient(tracking_uri=workplace.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("demo").experiment_id], "status = 'FINISHED'")
    return [{file.path for file in client.list_artifacts(run.info.run_id)} for run in runs]


def test_a_run_with_one_of_each(kedro, workplace, edit):
    kind = {"type": f"{__name__}.Elsewhere"}
    logged = {"metadata": {"mlflow": "artifact"}}
    edit(
        "ingestion", quarantine=None, gaps=kind | {"name": "gaps"} | logged, corpus=kind | {"name": "corpus"}
    )
    conf = edit("normalization", class_lists={"versioned": True})
    for times in (1, 2):
        code, output = kedro(conf, "--pipelines=ingestion,normalization", data="kinds")
        assert code == 0, output
        assert set(Elsewhere.kept) == {"gaps", "corpus"}
        folder = workplace.folder / "kinds/03_primary/demo/xsub/recordings/class_lists.json"
        assert len(list(folder.glob("*/class_lists.json"))) == times
        assert artifacts(workplace)[0] == {"class_lists.json", "clips_amiss.parquet"}
    # A stage alone reads what does not say whether it is there.
    assert kedro(conf, "--pipelines=normalization", data="kinds")[0] == 0


def test_what_an_earlier_run_kept_in_memory_is_asked_for(kedro, edit):
    conf = edit("ingestion", index=None)
    code, output = kedro(conf, "--pipelines=ingestion", data="memory")
    assert code == 0, output
    code, output = kedro(conf, "--pipelines=normalization", data="memory")
    assert code == 1
    assert output.splitlines()[-1].startswith("Error: expected the dataset index in the catalog, saw it kept")
