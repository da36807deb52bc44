"""Whole trainings: the same curve after a kill and on several processes, and clear words for what cannot be trained."""

import csv
import dataclasses
import io
import logging
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml

from clip4str_plugin import load_model
from clip4str_plugin.cli import main
from clip4str_plugin.errors import Clip4StrError, DatasetError
from clip4str_plugin.training.config import TrainingConfig, available_configs, load_config
from clip4str_plugin.training.data import WordData
from clip4str_plugin.training.log import CsvLog, make_loggers
from clip4str_plugin.training.optim import scaled_learning_rate
from clip4str_plugin.training.run import latest_checkpoint, train
from clip4str_plugin.training.shrunk import shrink
from clip4str_plugin.training.sources import open_source
from clip4str_plugin.training.start import build_model
from clip4str_plugin.training.stream import SampleStream, StreamShard
from clip4str_plugin.training.turned import turn
from tests.word_sets import SMALL_MODEL, draw_word, random_word, write_folder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    rng = np.random.default_rng(0)
    return write_folder(tmp_path_factory.mktemp("words"), [random_word(rng, "abcdef01") for _ in range(48)])


@pytest.fixture
def settings(words):
    """Values of a configuration that trains in a second a step at most."""
    return {
        "model": {"config": SMALL_MODEL},
        "data": {"train": {str(words): 1.0}, "synthetic": 0.0},
        "loss": {"permutations": 2},
        "optimizer": {"lr": 0.05, "coef_lr": 1.0, "schedule": "constant", "warmup": 2, "cooldown": 0.0, "ema": 0.9},
        "run": {
            "steps": 8,
            "batch_size": 4,
            "accelerator": "cpu",
            "precision": "32-true",
            "log_every": 1,
            "checkpoint_every": 2,
        },
    }


def write(settings, path):
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def curve(folder, column="loss"):
    with (folder / "log" / "metrics.csv").open() as f:
        return {int(row["step"]): float(row[column]) for row in csv.DictReader(f) if row.get(column)}


def start(config, folder, *overrides):
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "clip4str_plugin.cli",
            "train",
            "--config",
            str(config),
            "--output",
            str(folder),
            *overrides,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize(("label", "ambiguous"), [("BREAK", False), ("Gray", False), ("BAG", True), ("NOON", True)])
def test_turned_crops_have_no_label(label, ambiguous):
    crop = np.arange(4 * 9 * 3, dtype=np.uint8).reshape(4, 9, 3)
    seen = set()
    for place in range(30):
        turned, text = turn((crop, label), np.random.default_rng(place))
        assert text == (label if ambiguous else "")
        seen.update(n for n in range(4) if np.array_equal(turned, np.rot90(crop, n)))
    assert seen == ({0} if ambiguous else {1, 2, 3})


@pytest.mark.parametrize(("height", "width"), [(64, 200), (40, 40), (24, 90)])
def test_shrunk_crops_keep_their_label_and_shape_but_few_pixels(height, width):
    crop = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    heights = set()
    for place in range(60):
        small, text = shrink((crop, "12.50"), np.random.default_rng(place))
        assert text == "12.50"
        assert small.dtype == np.uint8
        assert abs(small.shape[1] / small.shape[0] - width / height) < 0.08 * width / height
        heights.add(small.shape[0])
    assert min(heights) < 11
    assert max(heights - {height}) <= 22


@pytest.mark.parametrize("share", ["turned", "shrunk"])
def test_a_share_above_one_is_refused(share):
    with pytest.raises(Clip4StrError, match=rf"data\.{share}"):
        load_config("ci", [f"data.{share}=1.5"])


@pytest.mark.parametrize("shape", [(200, 30), (9, 60)])
def test_tall_crops_and_small_ones_are_not_shrunk(shape):
    crop = np.zeros((*shape, 3), np.uint8)
    assert all(shrink((crop, "a"), np.random.default_rng(place))[0] is crop for place in range(20))


