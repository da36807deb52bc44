"""Weight files made to harm: no code runs, nothing is fetched, memory stays, and each is one CheckpointError."""

import json
import resource

import pytest
import torch
from safetensors.torch import load_file, save_file

from clip4str_plugin.cli import bench, main
from clip4str_plugin.errors import CheckpointError
from clip4str_plugin.model import CLIP4STR, CLIP4STRConfig, load_model, save_pretrained
from clip4str_plugin.model.config_checks import OWN_TOWERS
from tests.word_sets import SMALL_MODEL, write_folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    save_pretrained(CLIP4STR(CLIP4STRConfig.from_dict(SMALL_MODEL)), folder)
    return folder


@pytest.fixture
def changed(small, tmp_path):
    """Write the small model with another configuration."""
    values = json.loads((small / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((small / "model.safetensors").read_bytes())

    def write(**changes):
        text = {**values["text"], **changes.pop("in_text", {})}
        vision = {**values["vision"], **changes.pop("in_vision", {})}
        (tmp_path / "config.json").write_text(json.dumps({**values, "text": text, "vision": vision, **changes}))
        return tmp_path

    return write


def test_the_own_towers_are_those_registered():
    import timm

    from clip4str_plugin.model import conv_stem, ppocr_tower  # noqa: F401

    ours = {name for module in ("conv_stem", "ppocr_tower") for name in timm.list_models(module=module)}
    assert ours == OWN_TOWERS


def test_a_tokenizer_with_code_of_its_own_is_not_run(changed, tmp_path):
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    mark = tmp_path / "ran"
    (tokenizer / "evil.py").write_text(
        f"open({str(mark)!r}, 'w').close()\nfrom transformers import PreTrainedTokenizerFast as Evil\n"
    )
    auto_map = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    (tokenizer / "tokenizer_config.json").write_text(json.dumps({"auto_map": auto_map, "tokenizer_class": "Evil"}))
    (tokenizer / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}))
    with pytest.raises(CheckpointError, match="allow_hub"):
        load_model(changed(in_text={"hf_tokenizer_name": str(tokenizer)}))
    options = {"tokenizer_kwargs": {"trust_remote_code": True}}
    with pytest.raises(CheckpointError, match="trust_remote_code is not allowed"):
        load_model(changed(in_text={"hf_tokenizer_name": str(tokenizer), **options}), allow_hub=True)
    pytest.importorskip("transformers")
    for name in ("hf_tokenizer_name", "hf_model_name"):
        with pytest.raises(CheckpointError):
            load_model(changed(in_text={name: str(tokenizer)}), allow_hub=True)
    assert not mark.exists()


@pytest.mark.parametrize(
    "options",
    [
        {"timm_model_name": "hf-hub:somebody/something"},
        {"timm_model_name": "vit_tiny_patch16_224", "timm_model_pretrained": True},
    ],
)
def test_foreign_image_towers_are_refused(changed, options):
    with pytest.raises(CheckpointError, match="allow_hub"):
        load_model(changed(in_vision=options))


@pytest.mark.parametrize("command", ["recognize", "data relabel", "export", "evaluate", "bench"])
def test_commands_refuse_foreign_parts_unless_allowed(command, changed, tmp_path, capsys, monkeypatch):
    """Allowed, the folder is looked up as a tokenizer, which it is not; nothing is fetched."""
    model = str(changed(in_text={"hf_tokenizer_name": str(tmp_path)}))
    words = write_folder(tmp_path / "words", ["word"])
    image = str(next(words.glob("*.png")))
    arguments = {
        "recognize": [image, "--model", model],
        "data relabel": [str(words), str(tmp_path / "new"), "--model", model],
        "export": [model, "--output", str(tmp_path / "exported")],
        "evaluate": [str(words), "--model", model],
        "bench": ["--model", model, "--peers"],
    }[command]
    # Loads in this process, and measures nothing.
    monkeypatch.setattr(bench, "_crops", lambda *_: [])
    monkeypatch.setattr(bench, "machine", lambda *_: {})
    monkeypatch.setattr(bench, "measure", lambda contestants, *_: [bench._load(each) for each in contestants])

    def said(*more):
        main([*command.split(), *arguments, *more])
        return "".join(capsys.readouterr())

    assert "--allow-hub" in said()
    assert "--allow-hub" not in said("--allow-hub")


