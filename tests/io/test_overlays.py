"""Sections of experiments, the experiment that one starts from, and what is refused in these files."""

import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.settings import CONFIG_LOADER_ARGS


def load(conf, env=None, **runtime):
    return StackedConfigLoader(str(conf), env, runtime, **CONFIG_LOADER_ARGS)


@pytest.fixture
def write(conf):
    """Write files of conf/experiments or conf/sizes; load a run of the experiment `best`."""

    def written(env="nwucla", size="laptop", sizes=(), **experiments):
        for name, text in experiments.items():
            (conf / "experiments" / f"{name}.yml").write_text(text)
        for name, text in dict(sizes).items():
            (conf / "sizes" / f"{name}.yml").write_text(text)
        return load(conf, env, size=size, experiment="best")

    return written


PARENT = """
vqvae: {width: 2, depth: 2, frames: 2, codes: 2, dilation_growth: 2, downsamplings: 2}
sizes: {laptop: {vqvae: {depth: 3, frames: 3, codes: 3, dilation_growth: 3, downsamplings: 3}}}
environments: {nwucla: {vqvae: {frames: 4, codes: 4, dilation_growth: 4, downsamplings: 4}}}
"""
CHILD = """
from: parent
vqvae: {codes: 5, dilation_growth: 5, downsamplings: 5}
sizes: {laptop: {vqvae: {dilation_growth: 6, downsamplings: 6}}}
environments: {nwucla: {vqvae: {downsamplings: 7}}}
"""
NAMES = ("width", "depth", "frames", "codes", "dilation_growth", "downsamplings")


@pytest.mark.parametrize(
    ("env", "size", "expected"),
    [
        ("nwucla", "laptop", [2, 3, 4, 5, 6, 7]),
        ("nwucla", "gpu", [2, 2, 4, 5, 5, 7]),
        ("uav", "laptop", [2, 3, 3, 5, 6, 6]),
        ("uav", "gpu", [2, 2, 2, 5, 5, 5]),
    ],
)
def test_sections_follow_the_values_and_all_of_them_what_the_experiment_starts_from(
    write, env, size, expected
):
    loader = write(env, size, {"laptop": "vqvae: {width: 1}"}, parent=PARENT, best=CHILD)
    vqvae = loader["parameters"]["vqvae"]
    assert [vqvae[name] for name in NAMES] == expected


def test_another_experiment_is_not_touched_and_the_line_goes_over_all(conf, write):
    before = load(conf, "nwucla", size="laptop")
    write(parent=PARENT, best=CHILD)
    after = load(conf, "nwucla", size="laptop")
    assert after["parameters"] == before["parameters"]
    chosen = load(conf, "nwucla", size="laptop", experiment="best", vqvae={"downsamplings": 1})
    assert chosen["parameters"]["vqvae"]["downsamplings"] == 1


@pytest.mark.parametrize(
    ("best", "size", "adapted"),
    [
        ("sizes: {laptop: {vqvae: {width: 3}}}", "laptop", True),
        ("sizes: {laptop: {vqvae: {width: 3}}}", "gpu", False),
        ("sizes: {laptop: {}, gpu: null}", "laptop", False),
        ("environments: {nwucla: {vqvae: {width: 3}}}", "laptop", False),
        ("from: llm_ar", "laptop", True),
        ("from: no_zipf", "laptop", True),
        ("", "laptop", False),
    ],
)
def test_it_is_adapted_to_a_size_that_has_a_section_of_its_own_or_inherited(write, best, size, adapted):
    loaded = write(size=size, best=best)
    assert loaded["globals"]["adapted"] is loaded["parameters"]["run"]["adapted"] is adapted


