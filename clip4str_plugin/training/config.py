"""The configuration of a training: dataclasses, read from a YAML file and changed from the command line."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clip4str_plugin.errors import Clip4StrError

__all__ = ["DataConfig", "LossConfig", "ModelSource", "OptimizerConfig", "RunConfig", "TrainingConfig", "load_config"]


@dataclass(frozen=True)
class ModelSource:
    """Where the weights come from.

    Attributes:
        start: name or file ``load_model`` understands; None trains from random weights.
        config: fields of ``CLIP4STRConfig``: all of a new model, or those to change in ``start``.
        freeze_image_layers: -1 freezes nothing (see ``optim.freeze``).
        freeze_text_layers: likewise in the text tower.
    """

    start: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    freeze_image_layers: int = -1
    freeze_text_layers: int = -1


@dataclass(frozen=True)
class DataConfig:
    """What is read.

    Attributes:
        train: sets of real crops (LMDB, or a folder with labels.tsv), with a weight each: how often it is drawn.
        synthetic: weight of rendered words beside them; 0 renders none.
        validation: sets to measure on.
        validation_limit: crops of each validation set to use; 0 for all.
        workers: data-loading processes a training process; 0 loads in the training process itself.
        seed: names the stream of samples.
    """

    train: dict[str, float] = field(default_factory=dict)
    synthetic: float = 1.0
    validation: list[str] = field(default_factory=list)
    validation_limit: int = 0
    workers: int = 0
    seed: int = 0


@dataclass(frozen=True)
class LossConfig:
    """Permuted sequence modelling (see ``permutations.permuted_loss``).

    Attributes:
        permutations: orders of prediction a batch.
        cross_weight: weight of the cross-modal branch; 0 trains the visual branch alone.
        image_detach: keep the cross-modal loss from reaching the image tower.
        ground_truth_context: the cross-modal decoder sees the label.
        cloze_context: the cross-modal decoder sees all of its context but the character to predict.
        ctc_weight: weight of an auxiliary CTC loss on the image tokens, for towers whose tokens run from left to
            right. It tells a tower that starts from random weights where the characters are; its head is not kept.
    """

    permutations: int = 6
    cross_weight: float = 1.0
    image_detach: bool = True
    ground_truth_context: bool = True
    cloze_context: bool = False
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
    """How and how long.

    Attributes:
        steps: optimizer steps.
        batch_size: crops a device and step.
        accumulate: batches to one optimizer step.
        accelerator: "auto", "cpu", "gpu".
        devices: processes (on the CPU) or GPUs.
        strategy: Lightning's name: "auto", "ddp", "fsdp", ...
        precision: Lightning's name: "32-true", "bf16-mixed", "16-mixed".
        validate_every: optimizer steps between two validations.
        checkpoint_every: optimizer steps between two checkpoints.
        logger: "csv", "tensorboard" or "wandb".
        seed: of weights, dropout and permutations.
    """

    steps: int = 10000
    batch_size: int = 256
    accumulate: int = 1
    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "bf16-mixed"
    validate_every: int = 1000
    checkpoint_every: int = 500
    logger: str = "csv"
    seed: int = 0


@dataclass(frozen=True)
class TrainingConfig:
    """Everything a training needs but the folder it writes to."""

    model: ModelSource = field(default_factory=ModelSource)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return dataclasses.asdict(self)


_SECTIONS = {
    "model": ModelSource,
    "data": DataConfig,
    "loss": LossConfig,
    "optimizer": OptimizerConfig,
    "run": RunConfig,
}


def load_config(source: str | Path, overrides: list[str] | None = None) -> TrainingConfig:
    """Read a configuration.

    Args:
        source: a YAML file, or the name of one that comes with the package (``"tiny"``).
        overrides: changes as ``section.field=value``, the value in YAML.

    Raises:
        Clip4StrError: naming the file, section or field that is wrong.
    """
    import yaml

    path = Path(source)
    if not path.is_file():
        path = Path(__file__).parent / "configs" / f"{source}.yaml"
    if not path.is_file():
        names = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise Clip4StrError(f"{source}: no such configuration file; those of the package are {', '.join(names)}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for change in overrides or []:
            key, equals, value = change.partition("=")
            section, dot, name = key.partition(".")
            if not (equals and dot):
                raise Clip4StrError(f"override {change!r}: write section.field=value")
            values.setdefault(section, {})[name] = yaml.safe_load(value)
    except yaml.YAMLError as e:
        raise Clip4StrError(f"{path}: is not YAML ({e})") from None
    sections = {}
    for section, fields in values.items():
        if section not in _SECTIONS:
            raise Clip4StrError(f"{path}: unknown section {section!r}; known are {', '.join(_SECTIONS)}")
        known = {f.name for f in dataclasses.fields(_SECTIONS[section])}  # type: ignore[arg-type]
        if unknown := sorted(set(fields or {}) - known):
            raise Clip4StrError(
                f"{path}: unknown field(s) {unknown} in {section!r}; known are {', '.join(sorted(known))}"
            )
        sections[section] = _SECTIONS[section](**(fields or {}))
    return TrainingConfig(**sections)