def test_a_killed_training_goes_on_to_the_same_curve(settings, tmp_path):
    config = write(settings, tmp_path / "config.yaml")
    train(load_config(config), tmp_path / "whole")
    process = start(config, tmp_path / "killed", "run.steps=100000")
    try:
        log = tmp_path / "killed" / "log" / "metrics.csv"
        until = time.monotonic() + 300
        while not (log.is_file() and len(curve(tmp_path / "killed")) >= 5):
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    reached = latest_checkpoint(tmp_path / "killed")
    assert reached is not None
    train(load_config(config, ["run.steps=8"]), tmp_path / "killed")
    whole, resumed = curve(tmp_path / "whole"), curve(tmp_path / "killed")
    assert sorted(whole) == list(range(1, 9))
    # The log holds the steps before the kill too (a fast machine may have gone beyond step 8 by then).
    compared = {s: v for s, v in resumed.items() if s <= 8}
    assert compared.keys() == whole.keys()
    np.testing.assert_allclose([compared[s] for s in whole], list(whole.values()), rtol=1e-5)
    if torch.load(reached, weights_only=True)["global_step"] <= 8:
        weights = [load_model(tmp_path / name / "final").state_dict() for name in ("whole", "killed")]
        # Two processes may add in another order, with another number of threads.
        for name, value in weights[0].items():
            torch.testing.assert_close(value, weights[1][name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("strategy", "steps"), [("ddp", 4), ("fsdp", 3)])
def test_two_processes_equal_one_that_accumulates(settings, tmp_path, strategy, steps):
    settings["model"]["config"] = {**SMALL_MODEL, "dropout": 0.0}
    settings["optimizer"]["ema"] = 0.0
    settings["run"]["steps"] = steps
    config = write(settings, tmp_path / "config.yaml")
    train(load_config(config, ["run.accumulate=2"]), tmp_path / "one")
    process = start(config, tmp_path / "two", "run.devices=2", f"run.strategy={strategy}")
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert sorted(one) == sorted(two) == list(range(1, steps + 1))
    np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=1e-5)
    assert curve(tmp_path / "one", "samples") == curve(tmp_path / "two", "samples")
    a, b = (load_model(tmp_path / name / "final").state_dict() for name in ("one", "two"))
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, rtol=1e-4, atol=1e-6)


def test_activation_checkpointing_changes_no_number(settings, tmp_path):
    tower = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "image_size": [32, 128]}
    settings["model"]["config"] = {**SMALL_MODEL, "vision": tower}
    settings["run"]["steps"] = 2
    config = write(settings, tmp_path / "config.yaml")
    for name, on in (("kept", "false"), ("again", "true")):
        train(load_config(config, [f"run.activation_checkpointing={on}"]), tmp_path / name)
    assert curve(tmp_path / "kept") == pytest.approx(curve(tmp_path / "again"), rel=1e-6)


