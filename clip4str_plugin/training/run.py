"""One command to train: builds model, data and Lightning's trainer from a configuration, and resumes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, LearningRateMonitor, ModelCheckpoint

from clip4str_plugin.errors import Clip4StrError
from clip4str_plugin.model import CLIP4STR, CLIP4STRConfig, load_model
from clip4str_plugin.training.config import ModelSource, TrainingConfig
from clip4str_plugin.training.data import WordData
from clip4str_plugin.training.module import RecognizerTraining
from clip4str_plugin.training.optim import freeze

__all__ = ["build_model", "latest_checkpoint", "train"]


def build_model(source: ModelSource) -> CLIP4STR:
    """Return the model a training starts from, frozen parts marked.

    Raises:
        Clip4StrError: the model's configuration is not usable.
    """
    if source.start is not None:
        model = load_model(source.start, **source.config)
    else:
        try:
            model = CLIP4STR(CLIP4STRConfig.from_dict(source.config))
        except (TypeError, ValueError, KeyError) as e:
            raise Clip4StrError(f"the model's configuration is not usable: {e}") from e
    freeze(model, source.freeze_image_layers, source.freeze_text_layers)
    return model.train()


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint of a training, None if there is none.

    A kill while a file is written leaves it without the directory at its end; the one before is whole.
    """
    files = sorted(folder.glob("step=*.ckpt"), key=lambda p: int(p.stem.partition("=")[2].partition("-")[0]))
    return next((p for p in reversed(files) if zipfile.is_zipfile(p)), None)


def _logger(name: str, folder: Path) -> Any:
    if name == "csv":
        return pl.loggers.CSVLogger(folder, name="log", version="")
    if name == "tensorboard":
        return pl.loggers.TensorBoardLogger(folder, name="log", version="")
    if name == "wandb":
        return pl.loggers.WandbLogger(save_dir=folder, name=folder.name)
    raise Clip4StrError(f"unknown logger {name!r}: use csv, tensorboard or wandb")


def train(config: TrainingConfig, folder: str | Path) -> Path:
    """Train, from the newest checkpoint in the folder if there is one.

    Args:
        config: what to train on what, and how long.
        folder: receives checkpoints (``step=N.ckpt``, the last two), logs, and at the end the weights in
            ``final/``.

    Returns:
        the folder of the final weights, which ``load_model`` reads.
    """
    folder = Path(folder)
    run, optimizer = config.run, config.optimizer
    pl.seed_everything(run.seed, verbose=False)
    model = build_model(config.model)
    module = RecognizerTraining(model, config)
    callbacks: list[Callback] = [
        ModelCheckpoint(
            folder, "{step}", monitor="step", mode="max", save_top_k=2, every_n_train_steps=run.checkpoint_every
        ),
        LearningRateMonitor("step"),
    ]
    if optimizer.ema:
        callbacks.append(EMAWeightAveraging(decay=optimizer.ema))
    trainer = pl.Trainer(
        accelerator=run.accelerator,
        devices=run.devices,
        strategy=run.strategy,
        precision=run.precision,  # type: ignore[arg-type]
        max_steps=run.steps,
        accumulate_grad_batches=run.accumulate,
        gradient_clip_val=optimizer.clip_norm,
        val_check_interval=run.validate_every * run.accumulate,
        check_val_every_n_epoch=None,
        limit_val_batches=None if config.data.validation else 0,
        num_sanity_val_steps=0,
        log_every_n_steps=50,
        logger=_logger(run.logger, folder),
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    resume = latest_checkpoint(folder)
    trainer.fit(module, datamodule=WordData(config, model.config), ckpt_path=resume, weights_only=True)
    final = folder / "final"
    if trainer.is_global_zero:
        model.save_pretrained(final)
    return final
