"""The configuration of a training: dataclasses, read from a YAML file and changed from the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from clip4str_plugin.errors import Clip4StrError

__all__ = [
    "DataConfig",
    "LossConfig",
    "ModelSource",
    "OptimizerConfig",
    "RunConfig",
    "TrainingConfig",
    "available_configs",
    "load_config",
]


@dataclass(frozen=True)
class ModelSource:
    """Where the weights come from (see ``start.build_model``).

    Attributes:
        start: name or file ``load_model`` understands: fine-tunes that model.
        clip: CLIP whose towers a new model gets: a size of the published models (``"base16"``), or any name open_clip
            knows (``"ViT-B-16-SigLIP"``). Without ``start`` and ``clip``, ``config`` describes everything.
        clip_weights: what these towers start from: a pretrained tag of open_clip (``"openai"``) or a weight file
            (OpenAI's TorchScript archive, a state dict, safetensors); None for random weights.
        image_weights: what the image tower ``ppocr_v6_small`` starts from: an ONNX file of PP-OCRv6-small's recognizer,
            or ``"rapidocr"`` for the one in RapidOCR's wheel.
        allow_hub: let the model have towers and tokenizers of timm and of the Hugging Face hub (see ``load_model``).
        config: fields of ``CLIP4STRConfig``: all of a new model, or those to change in ``start`` or ``clip``.
        copy_decoder: the cross-modal decoder starts as a copy of the visual one, which it otherwise takes long to
            catch up with.
        adapter: parameter-efficient adaptation: ``kind`` (one of ``adaptation.ADAPTERS``, or ``"lora"``), its options.
        freeze_image_layers: -1 freezes nothing (see ``optim.freeze``).
        freeze_text_layers: likewise in the text tower.
    """

    start: str | None = None
    clip: str | None = None
    clip_weights: str | None = None
    image_weights: str | None = None
    allow_hub: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    copy_decoder: bool = False
    adapter: dict[str, Any] = field(default_factory=dict)
    freeze_image_layers: int = -1
    freeze_text_layers: int = -1


@dataclass(frozen=True)
class DataConfig:
    """The training data.

    Attributes:
        train: sets of real crops, with a weight each: how often it is drawn. See ``sources.open_source`` for what a
            set can be.
        synthetic: weight of rendered words beside them, as cameras see them; 0 renders none.
        printed: weight of words cut out of rendered lines, as scanners see them: forms, letters, receipts.
        fonts: folders whose fonts they are rendered in; none for the system's and the user's.
        augment: distort crops of ``train`` as the published trainings do (see ``augment.RandAugment``).
        turned: share of all crops that are shown on end or upside down, with nothing to read: a model that reads every
            crop in several directions then says nothing of the wrong ones, instead of a word that looks alike. See
            ``turned.turn``.
        shrunk: share of crops that lose all but few pixels, so that small print is learned (see ``shrunk.shrink``).
        validation: sets to measure on.
        validation_limit: crops of each validation set to use; 0 for all.
        validation_charset: characters that count in validation; None for the 36 of the published protocol with the
            94-character charset, and for all of the model's otherwise.
        workers: data-loading processes per training process; 0 loads in the training process itself.
        seed: names the stream of samples.
    """

    train: dict[str, float] = field(default_factory=dict)
    synthetic: float = 1.0
    printed: float = 0.0
    fonts: list[str] = field(default_factory=list)
    augment: bool = True
    turned: float = 0.0
    shrunk: float = 0.0
    validation: list[str] = field(default_factory=list)
    validation_limit: int = 0
    validation_charset: str | None = None
    workers: int = 0
    seed: int = 0


@dataclass(frozen=True)
class LossConfig:
    """Permuted sequence modelling (see ``permutations.permuted_loss``).

    Attributes:
        permutations: orders of prediction per batch.
        cross_weight: weight of the cross-modal branch; 0 trains the visual branch alone.
        image_detach: keep the cross-modal loss from reaching the image tower.
        ground_truth_context: the cross-modal decoder sees the label.
        cloze_context: the cross-modal decoder sees all of its context but the character to predict.
        parallel: weight of predicting all characters at once, in both branches; 1 is that of one permutation. A model
            needs it to read well with ``decode_ar`` false. Not part of the published training.
        ctc_weight: weight of an auxiliary CTC loss on the image tokens, for towers whose tokens run from left to
            right. It tells a tower that starts from random weights where the characters are; its head is not kept.
    """

    permutations: int = 6
    cross_weight: float = 1.0
    image_detach: bool = True
    ground_truth_context: bool = True
    cloze_context: bool = False
    parallel: float = 0.0
    ctc_weight: float = 0.0


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW as in the paper.

    Attributes:
        lr: learning rate of the CLIP towers for 512 crops a step; scaled linearly.
        coef_lr: the decoders' learning rate over that.
        weight_decay: of matrices.
        coef_wd: the decoders' weight decay over that.
        schedule: see ``optim.learning_rate_factor``.
        warmup: part of all steps, or number of steps if above 1.
        cooldown: part of all steps, for the schedule ``constant``.
        clip_norm: largest global gradient norm.
        ema: decay of the weight average that is validated and kept; 0 keeps none.
    """

    lr: float = 8.4e-5
    coef_lr: float = 19.0
    weight_decay: float = 0.2
    coef_wd: float = 1.0
    schedule: str = "onecycle"
    warmup: float = 0.075
    cooldown: float = 0.2
    clip_norm: float = 20.0
    ema: float = 0.0


@dataclass(frozen=True)
class RunConfig:
    """How, where and how long to train.

    Attributes:
        steps: optimizer steps.
        epochs: passes over the sets of ``data.train``, instead of ``steps`` where above 0.
        minutes: end after so many minutes, the preparation counted in, instead of after ``steps``, where above 0; the
            learning rate then follows the time.
        batch_size: crops per device and step.
        accumulate: batches to one optimizer step.
        accelerator: "auto", "cpu", "gpu".
        devices: processes (on the CPU) or GPUs.
        strategy: "auto" (DDP for several devices), "ddp", "fsdp" (parameters, gradients and optimizer state are
            shared out among the devices, by FSDP2), or another of Lightning's names.
        precision: Lightning's name: "32-true", "bf16-mixed", "16-mixed".
        channels_last: order of pixels in memory that the towers for word crops compute with; which is faster depends
            on the device (``benchmarks/training_rate.py`` tells).
        activation_checkpointing: compute the towers' activations again in the backward pass instead of keeping them.
        validate_every: optimizer steps between two validations.
        checkpoint_every: optimizer steps between two checkpoints.
        weights_every: optimizer steps between two copies of the (averaged) weights in half precision,
            ``weights/step=N``, which ``load_model`` reads and which can be averaged; 0 keeps none.
        log_every: optimizer steps between two rows of the log.
        logger: "csv", "tensorboard", "wandb", or several of them joined by "+".
        seed: of weights, dropout and permutations.
    """

    steps: int = 10000
    epochs: float = 0.0
    minutes: float = 0.0
    batch_size: int = 256
    accumulate: int = 1
    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "bf16-mixed"
    channels_last: bool = True
    activation_checkpointing: bool = False
    validate_every: int = 1000
    checkpoint_every: int = 500
    weights_every: int = 0
    log_every: int = 50
    logger: str = "csv"
    seed: int = 0


@dataclass(frozen=True)
class TrainingConfig:
    """Everything a training needs but the folder it writes to."""

    # For the sections, too: no unknown fields, and no numbers that are none.
    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False}

    model: ModelSource = field(default_factory=ModelSource)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return dataclasses.asdict(self)