@pytest.mark.parametrize(
    "changes",
    [
        {"vision": 5}, {"vision": {}}, {"text": None}, {"text": []}, {"in_text": {"surprise": 1}},
        {"in_vision": {"width": 10**9}}, {"in_vision": {"layers": 100_000}}, {"in_text": {"vocab_size": -1}},
        {"in_text": {"norm_kwargs": {"__class__": 1}}}, {"in_text": {"heads": 7}}, {"in_text": {"layers": 3}},
        {"image_size": 224}, {"image_size": "224"}, {"image_size": [0, 0]}, {"image_size": [10**6, 10**6]},
        {"image_size": [32, 128, 3]}, {"mean": [1, 2]}, {"std": [0, 0, 0]}, {"mean": [float("nan")] * 3},
        {"charset": 5}, {"charset": ""}, {"charset": "aa"}, {"charset": "\ud800"}, {"charset": "abc"},
        {"caption_charset": None}, {"max_label_length": 10**9}, {"max_label_length": 200}, {"max_label_length": True},
        {"context_length": 100}, {"caption_merges": -5}, {"decoder_depth": 100_000}, {"decoder_depth": 2},
        {"decoder_heads": 7}, {"decoder_heads": 0}, {"refine_iters": 10**9}, {"refine_iters": -1},
        {"dropout": 2}, {"decode_ar": "yes"}, {"adapter": 5}, {"adapter": {"kind": "linear", "reduction": 0}},
        {"embed_dim": 1.5}, {"embed_dim": 10**30},
    ],
)  # fmt: skip
def test_malformed_configurations(changed, changes):
    with pytest.raises(CheckpointError):
        load_model(changed(**changes))


@pytest.mark.parametrize("text", ["[]", "5", "null", "{" * 100_000, '{"a": ' * 100_000, '{"embed_dim": 1' + "0" * 9000])
def test_configurations_that_are_none(changed, text):
    folder = changed()
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError):
        load_model(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(small, changed, value):
    folder = changed()
    state = load_file(small / "model.safetensors")
    state["visual_decoder.norm.weight"][3] = value
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"no finite numbers: visual_decoder\.norm\.weight"):
        load_model(folder)


@pytest.mark.parametrize(
    "hyper",
    [
        {"img_size": 7}, {"img_size": "224"}, {"img_size": [0, 0]}, {"img_size": [224]}, {"img_size": None},
        {"charset_train": 36}, {"charset_train": None}, {"dec_num_heads": 7}, {"dec_num_heads": "8"},
        {"refine_iters": 10**9}, {"context_length": 10**6}, {"dropout": "x"}, {5: 5, "decode_ar": 2},
    ],
)  # fmt: skip
def test_malformed_published_files(golden_state, tmp_path, hyper):
    torch.save({"state_dict": golden_state, "hyper_parameters": hyper}, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError):
        load_model(tmp_path / "x.ckpt")


@pytest.mark.parametrize("name", ["clip_model.visual.conv1.weight", "visual_decoder.pos_queries",
                                  "clip_model.positional_embedding", "clip_model.text_projection"])  # fmt: skip
@pytest.mark.parametrize("tensor", [torch.ones(()), torch.ones(3), torch.ones(0, 0, 0), torch.ones(2, 2, 2, 2, 2)])
def test_tensors_of_wrong_dimensions(golden_state, tmp_path, name, tensor):
    torch.save({**golden_state, name: tensor}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"x\.pt"):
        load_model(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "tensor",
    [torch.ones(64).to_sparse(), torch.empty(64, device="meta"), torch.ones(64, dtype=torch.complex64),
     torch.quantize_per_tensor(torch.ones(64), 0.1, 0, torch.qint8)],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_not_plain(golden_state, tmp_path, tensor):
    torch.save({**golden_state, "visual_decoder.norm.weight": tensor}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"x\.pt"):
        load_model(tmp_path / "x.pt")


def test_a_file_that_unpacks_to_more_than_it_is(golden_state, tmp_path):
    import zipfile

    torch.save({"a": torch.zeros(10_000_000)}, tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry))
    with pytest.raises(CheckpointError, match="would unpack"):
        load_model(tmp_path / "bomb.pt")


def test_memory_stays(changed):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for changes in ({"max_label_length": 1000}, {"in_text": {"vocab_size": 2_000_000}}):
        with pytest.raises(CheckpointError):
            load_model(changed(**changes))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
