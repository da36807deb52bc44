"""The Lightning side of training: loss, optimizer, schedule and validation of one CLIP4STR model."""

from __future__ import annotations

from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip4str_plugin.model import CLIP4STR
from clip4str_plugin.model.charset import CharsetFilter
from clip4str_plugin.model.config import CHARSET_36, CHARSET_94
from clip4str_plugin.training.clock import Clock
from clip4str_plugin.training.config import TrainingConfig
from clip4str_plugin.training.optim import learning_rate_factor, parameter_groups, scaled_learning_rate
from clip4str_plugin.training.permutations import permuted_loss, sample_permutations

__all__ = ["RecognizerTraining"]


class RecognizerTraining(pl.LightningModule):
    """Trains a model by permuted sequence modelling on both branches.

    Its checkpoints are read by ``load_model`` like any other.

    Args:
        model: the network, frozen parts already marked.
        config: the whole training's configuration.
        clock: tells how many steps there will be, where ``run.minutes`` limits the training.
    """

    def __init__(self, model: CLIP4STR, config: TrainingConfig, clock: Clock | None = None) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self._clock = clock
        self.save_hyperparameters({"clip4str": model.config.to_dict(), "training": config.to_dict()})
        if config.loss.ctc_weight:
            self.ctc_head = nn.Linear(model.config.visual_width, model.tokenizer.num_classes)
        charset = config.data.validation_charset
        if charset is None:
            charset = CHARSET_36 if model.config.charset == CHARSET_94 else model.config.charset
        self._reduce = CharsetFilter(charset)
        self._validated: list[dict[str, int]] = []
        self._micro_batches = 0
        self._losses: dict[str, list[Tensor]] = {}

    def configure_model(self) -> None:
        """Share the parameters out among the devices, where the strategy does that."""
        if self.device_mesh is None or hasattr(self, "unshard"):
            return
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        # One unit, for the loss calls the parts of the model, not their forward methods.
        scalars = {p for p in self.parameters() if p.ndim == 0}  # cannot be shared out; logit_scale is not trained
        fully_shard(self, mesh=self.device_mesh["data_parallel"], ignored_params=scalars)
        for method in ("training_step", "validation_step"):
            register_fsdp_forward_method(self, method)

    def training_step(self, batch: tuple[Tensor, list[str]], batch_idx: int) -> Tensor:
        """Return the loss of one batch of normalised crops and labels."""
        images, labels = batch
        config = self.config.loss
        # Chance depends on the step and the batch in it alone: a resumed training draws the same again, and so does
        # one process that accumulates the batches of several.
        batch_in_step = self._micro_batches * self.trainer.world_size + self.global_rank
        rng = np.random.default_rng((self.config.run.seed, self.global_step, batch_in_step))
        torch.manual_seed(int(rng.integers(2**62)))  # dropout
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        perms = sample_permutations(max(map(len, labels)), config.permutations, rng, generator)
        loss = permuted_loss(
            self.model,
            images,
            labels,
            perms,
            cross_weight=config.cross_weight,
            image_detach=config.image_detach,
            ground_truth_context=config.ground_truth_context,
            cloze_context=config.cloze_context,
            parallel=config.parallel,
        )
        total = loss.total
        parts = {"loss_visual": loss.visual[0]}
        if loss.cross:
            parts["loss_cross"] = loss.cross[0]
        if config.ctc_weight:
            parts["loss_ctc"] = self._ctc_loss(loss.memory, labels)
            total = total + config.ctc_weight * parts["loss_ctc"]
        for name, value in {"loss": total, **parts}.items():
            self._losses.setdefault(name, []).append(value.detach())
        self._micro_batches += 1
        return total

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the losses of the step, means over all its batches."""
        several = self.trainer.world_size > 1
        for name, values in self._losses.items():
            self.log(name, torch.stack(values).mean(), prog_bar=name == "loss", sync_dist=several)
        run, data = self.config.run, getattr(self.trainer, "datamodule", None)
        self.log("samples", float((self.global_step + 1) * run.batch_size * run.accumulate * self.trainer.world_size))
        if data is not None and data.skipped:
            self.log("skipped", float(data.skipped), sync_dist=several, reduce_fx="sum")
        self._losses.clear()
        self._micro_batches = 0

    def _ctc_loss(self, memory: Tensor, labels: list[str]) -> Tensor:
        """Align image tokens (N, M, D) and labels; the end token's class is CTC's blank (Graves et al., 2006)."""
        log_probs = self.ctc_head(memory).float().log_softmax(-1).transpose(0, 1)  # M, N, C
        lengths = torch.tensor([len(label) for label in labels])
        targets = self.model.tokenizer.encode(labels)[:, 1:-1].to(memory.device)
        columns = torch.full_like(lengths, memory.shape[1])
        return F.ctc_loss(log_probs, targets, columns, lengths, zero_infinity=True)

    def configure_optimizers(self) -> Any:
        """Return AdamW and its schedule, a function of the optimizer step alone (of the time with ``run.minutes``)."""
        config, run = self.config.optimizer, self.config.run
        lr = scaled_learning_rate(config.lr, run.batch_size, self.trainer.world_size, run.accumulate)
        groups = parameter_groups(self.model, lr, config.weight_decay, config.coef_lr, config.coef_wd)
        if self.config.loss.ctc_weight:
            groups.append({"params": list(self.ctc_head.parameters()), "lr": lr * config.coef_lr, "weight_decay": 0.0})
        # The fused optimizer unscales gradients that were scaled for float16 itself, after they were clipped.
        self._fused = self.device.type == "cuda" and self.device_mesh is None and run.precision != "16-mixed"
        optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6, fused=self._fused)
        clock = self._clock

        def factor(step: int) -> float:
            total = clock.total_steps(step) if clock is not None and clock.limit else run.steps
            return learning_rate_factor(step, total, config.schedule, config.warmup, config.cooldown)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the global norm, also of gradients for the fused optimizer, which Lightning refuses to clip."""
        if self._fused and gradient_clip_val:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self._validated = [{"words": 0, "correct": 0, "visual": 0} for _ in self.config.data.validation]

    def validation_step(self, batch: tuple[Tensor, list[str]], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Read one batch and count the words that are right in the charset of the validation."""
        images, labels = batch
        if not labels:
            return
        decoding = self.model.generate(images)
        texts = self.model.tokenizer.decode(decoding.logits, decoding.lengths)
        visual = self.model.tokenizer.decode(decoding.visual_logits, decoding.visual_lengths)
        counts = self._validated[dataloader_idx]
        for (text, _), (visual_text, _), label in zip(texts, visual, labels):
            wanted = self._reduce(label)
            counts["words"] += 1
            counts["correct"] += self._reduce(text) == wanted
            counts["visual"] += self._reduce(visual_text) == wanted

    def on_validation_epoch_end(self) -> None:
        """Log the word accuracy of each set and their mean, over all processes."""
        counts = torch.tensor([list(c.values()) for c in self._validated], dtype=torch.float64, device=self.device)
        if not len(counts):
            return
        counts = cast(Tensor, self.all_gather(counts)).reshape(-1, *counts.shape).sum(0)
        accuracy = 100 * counts[:, 1:] / counts[:, :1].clamp(min=1)
        for name, (both, visual) in zip(self.config.data.validation, accuracy.tolist()):
            short = name.rstrip("/").rsplit("/", 1)[-1]
            self.log(f"accuracy/{short}", both, sync_dist=True)
            self.log(f"accuracy_visual/{short}", visual, sync_dist=True)
        self.log("val_accuracy", accuracy[:, 0].mean().item(), prog_bar=True, sync_dist=True)
