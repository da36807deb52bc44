"""Train or resume: build model, data and Lightning's trainer from a configuration."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
import warnings
import zipfile
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint, WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.optim.swa_utils import get_ema_multi_avg_fn

from clip4str_plugin.errors import Clip4StrError
from clip4str_plugin.model import CLIP4STR, CLIP4STRConfig, save_pretrained
from clip4str_plugin.model.ppocr_tower import PPOCRTower
from clip4str_plugin.training.clock import Clock
from clip4str_plugin.training.config import TrainingConfig
from clip4str_plugin.training.data import WordData
from clip4str_plugin.training.log import make_loggers
from clip4str_plugin.training.lora import merge_lora
from clip4str_plugin.training.module import RecognizerTraining
from clip4str_plugin.training.optim import learning_rate_factor
from clip4str_plugin.training.start import build_model

__all__ = ["build_model", "latest_checkpoint", "train"]

_log = logging.getLogger(__name__)


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint of a training, None if there is none.

    A kill while a file is written leaves it without the directory at its end; the one before is whole.
    """
    return next((path for step, path in sorted(_checkpoints(folder), reverse=True) if zipfile.is_zipfile(path)), None)


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    names = [(path.stem.partition("=")[2].partition("-")[0], path) for path in folder.glob("step=*.ckpt")]
    return [(int(step), path) for step, path in names if step.isdigit()]


def train(config: TrainingConfig, folder: str | Path) -> Path:
    """Train, from the newest checkpoint in the folder if there is one.

    Everything that can be wrong with configuration, weights and data is found before the first step.

    Args:
        config: what to train on what, and how long.
        folder: receives checkpoints (``step=N.ckpt``, the last two; ``best.ckpt``, the most accurate in validation),
            logs in ``log/``, and at the end the weights in ``final/``.

    Returns:
        the folder of the final weights, which ``load_model`` reads.

    Raises:
        Clip4StrError: configuration, weights or data are not usable, or the folder holds another training.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)  # rather than after the first steps
    except OSError as error:
        raise Clip4StrError(f"{folder}: cannot be made ({error.strerror}); name a folder for the training") from None
    run = config.run
    clock = Clock(run.minutes)
    pl.seed_everything(run.seed, verbose=False)
    model = build_model(config.model)
    if run.activation_checkpointing:
        model.clip_model.set_grad_checkpointing(True)
    trunk = getattr(model.clip_model.visual, "trunk", None)
    if isinstance(trunk, PPOCRTower) and not run.channels_last:
        trunk.memory_format = torch.contiguous_format
    data = WordData(config, model.config)
    strategy = _strategy(config)
    trainer_options: dict[str, Any] = {
        "accelerator": run.accelerator,
        "devices": run.devices,
        "strategy": strategy,
        "precision": run.precision,
    }
    if run.epochs > 0:
        config = dataclasses.replace(config, run=dataclasses.replace(run, steps=_steps(config, data)))
        run = config.run
    optimizer = config.optimizer
    try:
        learning_rate_factor(0, run.steps, optimizer.schedule, optimizer.warmup, optimizer.cooldown)
    except ValueError as e:
        raise Clip4StrError(f"optimizer.schedule: {e}") from None
    module = RecognizerTraining(model, config, clock)
    resume = latest_checkpoint(folder)
    resume_step = _check_resumable(resume, model.config) if resume else 0
    try:
        trainer = pl.Trainer(
            **trainer_options,
            max_steps=-1 if run.minutes > 0 else run.steps,
            accumulate_grad_batches=run.accumulate,
            gradient_clip_val=config.optimizer.clip_norm,
            val_check_interval=run.validate_every * run.accumulate,
            check_val_every_n_epoch=None,
            limit_val_batches=None if config.data.validation else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=run.log_every,
            logger=make_loggers(run.logger, folder, resume_step),
            callbacks=[clock, *_callbacks(config, folder)],
            benchmark=True,  # all batches are of one shape
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ImportError, ValueError, RuntimeError) as e:
        raise Clip4StrError(f"run: {e}") from e
    _quieten()
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    _log.info("%s", clock.summary(run.batch_size * run.accumulate * trainer.world_size))
    if config.data.validation and trainer.global_step % run.validate_every:
        for name, value in trainer.validate(module, datamodule=data, verbose=False)[0].items():
            _log.info("%s at the end: %.2f", name, value)
    return _save_final(trainer, module, folder)


def _strategy(config: TrainingConfig) -> Any:
    run = config.run
    if run.strategy == "fsdp":
        if config.optimizer.ema:
            raise Clip4StrError("run.strategy fsdp cannot average sharded weights: set optimizer.ema to 0")
        return ModelParallelStrategy(
            data_parallel_size=run.devices, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
    if run.strategy == "ddp" or (run.strategy == "auto" and run.devices > 1):
        # A branch that is not trained leaves parameters without gradient.
        return "ddp_find_unused_parameters_true"
    return run.strategy


def _steps(config: TrainingConfig, data: WordData) -> int:
    run = config.run
    if config.data.synthetic > 0:
        raise Clip4StrError("run.epochs counts passes over data.train; with rendered words beside it use run.steps")
    return max(1, math.ceil(run.epochs * data.epoch_length / (run.batch_size * run.accumulate * run.devices)))


def _check_resumable(checkpoint: Path, config: CLIP4STRConfig) -> int:
    """Return the step of a checkpoint.

    Raises:
        Clip4StrError: it is of another model.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        stored = content["hyper_parameters"]["clip4str"]
    except Exception as e:  # torch raises many types on damaged files
        raise Clip4StrError(f"{checkpoint}: cannot be resumed ({type(e).__name__}: {e}); remove it") from e
    wanted = config.to_dict()
    different = [k for k in wanted if _plain(wanted[k]) != _plain(stored.get(k, wanted[k]))]
    if different:
        name = different[0]
        raise Clip4StrError(
            f"{checkpoint}: is of another model ({name} is {stored[name]!r} there and {wanted[name]!r} now); "
            "give another --output, or the configuration this training began with"
        )
    return int(content["global_step"])


