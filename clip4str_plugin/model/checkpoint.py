"""Weight files: read by content, never by name, and never by running what a pickle holds."""

from __future__ import annotations

import json
import pathlib
import re
import struct
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clip4str_plugin.errors import CheckpointError
from clip4str_plugin.model.clip4str import CLIP4STR
from clip4str_plugin.model.config import CHARSET_36, CHARSET_94, CLIP4STRConfig, clip_config

if TYPE_CHECKING:
    from clip4str_plugin.model.engines import Precision

__all__ = ["available_models", "load_model", "read_checkpoint", "save_pretrained"]

EMBEDDED = ("tiny",)
_WEIGHTS = Path(__file__).parent.parent / "weights"

# Hyper-parameters of the published files, and what they are called here.
_RENAMED = {
    "charset_train": "charset",
    "charset_test": "caption_charset",
    "max_label_length": "max_label_length",
    "context_length": "context_length",
    "dec_num_heads": "decoder_heads",
    "dec_mlp_ratio": "decoder_mlp_ratio",
    "dropout": "dropout",
    "refine_iters": "refine_iters",
    "decode_ar": "decode_ar",
    "use_share_dim": "share_dim",
    "cross_token_embeding": "raw_token_memory",
    "clip_cls_eot_feature": "cls_eot_memory",
}


def available_models() -> list[str]:
    """Return the names ``load_model`` knows: the embedded model first, then the published ones."""
    from clip4str_plugin.model.published import PUBLISHED

    return [*EMBEDDED, *PUBLISHED]


def load_model(
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    precision: Precision | None = None,
    **overrides: Any,
) -> CLIP4STR:
    """Load a model, ready to read.

    Args:
        source: ``"tiny"`` (embedded), the name of a published model (downloaded once), a file (Lightning
            ``.ckpt``, published ``.pt``, bare state dict, safetensors), or a folder written by
            ``save_pretrained``. Files are told apart by what they hold.
        device: where to put the weights.
        precision: "fp32", "bf16", "int8" or "auto": how the model computes, see
            :func:`clip4str_plugin.model.engines.set_precision`; None for PyTorch in float32, the reference.
        **overrides: configuration fields to change, for example ``refine_iters=2``; the published names
            (``charset_test``, ...) are understood as well.

    Returns:
        the model in evaluation mode, in float32 unless ``precision`` says otherwise.

    Raises:
        CheckpointError: the file cannot be read, is unsafe, or does not fit.
        EngineError: the precision cannot be had on this device or with what is installed.
        DownloadError: published weights cannot be had.

    >>> model = load_model("tiny")
    >>> model.config.image_size
    (48, 128)
    """
    state, config = read_checkpoint(_locate(source))
    changes = {_RENAMED.get(name, name): value for name, value in overrides.items()}
    try:
        config = config.replace(**changes)
    except (TypeError, ValueError) as e:
        raise CheckpointError(f"cannot override {sorted(overrides)}: {e}") from None
    model = _build(config)
    _assign(model, state, source)
    model.to(device).eval()
    if precision is not None:
        from clip4str_plugin.model.engines import set_precision

        set_precision(model, precision)
    return model


def _locate(source: str | Path) -> Path:
    """Return the weight file a name or path stands for."""
    name = str(source)
    if name in EMBEDDED:
        return _WEIGHTS / f"{name}.safetensors"
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / "model.safetensors"
    if path.is_file():
        return path
    from clip4str_plugin.model.published import PUBLISHED

    if name in PUBLISHED:
        from clip4str_plugin.model.download import fetch

        return fetch(PUBLISHED[name])
    raise CheckpointError(f"{name!r} is neither a file nor a known model; known are {', '.join(available_models())}")


