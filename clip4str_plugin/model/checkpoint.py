"""Weight files: recognized by their content, not by their name; code in pickles never runs."""

from __future__ import annotations

import json
import os
import pathlib
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clip4str_plugin.errors import CheckpointError
from clip4str_plugin.model.clip4str import CLIP4STR
from clip4str_plugin.model.config import CHARSET_36, CHARSET_94, CLIP4STRConfig, clip_config
from clip4str_plugin.model.config_checks import foreign_parts
from clip4str_plugin.weights import EMBEDDED, embedded_folder

if TYPE_CHECKING:
    from clip4str_plugin.model.engines import Precision

__all__ = ["available_models", "load_model", "read_checkpoint", "save_pretrained"]

_MAX_CONFIG = 4_000_000  # bytes; a charset of all of Unicode takes less

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
    allow_hub: bool = False,
    **overrides: Any,
) -> CLIP4STR:
    """Load a model, ready to read.

    Args:
        source: ``"tiny"`` (embedded), the name of a published model (downloaded once), a file (Lightning
            ``.ckpt``, published ``.pt``, bare state dict, safetensors), or a folder written by
            ``save_pretrained``. Files are told apart by what they hold.
        device: where to put the weights.
        precision: "fp32", "bf16", "fp8", "int8" or "auto": the number format to compute in, see
            `clip4str_plugin.model.engines.set_precision`; None for PyTorch in float32, the reference.
        allow_hub: allow the file's configuration to use towers and tokenizers from timm and the Hugging Face hub, which
            are then downloaded; code that comes with them never runs. By default a file cannot start a download.
        **overrides: configuration fields to change, for example ``refine_iters=2``; the published names
            (``charset_test``, ...) are understood as well.

    Returns:
        the model in evaluation mode, in float32 unless ``precision`` says otherwise.

    Raises:
        CheckpointError: the file cannot be read, is unsafe, or does not fit.
        EngineError: the precision is not available on this device or with what is installed.
        DownloadError: published weights cannot be downloaded.

    >>> model = load_model("tiny")
    >>> model.config.image_size
    (48, 128)
    """
    path = _locate(source)
    state, config = read_checkpoint(path)
    changes = {_RENAMED.get(name, name): value for name, value in overrides.items()}
    try:
        config = config.replace(**changes)
    except (TypeError, ValueError) as e:
        raise CheckpointError(f"cannot override {sorted(overrides)}: {e}") from None
    _check_sizes(state, config, path)
    try:
        model = _build(config, allow_hub)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as e:
        raise CheckpointError(f"{path}: no model can be built from its configuration: {_reason(e)}") from None
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
        return embedded_folder(name) / "model.safetensors"
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

    Either file takes the place of an older one when it is whole.

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
    weights, config = folder / f"{name or 'model'}.safetensors", folder / f"{name or 'config'}.json"
    part = folder / f".{weights.name}.part"
    save_file(state, part)
    os.replace(part, weights)
    text = json.dumps(model.config.to_dict(), indent=1, ensure_ascii=False)
    part = folder / f".{config.name}.part"
    part.write_text(text + "\n", encoding="utf-8")
    os.replace(part, config)


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
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError) as e:
        raise CheckpointError(f"{path}: is a damaged safetensors file ({_reason(e)}); download it again") from None
    for config in (path.with_suffix(".json"), path.with_name("config.json")):
        if config.is_file():
            try:
                with config.open("rb") as file:
                    content = file.read(_MAX_CONFIG + 1)
                if len(content) > _MAX_CONFIG:
                    raise ValueError(f"it has more than {_MAX_CONFIG:,} bytes")
                return state, json.loads(content)
            except (OSError, ValueError, RecursionError) as e:
                raise CheckpointError(f"{config}: is not JSON ({_reason(e)})") from None
    return state, None


def _read_pickle(path: Path) -> Any:
    # What Lightning keeps beside the weights; none of these can do anything when it is rebuilt.
    harmless: list[Any] = [pathlib.Path, pathlib.PosixPath, pathlib.PurePosixPath, OrderedDict]
    try:
        _refuse_compression(path)
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as e:
        blocked = re.search(r"GLOBAL ([\w.]+)|class ([\w.]+)", str(e))
        if "weights_only" in str(e) or "Unsupported" in str(e):
            what = next((g for g in blocked.groups() if g), "code") if blocked else "code"
            raise CheckpointError(
                f"{path}: refused, its pickle wants to run {what!r}. Only tensors and plain values are loaded; where "
                "you trust the file, save its 'state_dict' and 'hyper_parameters' again with plain values"
            ) from None
        raise CheckpointError(f"{path}: is not a readable weight file ({type(e).__name__}: {_reason(e)})") from None