def test_validation_best_checkpoint_and_command(settings, words, tmp_path, capsys):
    settings["data"]["validation"] = [str(words)]
    settings["run"] |= {"steps": 2, "validate_every": 2, "logger": "csv+tensorboard"}
    config = write(settings, tmp_path / "config.yaml")
    assert main(["train", "--config", str(config), "--output", str(tmp_path / "out"), "data.validation_limit=8"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "final")
    assert load_model(tmp_path / "out" / "best.ckpt").config.embed_dim == 32
    assert list((tmp_path / "out" / "log").glob("events.out.tfevents*"))
    assert 0 <= curve(tmp_path / "out", "val_accuracy")[2] <= 100


def test_validation_under_autocast(settings, words, tmp_path):
    settings["data"]["validation"] = [str(words)]
    settings["run"] |= {"steps": 1, "validate_every": 1, "precision": "bf16-mixed"}
    train(load_config(write(settings, tmp_path / "config.yaml")), tmp_path / "out")
    assert 0 <= curve(tmp_path / "out", "val_accuracy")[1] <= 100


# ---- what is wrong is said before the first step ------------------------------------------------------


def test_empty_set(settings, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "labels.tsv").write_text("")
    settings["data"]["train"] = {str(tmp_path / "empty"): 1.0}
    with pytest.raises(DatasetError, match="no sample is usable"):
        train(load_config(write(settings, tmp_path / "c.yaml")), tmp_path / "out")


def test_foreign_charset_is_named(settings, tmp_path):
    write_folder(tmp_path / "greek", ["λόγος", "νόμος"])
    settings["data"]["train"] = {str(tmp_path / "greek"): 1.0}
    with pytest.raises(DatasetError, match=r"not in the model's charset.*λ.*model.config.charset"):
        train(load_config(write(settings, tmp_path / "c.yaml")), tmp_path / "out")


def test_a_few_foreign_characters_are_removed_and_counted(settings, tmp_path, caplog):
    write_folder(tmp_path / "some", ["abc", "de€", "def", "fed", "bad"])
    settings["data"]["train"] = {str(tmp_path / "some"): 1.0}
    config = load_config(write(settings, tmp_path / "c.yaml"))
    with caplog.at_level(logging.INFO):
        data = WordData(config, build_model(config.model).config)
    source = next(iter(data.sources.values()))
    assert sorted(source.dataset.label(i) for i in range(5)) == ["abc", "bad", "de", "def", "fed"]
    assert "1 labels lost characters" in caplog.text


def test_checkpoint_of_another_geometry(settings, words, tmp_path):
    settings["run"]["steps"] = 2
    config = write(settings, tmp_path / "c.yaml")
    train(load_config(config), tmp_path / "out")
    with pytest.raises(Clip4StrError, match=r"of another model.*embed_dim is 32 there and 16 now"):
        train(load_config(config, ["model.config.embed_dim=16"]), tmp_path / "out")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.config.charset=aab", "charset repeats"),
        ("model.config.decoder_width=3", "decoder_width"),
        ("model.clip=ViT-Q-99", "nor a model of open_clip"),
        ("run.logger=paper", "unknown logger 'paper'"),
        ("run.batch_size=many", "run.batch_size is 'many'"),
        ("run.speed=3", "unknown field 'speed'; known are steps, "),
        ("walk.speed=3", "unknown section 'walk'; known are model, "),
        ("run.steps=yes", "run.steps is True"),
        ("optimizer.lr=.nan", "optimizer.lr is nan"),
        ("data.fonts=[fonts, 3]", "data.fonts.1 is 3"),
        ("data.train={words: often}", "data.train.words is 'often'"),
        ("data.train={}", "nothing to train on"),
        ("data.train={nowhere: 1.0}", "nowhere: is not a folder"),
        ("data.train={nowhere.tar: 1.0}", "shards are missing"),
        ("model.adapter={kind: glue}", "'glue' is unknown"),
        ("optimizer.schedule=zigzag", "unknown schedule"),
        ("run.precision=7-bit", "7-bit"),
        ("run.accumulate=0", "run.accumulate is 0"),
        ("run.accelerator=tpu", "run: "),
        ("data.train={words: -1}", "data.train.words is -1"),
    ],
)
def test_wrong_settings(settings, tmp_path, capsys, override, message):
    config = write(settings, tmp_path / "c.yaml")
    assert main(["train", "--config", str(config), "--output", str(tmp_path / "out"), override]) == 1
    import re

    assert re.search(message, capsys.readouterr().err)


def test_unreadable_images_are_skipped_and_counted(tmp_path):
    folder = write_folder(tmp_path / "set", ["abc", "def", "fab"])
    (folder / "00001.png").write_bytes(b"no image")
    source = open_source(str(folder), "abcdef", 25)
    labels = {source(place, np.random.default_rng(place))[1] for place in range(12)}
    assert labels == {"abc", "fab"}
    assert int(source.skipped) >= 4