def load_config(source: str | Path, overrides: list[str] | None = None) -> TrainingConfig:
    """Read a configuration.

    Args:
        source: a YAML file, or the name of one that comes with the package (``"ci"``).
        overrides: changes as ``section.field=value``, the value in YAML; ``section.field.key=value`` changes one key
            of a mapping.

    Raises:
        Clip4StrError: naming the file, section or field that is wrong.
    """
    import yaml

    path = _locate(source)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if not isinstance(values, dict):
            raise Clip4StrError(f"{path}: holds no sections; write 'section:' with its fields below, indented")
        for change in overrides or []:
            _override(values, change, yaml.safe_load)
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise Clip4StrError(f"{path}: is not YAML ({' '.join(str(e).split())})") from None
    except OSError as e:
        raise Clip4StrError(f"{path}: cannot be read ({e.strerror or e})") from None
    return _checked(path, values)


def available_configs() -> list[str]:
    """Return the names of the configurations that come with the package."""
    return sorted(p.stem for p in _CONFIGS.glob("*.yaml"))


_CONFIGS = Path(__file__).parent / "configs"


def _locate(source: str | Path) -> Path:
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if str(source) in available_configs():
        return _CONFIGS / f"{source}.yaml"
    raise Clip4StrError(
        f"{source}: no such configuration file; those of the package are {', '.join(available_configs())}"
    )


