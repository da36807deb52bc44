"""Every option with a value that cannot be: one line that names it, status 2, and nothing read before."""

import pytest

from clip4str_plugin.cli import main, options

READ = ["read", "photo.png"]


@pytest.mark.parametrize(
    "arguments",
    [
        [*READ, "--max-pixels", "0"], [*READ, "--max-pixels", "x"], [*READ, "--dpi", "0"], [*READ, "--dpi", "nan"],
        [*READ, "--device", "nope"], [*READ, "--device", "meta"],
        [*READ, "--precision", "fp7"], [*READ, "--early-exit", "2"],
        [*READ, "--early-exit", "nan"], [*READ, "--batch-size", "0"],
        [*READ, "--batch-size", "1" + "0" * 30], [*READ, "--threads", "-1"],
        [*READ, "--threads", "1000000000000"], [*READ, "--confidence", "sum"], [*READ, "--charset", ""],
        [*READ, "--charset", "\u6f22"], [*READ, "--detector", "nope"], [*READ, "--detector-option", "x"],
        [*READ, "--detector-option", "box_tresh=0.5"], [*READ, "--detector-option", "box_thresh=high"],
        [*READ, "--detector-option", "max_side=0"], [*READ, "--detector-option", "max_side=big"],
        [*READ, "--detector-option", "max_side=1e999"], [*READ, "--detector-option", "min_side=1000000"],
        [*READ, "--detector-option", "box_thresh=7"], [*READ, "--detector-option", "max_candidates=1.5"],
        [*READ, "--detector-option", "score_mode=exact"], [*READ, "--detector-option", "unclip_ratio=-1"],
        [*READ, "--detector-option", "limit_side_len=960"], [*READ, "--detector-option", "threads=0"],
        [*READ, "--detector-option", "max_side=" + "-" * 100_000 + "1"],
        [*READ, "--detector", "craft", "--detector-option", "text_threshold=nan"],
        [*READ, "--detector", "craft", "--detector-option", "low_text=7"],
        [*READ, "--detector", "craft", "--detector-option", "threads=100000"],
        [*READ, "--orientation", "up"], [*READ, "--min-confidence", "2"], [*READ, "--min-confidence", "nan"],
        [*READ, "--format", "doc"], [*READ, "--model", "nope"], [*READ, "--output", "{}/no/folder/x"],
        ["recognize", "a.png", "--format", "csv"], ["recognize", "a.png", "--output", "{}/no/x"],
        ["serve", "--port", "-1"], ["serve", "--port", "99999"], ["serve", "--max-upload", "-3"],
        ["serve", "--max-pixels", "1G"], ["serve", "--timeout", "nan"], ["serve", "--timeout", "0"],
        ["serve", "--timeout", "inf"], ["serve", "--max-upload", "1K1"], ["serve", "--workers", "1" + "0" * 30],
        ["serve", "--queue", "-1"], ["serve", "--host", "not a host"], ["serve", "--port", "0", "--model", "nope"],
        ["read", "{}", "--output", "{}/a.png"],
        ["evaluate", "{}", "{}"], ["evaluate", "{}", "--charset", "10"], ["evaluate", "{}", "--paper", "x"],
        ["train", "--config", "nope", "--output", "{}/o"], ["train", "--config", "ci", "--output", "{}/o", "run.x=1"],
        ["train", "--config", "ci", "--output", "{}/o", "run.steps=many"],
        ["train", "--config", "ci", "--output", "{}/o", "run.steps.x=5"],
        ["train", "--config", "ci", "--output", "{}/o", "run.accumulate=0"],
        ["train", "--config", "ci", "--output", "{}/o", "run.devices=0"],
        ["train", "--config", "ci", "--output", "{}/o", "optimizer.lr=-1"],
        ["train", "--config", "ci", "--output", "{}/o", "data.train.{}=-1"],
        ["train", "--config", "{}/labels.tsv", "--output", "{}/o"],
        ["data", "convert", "{}", "{}/inner", "--to", "lmdb"], ["data", "render", "{}/r", "--count", "0"],
        ["data", "split", "{}", "--into", "{}/r", "{}/r"], ["data", "split", "{}", "--into", "{}/r", "{}/r/s"],
        ["data", "parts", "{}", "{}/r", "--count", "100000000"], ["data", "parts", "{}", "{}/r", "--seed", "-1"],
        ["data", "render", "{}/r", "--seed", "-1"], ["data", "check", "{}", "--max-length", "0"],
        ["data", "check", "{}", "--charset", ""], ["evaluate", "{}", "--errors", "{}"],
        ["evaluate", "{}", "--results", "{}"],
        ["evaluate", "{}", "--errors", "{}/labels.tsv/x"], ["evaluate", "{}", "--plots", "{}/labels.tsv"],
        ["compare", "{}/a", "{}/b"], ["plot", "reliability", "{}/a", "--output", "{}/a.svg"],
        ["attention", "a.png", "--refine-iters", "-1"], ["attention", "a.png", "--height", "0"],
        ["attention", "a.png", "--height", "10000000"], ["attention", "a.png", "--refine-iters", "1000000000"],
        ["export", "tiny", "--output", "{}/o", "--refine-iters", "-1"],
        ["export", "tiny", "--output", "{}/o", "--branch", "visual"], ["export", "nope", "--output", "{}/o"],
        ["export", "tiny", "--output", "{}/a.png"], ["export", "tiny", "--output", "{}", "--format", "onnxtr"],
        ["export", "{}/a.png", "--output", "{}"], ["bench", "--pages", "{}/nope.png"],
        ["bench", "--device", "nope"], ["bench", "--peers", "nope"], ["bench", "--count", "0"],
        ["bench", "--crops", "{}/nothing"], ["bench", "--model", "nope", "--peers"], ["models", "--format", "xml"],
        ["plugins", "--format", "xml"], ["nope"], [],
    ],
)  # fmt: skip
def test_one_line_and_status_2(arguments, tmp_path, capsys, monkeypatch):
    if not any(argument.startswith("--detector") for argument in arguments):  # a real one takes seconds to load
        monkeypatch.setattr(options, "build_detector", lambda args: None)
    if arguments[:1] == ["serve"]:  # what is not refused must not serve for ever
        pytest.importorskip("fastapi", reason="the service needs the extra [serve]")
        monkeypatch.setattr("clip4str_plugin.service.server.build_server", lambda *_: pytest.fail("it serves"))
    (tmp_path / "labels.tsv").write_text("a.png\tword\n")
    (tmp_path / "a.png").write_bytes(b"")
    status = main([argument.replace("{}", str(tmp_path)) for argument in arguments])
    lines = [line for line in capsys.readouterr().err.splitlines() if "usage:" not in line and line[:1] != " "]
    assert status in (1, 2)
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    # Missing input is status 1 where only that is wrong.
    if status == 1:
        assert arguments[0] in ("compare", "plot", "data", "evaluate", "train", "bench", "serve"), lines