def test_an_lmdb_set_with_bad_entries_trains_without_them(settings, tmp_path, capsys, caplog):
    """By the command: an image that cannot be decoded, a label that is missing, one that is not UTF-8."""
    lmdb = pytest.importorskip("lmdb")
    from clip4str_plugin.data.tools import convert

    write_folder(tmp_path / "folder", ["abc", "def", "fab", "bad", "fee", "cab"])
    convert(tmp_path / "folder", tmp_path / "set", "lmdb")
    with lmdb.open(str(tmp_path / "set")) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"image-000000001", b"no image")
        transaction.delete(b"label-000000002")
        transaction.put(b"label-000000003", b"\xff\xfe")
    settings["data"]["train"] = {str(tmp_path / "set"): 1.0}
    settings["run"]["steps"] = 2
    config = write(settings, tmp_path / "c.yaml")
    with caplog.at_level(logging.INFO):
        assert main(["train", "--config", str(config), "--output", str(tmp_path / "out")]) == 0
    assert "2 damaged entries" in caplog.text
    assert "image-000000001]: cannot be read as an image" in caplog.text
    assert curve(tmp_path / "out", "skipped")[2] >= 1
    assert len(curve(tmp_path / "out")) == 2


def test_a_set_of_unreadable_images_ends_the_training(tmp_path):
    folder = write_folder(tmp_path / "set", ["abc", "def"])
    for image in folder.glob("*.png"):
        image.write_bytes(b"no image")
    with pytest.raises(DatasetError, match="in a row cannot be decoded"):
        open_source(str(folder), "abcdef", 25)(0, np.random.default_rng(0))


# ---- parts --------------------------------------------------------------------------------------------


def test_every_crop_comes_once_before_any_comes_again(words):
    source = open_source(str(words), "abcdef01", 25)
    calls = []
    source.dataset = type(
        "Counting", (), {"__len__": lambda s: 48, "__getitem__": lambda s, i: calls.append(i) or (0, "")}
    )()
    for place in range(96):
        source(place, np.random.default_rng(place))
    assert sorted(calls[:48]) == sorted(calls[48:]) == list(range(48))
    assert calls[:48] != calls[48:]


def test_a_share_of_all_crops_is_turned(settings, tmp_path):
    def labels(share):
        settings["data"]["turned"] = share
        config = load_config(str(write(settings, tmp_path / "config.yaml")))
        stream = WordData(config, build_model(config.model).config)._stream()
        return [stream[place][1] for place in range(60)]

    plain, some = labels(0.0), labels(0.7)
    assert "" not in plain
    assert 5 < some.count("") < 55
    assert all(new in (old, "") for old, new in zip(plain, some))
    with pytest.raises(Clip4StrError, match="turned"):
        labels(1.5)


def test_batches_are_the_same_on_any_number_of_processes():
    stream = SampleStream([(1.0, lambda place, rng: (place, str(place)))])

    def batches(shards, steps):
        readers = [iter(StreamShard(stream, 3, 0, r, shards, lambda s: s)) for r in range(shards)]
        return [[next(reader)[0] for _ in range(3)] for _ in range(steps) for reader in readers]

    assert batches(1, 6) == batches(2, 3) == batches(3, 2)
    later = iter(StreamShard(stream, 3, 4, 0, 1, lambda s: s))
    assert [next(later)[0] for _ in range(3)] == batches(1, 5)[4]


def test_webdataset_shards_and_their_bad_entries(tmp_path):
    wds = pytest.importorskip("webdataset")
    for shard in range(2):
        with wds.TarWriter(str(tmp_path / f"crops-{shard}.tar")) as sink:
            for i in range(4):
                png = io.BytesIO()
                from PIL import Image

                Image.fromarray(draw_word(f"a{shard}{i}")).save(png, "png")
                image = b"no image" if (shard, i) == (1, 2) else png.getvalue()
                sink.write({"__key__": f"{shard}{i}", "png": image, "txt": f"a{shard}{i}"})
    source = open_source(str(tmp_path / "crops-{0..1}.tar"), "a0123456789", 25)
    found = [source(0, np.random.default_rng(0)) for _ in range(7)]
    assert {label for _, label in found} == {f"a{s}{i}" for s in (0, 1) for i in range(4)} - {"a12"}
    assert all(crop.dtype == np.uint8 and crop.shape[2] == 3 for crop, _ in found)
    assert int(source.skipped) == 1


def test_hugging_face_dataset(tmp_path):
    datasets = pytest.importorskip("datasets")
    columns = {"image": [draw_word("abc"), draw_word("de")], "text": ["abc", "de"]}
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "stored")
    source = open_source(f"hf:{tmp_path / 'stored'}", "abcde", 25)
    assert {source(0, np.random.default_rng(0))[1] for _ in range(2)} == {"abc", "de"}