def _plain(value: Any) -> Any:
    """Make what JSON cannot tell apart equal."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _callbacks(config: TrainingConfig, folder: Path) -> list[Callback]:
    callbacks: list[Callback] = [
        ModelCheckpoint(
            folder, "{step}", monitor="step", mode="max", save_top_k=2, every_n_train_steps=config.run.checkpoint_every
        ),
        LearningRateMonitor("step"),
    ]
    if config.data.validation:
        callbacks.append(
            ModelCheckpoint(folder, "best", monitor="val_accuracy", mode="max", enable_version_counter=False)
        )
    if config.optimizer.ema:
        callbacks.append(_Average(config.optimizer.ema))
    if config.run.weights_every:
        callbacks.append(_Weights(folder / "weights", config.run.weights_every))
    return callbacks


class _Average(WeightAveraging):
    """Lightning's weight average, kept where the model is and updated in one go.

    Args:
        decay: weight of the average over that of the newest weights.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Follow the model to its device."""
        assert self._average_model is not None
        self._average_model.to(pl_module.device)

    @property
    def model(self) -> Any:
        """The averaged module."""
        assert self._average_model is not None
        return self._average_model.module


class _Weights(Callback):
    """Writes the weights every so many steps, the averaged ones if there are any."""

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every, self._written = folder, every, 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Write them if it is time."""
        step = trainer.global_step
        if step % self.every or step == self._written or not trainer.is_global_zero:
            return
        self._written = step
        averages = [callback.model for callback in trainer.callbacks if isinstance(callback, _Average)]  # type: ignore[attr-defined]
        save_pretrained((averages or [pl_module])[0].model, self.folder / f"step={step}", half=True)


def _quieten() -> None:
    # Advice that does not fit: the stream of samples is endless, and its folder is meant to be used again.
    for text in (".*does not have many workers.*", ".*exists and is not empty.*", ".*IterableDataset.*has `__len__`.*"):
        warnings.filterwarnings("ignore", text)


def _save_final(trainer: pl.Trainer, module: RecognizerTraining, folder: Path) -> Path:
    final = folder / "final"
    model = module.model
    if isinstance(trainer.strategy, ModelParallelStrategy):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        # Gathering the shards takes all processes.
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = get_model_state_dict(module, options=options)
        if trainer.is_global_zero:
            model = CLIP4STR(model.config, allow_hub=True)  # it was built once already
            model.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    if trainer.is_global_zero:
        model = copy.deepcopy(model)
        merge_lora(model)
        save_pretrained(model, final)
    trainer.strategy.barrier()
    return final