def _refuse_compression(path: Path) -> None:
    """Weight files are stored as they are; one that claims to unpack to more than it has is a trap for memory."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > 2 * path.stat().st_size + 1_000_000:
            raise CheckpointError(f"{path}: refused, it would unpack to {unpacked:,} bytes")


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


def _check_sizes(state: Mapping[str, Tensor], config: CLIP4STRConfig, path: Path) -> None:
    """Compare what takes memory in a model with what the file holds of it, before anything is built."""
    wanted: dict[str, int] = {
        "max_label_length": config.max_label_length + 1,
        "charset": len(config.charset) + 1,
        "decoder_depth": config.decoder_depth,
    }
    found = {
        "max_label_length": _side(state, "visual_decoder.pos_queries", 1),
        "charset": _side(state, "visual_decoder.head.weight", 0),
        "decoder_depth": _count(state, r"visual_decoder\.layers\.(\d+)\."),
    }
    if not config.vision.get("timm_model_name"):
        wanted["vision.layers"] = config.vision.get("layers", 12)
        found["vision.layers"] = _count(state, r"clip_model\.visual\.transformer\.resblocks\.(\d+)\.")
    if not config.text.get("hf_model_name"):
        names = ("clip_model.", "clip_model.text.")
        wanted["text.layers"] = config.text.get("layers", 12)
        found["text.layers"] = max(
            _count(state, re.escape(f"{name}transformer.resblocks.") + r"(\d+)\.") for name in names
        )
        wanted["text.vocab_size"] = config.text.get("vocab_size", 49408)
        found["text.vocab_size"] = max(_side(state, f"{name}token_embedding.weight", 0) for name in names)
    for field, value in wanted.items():
        if found[field] != value:
            raise CheckpointError(
                f"{path}: does not fit the model: {field} needs {value}, its tensors have {found[field]}"
            )


def _side(state: Mapping[str, Tensor], name: str, dimension: int) -> int:
    shape = state[name].shape if name in state else ()
    return shape[dimension] if dimension < len(shape) else 0


def _own_config(values: dict[str, Any], path: Path) -> CLIP4STRConfig:
    try:
        return CLIP4STRConfig.from_dict(values)
    except (TypeError, ValueError, KeyError) as e:
        raise CheckpointError(f"{path}: its configuration is not usable: {_reason(e)}") from None


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

    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        if name not in state:
            raise CheckpointError(f"{path}: is not a CLIP4STR checkpoint, tensor {name!r} is missing")
        found = tuple(state[name].shape)
        if len(found) != dimensions or not all(found):
            raise CheckpointError(
                f"{path}: its tensor {name!r} is of shape {found}; {dimensions} dimensions are needed"
            )
        return found

    conv = shape("clip_model.visual.conv1.weight", 4)
    text_positions, text_width = shape("clip_model.positional_embedding", 2)
    positions, _ = shape("visual_decoder.pos_queries", 3)[1:]
    classes = shape("visual_decoder.head.weight", 2)[0]
    places = shape("clip_model.visual.positional_embedding", 2)[0]
    image_size = hyper.get("img_size", (round((places - 1) ** 0.5) * conv[-1],) * 2)
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    if not isinstance(image_size, (list, tuple)) or [type(side) for side in image_size] != [int, int]:
        raise CheckpointError(f"{path}: its img_size is {image_size!r:.60}; it has to be height and width")
    if places != (image_size[0] // conv[-1]) * (image_size[1] // conv[-1]) + 1:
        raise CheckpointError(f"{path}: its image size {tuple(image_size)} does not fit its positional embedding")
    settings = {_RENAMED[name]: value for name, value in hyper.items() if name in _RENAMED}
    if hyper:
        # Files older than these hyper-parameters were made with the constructor's defaults of their time.
        settings.setdefault("context_length", 20)
    settings.setdefault("charset", CHARSET_94)
    settings.setdefault("caption_charset", CHARSET_36)
    settings["max_label_length"] = positions - 1
    if isinstance(settings["charset"], str) and len(settings["charset"]) + 1 != classes:
        raise CheckpointError(
            f"{path}: predicts {classes - 1} characters, but its charset has {len(settings['charset'])}; "
            "a file without hyper-parameters must be of the 94-character charset"
        )
    try:
        return clip_config(
            embed_dim=shape("clip_model.text_projection", 2)[1],
            vision_width=conv[0],
            vision_layers=_count(state, r"clip_model\.visual\.transformer\.resblocks\.(\d+)\."),
            patch_size=conv[-1],
            text_width=text_width,
            text_layers=_count(state, r"clip_model\.transformer\.resblocks\.(\d+)\."),
            image_size=(image_size[0], image_size[1]),
            vocab_size=shape("clip_model.token_embedding.weight", 2)[0],
            text_positions=text_positions,
            decoder_depth=_count(state, r"visual_decoder\.layers\.(\d+)\."),
            cross_branch=any(name.startswith("cross_decoder.") for name in state),
            **settings,
        )
    except (TypeError, ValueError) as e:
        raise CheckpointError(f"{path}: its configuration is not usable: {_reason(e)}") from None


def _build(config: CLIP4STRConfig, allow_hub: bool) -> CLIP4STR:
    """Build the network without spending time on random weights where they will all be replaced."""
    if foreign_parts(config):
        return CLIP4STR(config, allow_hub=allow_hub)  # such a tower may hold buffers that no checkpoint stores
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
    broken = [name for name in sorted(state) if not _is_usable(state[name])]
    if broken:
        raise CheckpointError(f"{source}: holds weights that are no finite numbers: {_some(broken)}")
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, assign=True)


def _is_usable(tensor: Tensor) -> bool:
    """Whether a tensor is a plain one in memory, without NaN or infinity."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_complex():
        return False
    # A sum tells without another tensor of this size in memory; in doubles it cannot overflow.
    return bool(tensor.sum(dtype=torch.float64).isfinite())


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def _some(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
