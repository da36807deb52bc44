"""The whole recognition against the published way to decode, side by side: ``python benchmarks/speed.py [--rounds N]``.

The published way: every crop of a batch takes the steps of the longest, every step projects the whole memory and runs
over all tokens again, captions are encoded twice, attention goes through ``nn.MultiheadAttention``. The weights are
random, arranged so that words end after about 12 characters and that both branches read alike, as trained ones nearly
always do (``--disagree``: random decoders of their own for the two, the worst case).
"""

import argparse
import copy
import statistics
import time

import numpy as np
import torch
from torch import Tensor

from clip4str_plugin.model import CLIP4STR, GEOMETRIES, clip_config
from clip4str_plugin.model.decoder import Decoder
from clip4str_plugin.model.engines import set_precision


def arranged(geometry: str, disagree: bool, length: int = 12) -> CLIP4STR:
    """Return a random model whose words end after about ``length`` characters."""
    torch.manual_seed(0)
    model = CLIP4STR(clip_config(**GEOMETRIES[geometry])).eval()
    for decoder in (model.visual_decoder, model.cross_decoder):
        end = torch.nn.functional.normalize(torch.randn(decoder.pos_queries.shape[-1]), dim=0)
        torch.nn.init.normal_(decoder.pos_queries)
        decoder.pos_queries.data -= (decoder.pos_queries.data @ end)[..., None] * end
        decoder.pos_queries.data += (torch.arange(decoder.num_positions) - length)[:, None] * end
        decoder.head.weight.data[model.tokenizer.eos_id] = 2 * end
        decoder.head.bias.data[model.tokenizer.eos_id] = 1.0
    if not disagree:
        model.cross_decoder.load_state_dict(model.visual_decoder.state_dict())
    return model


def published(model: CLIP4STR, images: Tensor) -> Tensor:
    """Decode as the published code does; returns logits (N, T, C)."""
    clip, ids, positions = model.clip_model, model.tokenizer, model.config.max_label_length + 1

    def encode_text(captions: list[str]) -> Tensor:
        tokens = model.caption_tokenizer(captions)
        x = clip.token_embedding(tokens) + clip.positional_embedding[: tokens.shape[1]]
        mask = torch.full((tokens.shape[1],) * 2, float("-inf")).triu(1)
        return clip.ln_final(clip.transformer(x, attn_mask=mask)) @ clip.text_projection

    def greedy(decoder: Decoder, memory: Tensor, steps: int | None) -> Tensor:
        tokens = torch.full((len(memory), 1), ids.bos_id)
        logits: list[Tensor] = []
        for i in range(steps or positions):
            visible = torch.ones(1, i + 1, dtype=torch.bool)
            keys_values = decoder.memory_keys_values(memory)
            logits.append(decoder(tokens, keys_values, visible, visible, slice(i, i + 1)))
            tokens = torch.cat([tokens, logits[-1].argmax(-1)], 1)
            if steps is None and (tokens == ids.eos_id).any(1).all():
                break
        return torch.cat(logits, 1)

    def refine(decoder: Decoder, memory: Tensor, logits: Tensor) -> Tensor:
        tokens = torch.cat([torch.full((len(memory), 1), ids.bos_id), logits[:, :-1].argmax(-1)], 1)
        known = (tokens == ids.eos_id).cumsum(1) == 0
        cloze = torch.arange(tokens.shape[1]) != torch.arange(positions)[:, None] + 1
        visible = cloze & known[:, None, None]
        return decoder(tokens, decoder.memory_keys_values(memory), visible, visible, slice(positions))

    visual = clip.visual
    x = visual.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], 1) + visual.positional_embedding
    memory = visual.ln_post(visual.transformer(visual.ln_pre(x))) @ visual.proj
    first = greedy(model.visual_decoder, memory, None)
    lengths = torch.full((len(images),), positions)
    text = encode_text(model.caption(first, lengths))
    cross = greedy(model.cross_decoder, torch.cat([memory, text], 1), first.shape[1])
    refined = refine(model.visual_decoder, memory, first)
    text = encode_text(model.caption(refined, lengths))
    return refine(model.cross_decoder, torch.cat([memory, text], 1), cross)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geometry", choices=list(GEOMETRIES), default="base16")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    engines = ["torch:fp32", "openvino:fp32", "torch:bf16", "openvino:bf16", "openvino:int8"]
    parser.add_argument("--engines", nargs="+", default=engines, metavar="ENGINE:PRECISION")
    parser.add_argument("--threads", type=int, help="of the CPU")
    clock = "time by the clock, or by the processor (with one thread, on a machine that does other work too)"
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help=clock)
    parser.add_argument("--disagree", action="store_true", help="the two branches read differently")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    now = {"wall": time.perf_counter, "cpu": time.process_time}[args.clock]
    reference = arranged(args.geometry, args.disagree)
    images = torch.rand(args.batch_size, 3, *reference.config.image_size) * 2 - 1
    with torch.inference_mode():
        decoding = reference.generate(images, complete=False)
    texts = reference.tokenizer.decode(decoding.logits, decoding.lengths)
    lengths = [len(text) for text, _ in texts]
    same = sum(a == b for a, b in zip(*decoding.captions))
    print(f"{args.geometry}, batch {args.batch_size}, {torch.get_num_threads()} threads, words of {min(lengths)} to "
          f"{max(lengths)} characters, mean {statistics.mean(lengths):.1f}; "
          f"{args.clock} time, captions unchanged by refinement: {same}", flush=True)  # fmt: skip
    contestants = {"published way, fp32": lambda: published(reference, images)}
    for spec in args.engines:
        engine, _, precision = spec.partition(":")
        model = set_precision(copy.deepcopy(reference), precision, engine, calibration=[_crop(i) for i in range(24)])
        contestants[f"{precision}, {engine}"] = lambda model=model: model.generate(images, complete=False).logits
        alone = f"{precision}, {engine}, one crop alone"
        contestants[alone] = lambda model=model: model.generate(images[:1], complete=False).logits
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    with torch.inference_mode():
        for turn in range(args.rounds + 1):
            for name, decode in contestants.items():
                begin = now()
                logits = decode()
                seconds = now() - begin
                if turn:  # the first warms up
                    rates[name].append(len(logits) / seconds)
    base = statistics.median(rates["published way, fp32"])
    for name, rate in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rate, rates["published way, fp32"]))
        print(f"{name:<32} {statistics.median(rate):6.2f} crops a second ({min(rate):.2f}-{max(rate):.2f}), "
              f"{statistics.median(rate) / base:5.2f}x of medians, {ratio:5.2f}x turn by turn")  # fmt: skip


def _crop(index: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(index)
    return torch.randint(0, 256, (32, 100, 3), generator=generator, dtype=torch.uint8).numpy()


if __name__ == "__main__":
    main()
