"""Words of ours are explained in docs/glossary.md, and those explained there are the ones used."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

SOURCES = "Where a value comes from"
ROW = re.compile(r"^\| \*\*(.+?)\*\* \| (.+) \| (.+) \|$", re.MULTILINE)

PLAIN = {  # names in the catalog that are no words of ours
    *("raw_recordings", "recordings", "vqvae_model", "vqvae_checkpoints"),
    *("lora_checkpoints", "llm_cache", "recognizer_model"),
    *("evaluation_scores", "predictions", "predictions_{of}", "metrics"),
    *("film_strip", "animation", "{name}_figure", "report", "model_card", "summary"),
}


def glossary(text: str) -> dict[str, dict[str, list[str]]]:
    """Heading -> word -> the places that its row names."""
    sections = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    return {
        heading: {word.strip("`"): re.findall(r"`([^`]+)`", where) for word, _, where in ROW.findall(section)}
        for heading, section in zip(sections[::2], sections[1::2], strict=True)
    }


def plain(text: str) -> str:
    """Text in which a word is found however its parts are joined: "clips amiss", "clips_amiss"."""
    return re.sub(r"[\s_#-]+", " ", text)


def says(word: str, text: str) -> bool:
    """Whether a text has a word, in the singular or the plural; words of one letter as they are written."""
    if len(word) == 1:
        return re.search(rf"\b{word}\b", text) is not None
    return re.search(rf"\b{re.escape(plain(word))}s?\b", plain(text), re.IGNORECASE) is not None


def lines_of_entries(files: list[Path]) -> dict[str, str]:
    """Dotted key -> its line in the YAML files, and the comment lines that continue it."""
    found: dict[str, str] = {}
    for file in files:
        section = key = ""
        for line in file.read_text(encoding="utf-8").splitlines():
            entry = re.match(r'( *)"?([\w{}]+)"?:', line)
            if entry and len(entry[1]) in (0, 2):
                section = entry[2] if not entry[1] else section
                key = entry[2] if not entry[1] else f"{section}.{entry[2]}"
                found[key] = f"{found.get(key, '')} {line}"
            elif key and line.strip().startswith("#"):
                found[key] += line
    return found


@pytest.fixture(scope="module")
def words(project: Path) -> dict[str, dict[str, list[str]]]:
    return glossary((project / "docs/glossary.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def entries(project: Path) -> dict[str, str]:
    base = project / "conf/base"
    return lines_of_entries(
        [base / "globals.yml", *sorted(base.glob("parameters/*.yml")), *sorted(base.glob("catalog/*.yml"))]
    )


@pytest.fixture(scope="module")
def catalog(project: Path) -> set[str]:
    files = (project / "conf/base/catalog").glob("*.yml")
    return {name for file in files for name in yaml.safe_load(file.read_text(encoding="utf-8"))}


@pytest.fixture(scope="module")
def parameters(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in (project / "conf/base/parameters").glob("*.yml"):
        found |= yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


def test_every_word_occurs_where_its_row_says(words, entries, project):
    wrong = []
    for word, places in [row for section in words.values() for row in section.items()]:
        assert places, f"{word}: no place"
        for place in places:
            file = project / place
            text = file.read_text(encoding="utf-8") if file.is_file() else entries.get(place)
            if text is None:
                wrong.append(f"{word}: there is no {place}")
            elif not says(word, text):
                wrong.append(f"{word}: not in {place}")
    assert wrong == []


def test_no_word_is_explained_twice(words, project):
    rows = ROW.findall((project / "docs/glossary.md").read_text(encoding="utf-8"))
    assert len(rows) == len({word for word, _, _ in rows}) == sum(len(section) for section in words.values())


def test_every_row_of_the_glossary_is_read(project):
    text = (project / "docs/glossary.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    others = [line for line in lines if not ROW.match(line)]
    assert set(others) == {"| word | meaning | where |", "|---|---|---|"}


def test_sources_in_the_parameters_are_those_of_the_glossary(words, project):
    used: set[str] = set()
    for file in (project / "conf/base/parameters").glob("*.yml"):
        text = file.read_text(encoding="utf-8")
        used |= set(re.findall(r"# (\w+)(?=[:;]| \(|$)", text, flags=re.MULTILINE))
        used |= set(re.findall(r"\((\w+)\)", " ".join(re.findall(r"#.*", text)))) - {"QLoRA"}
    assert used == set(words[SOURCES])


def test_names_in_the_catalog_are_explained_or_plain(words, catalog):
    heads = [word for section in words.values() for word in section if len(word) > 1]
    unknown = [name for name in catalog if name not in PLAIN and not any(says(head, name) for head in heads)]
    assert unknown == []
    assert catalog >= PLAIN


@pytest.mark.parametrize("name", ["gaps", "clips_amiss", "bodies", "quarantine", "index", "splits"])
def test_names_that_only_we_use_have_a_row_that_leads_to_them(name, words, catalog):
    assert name in catalog
    assert any(name in places for section in words.values() for places in section.values())


def unused_options(project: Path) -> dict[str, tuple[str, str]]:
    """Dotted parameter -> default and purpose, as the table in docs/paper_map.md has them."""
    text = (project / "docs/paper_map.md").read_text(encoding="utf-8")
    section = text.partition("## Options that no result uses yet\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| `(.+?)` \| (.+) \|$", section, flags=re.MULTILINE)
    return {name: (default, purpose) for name, default, purpose in rows}


def test_options_that_no_result_uses_have_a_line_and_their_default(project, parameters):
    options = unused_options(project)
    assert set(options) == {
        *("vqvae.curvature", "vqvae.reset_dead_codes", "augmentation.mirror"),
        *("augmentation.joint_dropout", "augmentation.axis_dropout", "augmentation.speed"),
        *("augmentation.sampling", "augmentation.swap_persons"),
        *("vqvae_training.balance", "lora_training.balance"),
        *("evaluation.length_correction", "evaluation.generate"),
    }
    for name, (default, _) in options.items():
        section, _, key = name.partition(".")
        assert parameters[section][key] == yaml.safe_load(default), name


def test_no_overlay_uses_an_option_that_no_result_uses(project):
    """As soon as one does, its line belongs to the experiments; candidates of `kedro tune` are no results."""
    overlays = [
        file for file in (project / "conf").rglob("*.yml") if not {"base", "local", "tune"} & set(file.parts)
    ]
    assert overlays
    for name in unused_options(project):
        key = re.compile(rf"\b{name.rpartition('.')[2]}\s*:")
        users = [str(file) for file in overlays if key.search(re.sub("#.*", "", file.read_text("utf-8")))]
        assert users == [], name


def test_a_word_is_found_however_it_is_joined():
    assert says("clips amiss", "clips_amiss:")
    assert says("content-free sentence", "content-free\n    # sentences")
    assert says("V", "ours: V, the length")
    assert not says("V", "vqvae")
    assert not says("code", "codebook")


def test_an_entry_has_its_comment(tmp_path):
    (tmp_path / "a.yml").write_text("a:  # one\n  b: 1   # two\n       # three\nc: 2\n")
    lines = lines_of_entries([tmp_path / "a.yml"])
    assert set(lines) == {"a", "a.b", "c"}
    assert "one" in lines["a"]
    assert "three" in lines["a.b"]
    assert "two" not in lines["c"]
