"""Losses, gradients and optimizer steps equal those of the published training code."""

import numpy as np
import pytest
import torch

from clip4str_plugin import load_model
from clip4str_plugin.training.optim import freeze, learning_rate_factor, parameter_groups, scaled_learning_rate
from clip4str_plugin.training.permutations import attention_masks, permuted_loss, sample_permutations


@pytest.fixture(scope="module")
def case(golden):
    return golden("train_golden.json")


@pytest.fixture
def model(golden_checkpoint, case):
    model = load_model(golden_checkpoint, dropout=0.0).train()
    freeze(model, text_layers=case["text_freeze_nlayer"])
    return model


@pytest.fixture(scope="module")
def images(golden):
    return torch.from_numpy(golden("train_golden.npz")["images"])


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 25])
def test_permutations(case, length):
    torch.manual_seed(0)
    perms = sample_permutations(length, 6, np.random.default_rng(0))
    assert perms.tolist() == case["perm_examples_torchseed0_rngseed0"][str(length)]


def test_masks(golden, case):
    arrays = golden("train_golden.npz")
    names = [k for k in arrays.files if "mask" in k]
    assert names
    for k, perm in enumerate(torch.tensor(case["perms"])):
        content, query = attention_masks(perm)
        for kind, mask in (("content", content), ("query", query)):
            expected = [arrays[n] for n in names if kind in n]
            expected = expected[k] if len(expected) > 1 else expected[0][k]
            np.testing.assert_array_equal(mask.numpy(), expected > -1)


def test_frozen_parameters(model, case):
    assert sorted(n for n, p in model.named_parameters() if not p.requires_grad) == sorted(case["frozen"])


def test_loss_and_gradients(golden, model, case, images):
    arrays = golden("train_golden.npz")
    loss = permuted_loss(model, images, case["labels"], torch.tensor(case["perms"]))
    assert loss.total.item() == pytest.approx(case["loss"], abs=2e-4)
    parts = [p for pair in zip(loss.visual, loss.cross) for p in pair]
    np.testing.assert_allclose([p.item() for p in parts], case["ce_parts"], atol=5e-4)
    assert loss.captions == case["captions_per_perm"]
    loss.total.backward()
    for name, parameter in model.named_parameters():
        expected = case["grad_norms"][name]
        if expected is None:
            assert parameter.grad is None
            continue
        assert parameter.grad.norm().item() == pytest.approx(expected, rel=1e-3, abs=1e-5), name
        if f"grad/{name}" in arrays.files:
            scale = np.abs(arrays[f"grad/{name}"]).max()
            np.testing.assert_allclose(parameter.grad.numpy(), arrays[f"grad/{name}"], atol=2e-3 * scale + 1e-6)
    norms = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None])
    assert norms.norm().item() == pytest.approx(case["total_grad_norm"], rel=1e-4)


def test_three_optimizer_steps(model, case, images):
    o, steps = case["optimizer"], case["three_steps"]
    lr = scaled_learning_rate(o["lr_cfg"], o["batch_size"], o["num_devices"], o["agb"])
    groups = parameter_groups(model, lr, o["weight_decay"], o["coef_lr"])
    names = {id(p): n for n, p in model.named_parameters()}
    assert [sorted(names[id(p)] for p in g["params"]) for g in groups] == [sorted(g["names"]) for g in o["groups"]]
    optimizer = torch.optim.AdamW(groups, betas=tuple(o["defaults"]["betas"]), eps=o["defaults"]["eps"])
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, o["total_steps"], "onecycle", o["warmup_pct"])
    )
    perms = torch.tensor(case["perms"])
    losses, norms, rates = [], [], []
    for _ in range(3):
        rates.append([g["lr"] for g in optimizer.param_groups])
        optimizer.zero_grad()
        loss = permuted_loss(model, images, case["labels"], perms).total
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), steps["clip"]).item())
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    losses.append(permuted_loss(model, images, case["labels"], perms).total.item())
    np.testing.assert_allclose(losses, steps["losses"], atol=5e-4)
    np.testing.assert_allclose(norms, steps["pre_clip_grad_norms"], rtol=1e-4)
    np.testing.assert_allclose(rates, steps["lrs"][:3], rtol=1e-6)


def test_visual_branch_alone_leaves_the_cross_branch_untouched(model, case, images):
    permuted_loss(model, images, case["labels"], torch.tensor(case["perms"][:2]), cross_weight=0).total.backward()
    assert all(p.grad is None for p in model.cross_decoder.parameters())
    assert all(p.grad is not None for p in model.visual_decoder.parameters())