@pytest.mark.parametrize(
    ("best", "expected"),
    [
        ("vqvae: {widht: 3}", r"'vqvae.widht' in conf/experiments/best.yml: did you mean 'vqvae.width'\?"),
        ("vqva: {}", r"unknown parameter 'vqva' in conf/experiments/best.yml: did you mean 'vqvae'\?"),
        ("form: llm_ar", r"unknown parameter 'form' in conf/experiments/best.yml: did you mean 'from'\?"),
        (
            "sizes: {gpu: {lora: {rnk: 3}}}",
            r"'lora.rnk' in conf/experiments/best.yml, sizes: gpu: did you mean 'lora.rank'\?",
        ),
        ("environments: {uav: {sizes: {}}}", r"'sizes' in conf/experiments/best.yml, environments: uav: "),
        (
            "sizes: {lapto: {}}",
            r"best.yml, sizes: unknown size 'lapto': did you mean 'laptop'\? there are demo,",
        ),
        ("sizes: {auto: {}}", r"best.yml, sizes: unknown size 'auto': .*there are demo,"),
        (
            "environments: {nwucl: {}}",
            r"best.yml, environments: unknown environment 'nwucl': did you mean 'nwucla'\? there are custom,",
        ),
        ("sizes: [laptop]", r"best.yml, sizes: expected names with values, saw \['laptop'\]"),
        ("sizes: {laptop: 3}", r"best.yml, sizes: laptop: expected names with values, saw 3"),
        (
            "from: llm_arr",
            r"best.yml, from: unknown experiment 'llm_arr': did you mean 'llm_ar'\? there are ball",
        ),
        ("from: {llm_ar: {}}", r"best.yml, from: unknown experiment '{'llm_ar': {}}': .*there are ball"),
        ("from: best", r"best.yml, from: starts in a circle, best, best"),
        ("from: other", r"other.yml, from: starts in a circle, best, other, best"),
        ("[vqvae]", r"conf/experiments/best.yml: expected names with values, saw \['vqvae'\]"),
        ("vqvae: {", r"conf/experiments/best.yml, line 1: expected YAML, saw "),
        ("3", r"conf/experiments/best.yml: expected YAML, saw "),
    ],
)
def test_what_an_experiment_cannot_say_is_refused_in_one_line(write, best, expected):
    with pytest.raises(UserError, match=expected) as error:
        write(best=best, other="from: best")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vqvae: {widht: 3}", r"'vqvae.widht' in conf/sizes/laptop.yml: did you mean 'vqvae.width'\?"),
        ("from: paper", r"unknown parameter 'from' in conf/sizes/laptop.yml: .*there are "),
    ],
)
def test_what_a_size_cannot_say_is_refused(write, text, expected):
    with pytest.raises(UserError, match=expected):
        write(sizes={"laptop": text}, best="")


def test_the_share_that_validates_is_in_the_name_of_the_split_whoever_says_it(conf, write):
    def split(**chosen):
        return load(conf, "nwucla", size="laptop", **chosen)["globals"]["split_folder"]

    assert split() == split(val_share=0.1) == "nwucla/xview/recordings"
    assert split(val_share=0, unseen=3) == "nwucla/xview/recordings-val0-unseen3-seed0"
    best = write(best="val_share: 0.25")
    assert best["globals"]["split_folder"] == "nwucla/xview/recordings-val0.25"
    assert best["globals"]["run"] == "best-laptop"
    assert best["parameters"]["val_share"] == 0.25
    for wrong in (1, -0.1, "few", None):
        with pytest.raises(UserError, match=f"val_share={wrong}: expected a share of the training subjects"):
            split(val_share=wrong)


def test_folders_follow_the_merged_values_wherever_they_stand(conf, write):
    def shared(best, size="laptop", sizes=(), env="nwucla"):
        return write(env, size, sizes, best=best)["globals"]["recordings_folder"]

    other = "normalization: {align_view: false}"
    on_the_line = load(conf, "nwucla", size="laptop", normalization={"align_view": False})
    expected = on_the_line["globals"]["recordings_folder"]
    assert expected != "nwucla/recordings"
    assert shared(other) == shared(f"sizes: {{laptop: {{{other}}}}}") == expected
    assert shared(f"environments: {{nwucla: {{{other}}}}}") == expected
    back = "sizes: {laptop: {normalization: {align_view: true}}}"
    assert shared(f"{other}\n{back}") == "nwucla/recordings"
    assert shared(f"sizes: {{laptop: {{{other}}}}}", "gpu") == "nwucla/recordings"
    assert shared("normalization: {align_view: true}") == "nwucla/recordings"
    assert shared("normalization: {align_view: true}", env="utdmhad") != "utdmhad/recordings"
    assert shared("normalization: {align_view: '${vqvae.body_parts}'}") == expected
    assert shared("normalization: {align_view: '${globals:synthetic}'}") == expected
    assert shared("ingestion: {workers: 7}") == "nwucla/recordings"
    assert shared("", sizes={"laptop": other}) == expected