def _override(values: dict[str, Any], change: str, parse: Callable[[str], Any]) -> None:
    key, equals, value = change.partition("=")
    section, _, names = key.partition(".")
    name, dot, inner = names.partition(".")
    if not (equals and name):
        raise Clip4StrError(f"override {change!r}: write section.field=value")
    fields = _fields(values, section, change)
    if dot:
        fields, name = _fields(fields, name, change), inner
    fields[name] = parse(value)


def _fields(values: dict[str, Any], name: str, change: str) -> dict[str, Any]:
    """Return a mapping below another one, an empty one where there is none yet."""
    found = values[name] = {} if values.get(name) is None else values[name]
    if not isinstance(found, dict):
        raise Clip4StrError(f"override {change!r}: {name} is {found!r} and has no fields")
    return found


def _checked(path: Path, values: dict[str, Any]) -> TrainingConfig:
    """Return the configuration with these values; every one has to be of its field's type, those in lists as well."""
    from pydantic import TypeAdapter, ValidationError

    try:
        config = TypeAdapter(TrainingConfig).validate_python({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        raise Clip4StrError("\n".join(f"{path}: {_told(wrong)}" for wrong in error.errors())) from None
    for section, fields in values.items():
        for name, value in (fields or {}).items():  # pydantic takes true for 1
            if isinstance(value, bool) and not isinstance(getattr(getattr(config, section), name), bool):
                raise Clip4StrError(f"{path}: {section}.{name} is {value}: Input should be a number")
    _check_ranges(path, config)
    return config


# Section and field -> smallest and largest value; what is counted or weighed has to be of a size that can be meant.
_MOST = 10**12
_RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "model": {"freeze_image_layers": (-1, 1000), "freeze_text_layers": (-1, 1000)},
    "data": {
        "synthetic": (0, _MOST),
        "printed": (0, _MOST),
        "turned": (0, 1),
        "shrunk": (0, 1),
        "validation_limit": (0, _MOST),
        "workers": (0, 256),
        "seed": (0, 2**63 - 1),
    },
    "loss": {
        "permutations": (1, 1000),
        "cross_weight": (0, _MOST),
        "parallel": (0, _MOST),
        "ctc_weight": (0, _MOST),
    },
    "optimizer": {
        "lr": (0, 1000),
        "coef_lr": (0, _MOST),
        "weight_decay": (0, _MOST),
        "coef_wd": (0, _MOST),
        "warmup": (0, _MOST),
        "cooldown": (0, 1),
        "clip_norm": (0, _MOST),
        "ema": (0, 1),
    },
    "run": {
        "steps": (0, _MOST),
        "epochs": (0, _MOST),
        "minutes": (0, _MOST),
        "batch_size": (1, 1_000_000),
        "accumulate": (1, 1_000_000),
        "devices": (1, 4096),
        "validate_every": (1, _MOST),
        "checkpoint_every": (1, _MOST),
        "weights_every": (0, _MOST),
        "log_every": (1, _MOST),
        "seed": (0, 2**32 - 1),
    },
}


def _check_ranges(path: Path, config: TrainingConfig) -> None:
    values = [
        (f"{section}.{name}", getattr(getattr(config, section), name), *bounds)
        for section, ranges in _RANGES.items()
        for name, bounds in ranges.items()
    ]
    values += [(f"data.train.{name}", weight, 0, _MOST) for name, weight in config.data.train.items()]
    for name, value, least, most in values:
        if not least <= value <= most:
            raise Clip4StrError(f"{path}: {name} is {value}: it has to be from {least} to {most}")


def _told(wrong: Any) -> str:
    """Say what one of pydantic's errors is about."""
    *sections, name = wrong["loc"]
    if wrong["type"] != "unexpected_keyword_argument":
        return f"{'.'.join(map(str, wrong['loc']))} is {wrong['input']!r}: {wrong['msg']}"
    known = dataclasses.fields(getattr(TrainingConfig(), sections[0]) if sections else TrainingConfig)
    return f"unknown {'field' if sections else 'section'} {name!r}; known are {', '.join(f.name for f in known)}"
