"""The training run: AdamW, warm-up and cosine, an average of the weights, a log of the curve, exact resuming."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize
from transformers import CLIPModel

from clipsearch_demo.training.batches import Batch, BatchMaker
from clipsearch_demo.training.loss import contrastive_loss, neighbour_loss

_MAX_SCALE = math.log(100.0)


@dataclass(frozen=True)
class Schedule:
    """The settings of a run. For the first `sparse_share` of the steps the image tower sees half of the patches, which
    halves its cost while coarse things are learned (Li et al. 2023, "Scaling Language-Image Pre-training via Masking").
    """

    steps: int
    batch: int = 256
    peak_rate: float = 1.5e-3
    warmup: int = 100
    weight_decay: float = 0.1
    average: float = 0.998
    neighbour_weight: float = 0.5
    sparse_share: float = 0.5
    log_every: int = 25
    evaluate_every: int = 250

    def rate(self, step: int) -> float:
        """Learning rate of a step: linear up, then half a cosine down to zero."""
        if step < self.warmup:
            return self.peak_rate * (step + 1) / self.warmup
        return self.peak_rate * 0.5 * (1 + math.cos(math.pi * (step - self.warmup) / (self.steps - self.warmup)))


Evaluate = Callable[[CLIPModel], dict[str, float]]


class Trainer:
    """Trains `model` in place; `averaged` is the moving average of its weights, which is what gets saved."""

    def __init__(
        self, model: CLIPModel, batches: BatchMaker, schedule: Schedule, mean: torch.Tensor, std: torch.Tensor
    ) -> None:
        self._model, self._batches, self._schedule = model, batches, schedule
        self._mean, self._std = mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)
        self.averaged = CLIPModel(model.config)
        self.averaged.load_state_dict(model.state_dict())
        self.averaged.requires_grad_(False)
        # Norms, biases and the logit scale aren't shrunk: their size carries meaning of its own.
        parameters = list(model.parameters())
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": schedule.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=schedule.peak_rate, betas=(0.9, 0.98), eps=1e-6)
        self._step = 0
        self._curve: list[dict[str, float]] = []

    def run(self, state_path: Path, curve_path: Path, evaluate: Evaluate) -> None:
        """Train to the last step; resumes from `state_path` if a run was interrupted there."""
        if state_path.exists():
            self._restore(state_path)
        schedule = self._schedule
        started, losses = time.monotonic(), 0.0
        while self._step < schedule.steps:
            losses += self._train_step(self._batches.make(self._step))
            self._step += 1
            if self._step % schedule.log_every == 0:
                seconds = time.monotonic() - started
                point = {
                    "step": self._step,
                    "loss": round(losses / schedule.log_every, 4),
                    "seconds": round(seconds, 1),
                }
                losses = 0.0
                if self._step % schedule.evaluate_every == 0 or self._step == schedule.steps:
                    point |= evaluate(self.averaged)
                self._curve.append(point)
                if self._step % schedule.evaluate_every == 0:
                    self._save(state_path)
                print(json.dumps(point), flush=True)
                curve_path.write_text(self._curve_json())

    def _train_step(self, batch: Batch) -> float:
        rate = self._schedule.rate(self._step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        sparse = self._step < self._schedule.sparse_share * self._schedule.steps
        images = self._image_vectors((batch.pixels - self._mean) / self._std, 0.5 if sparse else 1.0)
        texts = self._model.get_text_features(input_ids=batch.tokens, attention_mask=batch.mask)
        scale = self._model.logit_scale.exp()
        loss = contrastive_loss(images, normalize(texts, dim=-1), batch.positives, scale)
        loss = loss + self._schedule.neighbour_weight * neighbour_loss(images, batch.agreement)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        with torch.no_grad():
            self._model.logit_scale.clamp_(0, _MAX_SCALE)
            self._follow()
        return float(loss.detach())

    def _image_vectors(self, pixels: torch.Tensor, share: float) -> torch.Tensor:
        """Unit image vectors (n, d), computed from a random `share` of the patches of each picture."""
        tower = self._model.vision_model
        hidden = tower.embeddings(pixels)
        if share < 1.0:
            count, patches = hidden.shape[0], hidden.shape[1] - 1
            order = torch.rand(count, patches, generator=torch.Generator().manual_seed(self._step)).argsort(dim=1)
            kept = order[:, : round(patches * share)].add(1)[:, :, None].expand(-1, -1, hidden.shape[2])
            hidden = torch.cat([hidden[:, :1], hidden.gather(1, kept)], dim=1)
        encoded = tower.encoder(inputs_embeds=tower.pre_layrnorm(hidden)).last_hidden_state
        return normalize(self._model.visual_projection(tower.post_layernorm(encoded[:, 0])), dim=-1)

    def _follow(self) -> None:
        # A plain average at first, so that the random start is forgotten soon.
        keep = min(self._schedule.average, self._step / (self._step + 10))
        for slow, fast in zip(self.averaged.parameters(), self._model.parameters(), strict=True):
            slow.lerp_(fast, 1 - keep)

    def _curve_json(self) -> str:
        points = ",\n    ".join(json.dumps(point) for point in self._curve)
        return f'{{\n  "schedule": {json.dumps(asdict(self._schedule))},\n  "curve": [\n    {points}\n  ]\n}}\n'

    def _save(self, path: Path) -> None:
        state = {
            "step": self._step,
            "schedule": asdict(self._schedule),
            "model": self._model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "curve": self._curve,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def _restore(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        if state["schedule"] != asdict(self._schedule):
            raise ValueError(f"{path} belongs to a run with other settings ({state['schedule']}); remove it")
        self._model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._step, self._curve = state["step"], state["curve"]