def save_pretrained(model: CLIP4STR, folder: str | Path, *, half: bool = False, name: str | None = None) -> None:
    """Write ``model.safetensors`` and ``config.json``, which ``load_model`` reads back.

    Args:
        model: any CLIP4STR.
        folder: created if missing.
        half: store the weights in float16.
        name: write ``<name>.safetensors`` and ``<name>.json`` instead.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    save_file(state, folder / f"{name or 'model'}.safetensors")
    text = json.dumps(model.config.to_dict(), indent=1, ensure_ascii=False)
    (folder / f"{name or 'config'}.json").write_text(text + "\n", encoding="utf-8")


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], CLIP4STRConfig]:
    """Read the weights and the configuration a file holds, whatever its layout.

    Raises:
        CheckpointError: naming the file and what is wrong with it.
    """
    path = Path(path)
    try:
        with path.open("rb") as f:
            head = f.read(9)
    except OSError as e:
        raise CheckpointError(f"{path}: cannot be opened ({e.strerror or e})") from None
    if not head:
        raise CheckpointError(f"{path}: is empty; download it again")
    if len(head) == 9 and head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] < path.stat().st_size:
        state, values = _read_safetensors(path)
        return state, infer_config(state, {}, path) if values is None else _own_config(values, path)
    content = _read_pickle(path)
    return _interpret(content, path)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except SafetensorError as e:
        raise CheckpointError(f"{path}: is a damaged safetensors file ({e}); download it again") from None
    for config in (path.with_suffix(".json"), path.with_name("config.json")):
        if config.is_file():
            try:
                return state, json.loads(config.read_text(encoding="utf-8"))
            except ValueError as e:
                raise CheckpointError(f"{config}: is not JSON ({e})") from None
    return state, None


def _read_pickle(path: Path) -> Any:
    # What Lightning keeps beside the weights; none of these can do anything when it is rebuilt.
    harmless: list[Any] = [pathlib.Path, pathlib.PosixPath, pathlib.PurePosixPath, OrderedDict]
    try:
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:
        blocked = re.search(r"GLOBAL ([\w.]+)|class ([\w.]+)", str(e))
        if "weights_only" in str(e) or "Unsupported" in str(e):
            what = next((g for g in blocked.groups() if g), "code") if blocked else "code"
            raise CheckpointError(
                f"{path}: refused, its pickle wants to run {what!r}. Only tensors and plain values are loaded; where "
                "you trust the file, save its 'state_dict' and 'hyper_parameters' again with plain values"
            ) from None
        raise CheckpointError(f"{path}: is not a readable weight file ({type(e).__name__}: {e})") from None


def _interpret(content: Any, path: Path) -> tuple[dict[str, Tensor], CLIP4STRConfig]:
    """Find the state dict and the hyper-parameters in what a pickle held."""
    hyper: Mapping[str, Any] = {}
    if isinstance(content, Mapping) and isinstance(content.get("hyper_parameters"), Mapping):
        hyper = content["hyper_parameters"]
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path}: holds no state dict (a mapping of names to tensors)")
    own = hyper.get("clip4str")
    if isinstance(own, Mapping):  # written by our own training, which keeps auxiliary heads beside the model
        content = {name: value for name, value in content.items() if str(name).startswith("model.")}
    state = {re.sub(r"^(module\.|_orig_mod\.|model\.)+", "", str(name)): value for name, value in content.items()}
    if isinstance(own, Mapping):
        return state, _own_config(dict(own), path)
    return state, infer_config(state, hyper, path)


def _own_config(values: dict[str, Any], path: Path) -> CLIP4STRConfig:
    try:
        return CLIP4STRConfig.from_dict(values)
    except (TypeError, ValueError, KeyError) as e:
        raise CheckpointError(f"{path}: its configuration is not usable: {e}") from None


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return len({m.group(1) for name in state if (m := re.match(pattern, name))})


def infer_config(state: Mapping[str, Tensor], hyper: Mapping[str, Any], path: Path | str) -> CLIP4STRConfig:
    """Read the geometry from the shapes of the tensors and the rest from the published hyper-parameters.

    Args:
        state: tensors under their published names.
        hyper: the file's ``hyper_parameters``; empty for a bare state dict, which then counts as a published
            configuration.
        path: named in errors.
    """

    def shape(name: str) -> tuple[int, ...]:
        if name not in state:
            raise CheckpointError(f"{path}: is not a CLIP4STR checkpoint, tensor {name!r} is missing")
        return tuple(state[name].shape)

    conv = shape("clip_model.visual.conv1.weight")
    text_positions, text_width = shape("clip_model.positional_embedding")
    positions, _ = shape("visual_decoder.pos_queries")[1:]
    classes = shape("visual_decoder.head.weight")[0]
    grid = round((shape("clip_model.visual.positional_embedding")[0] - 1) ** 0.5)
    image_size = tuple(hyper.get("img_size", (grid * conv[-1],) * 2))
    patches = (image_size[0] // conv[-1]) * (image_size[1] // conv[-1])
    if shape("clip_model.visual.positional_embedding")[0] != patches + 1:
        raise CheckpointError(f"{path}: its image size {image_size} does not fit its positional embedding")
    settings = {_RENAMED[name]: value for name, value in hyper.items() if name in _RENAMED}
    if hyper:
        # Files older than these hyper-parameters were made with the constructor's defaults of their time.
        settings.setdefault("context_length", 20)
    settings.setdefault("charset", CHARSET_94)
    settings.setdefault("caption_charset", CHARSET_36)
    settings["max_label_length"] = positions - 1
    if len(settings["charset"]) + 1 != classes:
        raise CheckpointError(
            f"{path}: predicts {classes - 1} characters, but its charset has {len(settings['charset'])}; "
            "a file without hyper-parameters must be of the 94-character charset"
        )
    return clip_config(
        embed_dim=shape("clip_model.text_projection")[1],
        vision_width=conv[0],
        vision_layers=_count(state, r"clip_model\.visual\.transformer\.resblocks\.(\d+)\."),
        patch_size=conv[-1],
        text_width=text_width,
        text_layers=_count(state, r"clip_model\.transformer\.resblocks\.(\d+)\."),
        image_size=image_size,
        vocab_size=shape("clip_model.token_embedding.weight")[0],
        text_positions=text_positions,
        decoder_depth=_count(state, r"visual_decoder\.layers\.(\d+)\."),
        cross_branch=any(name.startswith("cross_decoder.") for name in state),
        **settings,
    )


def _build(config: CLIP4STRConfig) -> CLIP4STR:
    """Build the network without spending time on random weights where they will all be replaced."""
    if "timm_model_name" in config.vision:
        return CLIP4STR(config)  # a timm tower may hold buffers that no checkpoint stores
    with torch.device("meta"):
        model = CLIP4STR(config)
    model.clip_model.attn_mask = None  # unused here, and a buffer that no checkpoint stores
    return model


def _assign(model: CLIP4STR, state: dict[str, Tensor], source: str | Path) -> None:
    """Put the tensors into the model, or say which are missing, unexpected or misshapen."""
    wanted = model.state_dict()
    # A scalar (CLIP's logit_scale) is stored as a vector of one element by some writers.
    scalars = {name for name, tensor in wanted.items() if tensor.ndim == 0}
    state = {k: v.reshape(()) if k in scalars and v.numel() == 1 else v for k, v in state.items()}
    problems = []
    if missing := sorted(wanted.keys() - state.keys()):
        problems.append(f"missing {_some(missing)}")
    if unexpected := sorted(state.keys() - wanted.keys()):
        problems.append(f"unexpected {_some(unexpected)}")
    misshapen = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & state.keys())
        if state[name].shape != wanted[name].shape
    ]
    if misshapen:
        problems.append(f"misshapen {_some(misshapen)}")
    if problems:
        raise CheckpointError(f"{source}: does not fit the model: {'; '.join(problems)}")
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, assign=True)


def _some(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