def test_csv_log_goes_on_and_forgets_what_will_be_repeated(tmp_path):
    log = CsvLog(tmp_path)
    for step in range(4):
        log.log_metrics({"loss": 1.0 - step / 10}, step)
        log.log_metrics({"lr": 0.5}, step)
    again = CsvLog(tmp_path, resume_step=2)
    again.log_metrics({"loss": 0.25, "accuracy": 7.0}, 2)
    with (tmp_path / "metrics.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert [(row["step"], row["loss"], row["accuracy"]) for row in rows] == [
        ("1", "1", ""),
        ("2", "0.9", ""),
        ("3", "0.25", "7"),
    ]


def test_loggers_by_name(tmp_path):
    kinds = [type(logger).__name__ for logger in make_loggers("csv+tensorboard", tmp_path)]
    assert kinds == ["CsvLog", "TensorBoardLogger"]


def test_tensorboard_holds_the_curve(settings, tmp_path):
    settings["run"] |= {"steps": 3, "logger": "csv+tensorboard"}
    train(load_config(write(settings, tmp_path / "c.yaml")), tmp_path / "out")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "out" / "log"))
    events.Reload()
    shown = {event.step + 1: event.value for event in events.Scalars("loss")}
    assert shown == pytest.approx(curve(tmp_path / "out"))
    assert "samples" in events.Tags()["scalars"]


def test_wandb_offline(settings, tmp_path, monkeypatch):
    """Without network and account, the curve is kept in the folder of the training, to be uploaded later."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    settings["run"] |= {"steps": 3, "logger": "csv+wandb"}
    train(load_config(write(settings, tmp_path / "c.yaml")), tmp_path / "out")
    import wandb

    wandb.finish()
    (stored,) = (tmp_path / "out" / "wandb").glob("offline-run-*-out/run-out.wandb")
    until = time.monotonic() + 60  # W&B's own process writes the file
    while not all(name in stored.read_bytes() for name in (b"loss_visual", b"samples")):
        assert time.monotonic() < until, stored.read_bytes()
        time.sleep(0.1)


def test_configurations_of_the_published_rows():
    rows = [name for name in available_configs() if not name.startswith(("tiny-", "small-")) and name != "ci"]
    assert rows == sorted(
        [
            "base16-synth",
            "base16-real",
            "base16-rbu",
            "large14-synth",
            "large14-real",
            "large14-rbu",
            "huge14-laion-rbu",
            "huge14-dfn-rbu",
        ]
    )
    epochs = {"base16-synth": 7, "base16-real": 16, "base16-rbu": 11, "large14-synth": 6, "large14-real": 10}
    epochs |= {"large14-rbu": 5, "huge14-laion-rbu": 4, "huge14-dfn-rbu": 4}
    for name in rows:
        config = load_config(name)
        run = config.run
        assert run.devices * run.batch_size * run.accumulate == 1024
        assert scaled_learning_rate(config.optimizer.lr, run.batch_size, run.devices, run.accumulate) == pytest.approx(
            1.68e-4
        )
        assert run.epochs == epochs[name]
        assert config.model.freeze_text_layers == 6
        assert config.loss == TrainingConfig().loss


def test_overrides():
    config = load_config(
        "small-scratch", ["run.steps=5", "model.config.dropout=0.0", "optimizer.lr=1e-3", "data.train={a: 2}"]
    )
    assert (config.run.steps, config.model.config["dropout"], config.optimizer.lr) == (5, 0.0, 1e-3)
    assert config.model.config["embed_dim"] == 192
    assert dataclasses.asdict(config)["data"]["train"] == {"a": 2}


def test_an_override_of_an_empty_section(tmp_path):
    (tmp_path / "c.yaml").write_text("run:\nmodel: {start: tiny}\n")
    config = load_config(tmp_path / "c.yaml", ["run.steps=5", "model.config.refine_iters=2"])
    assert (config.run.steps, config.model.config) == (5, {"refine_iters": 2})
