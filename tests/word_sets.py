"""Small sets of rendered words for tests, drawn with Pillow's own font."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def draw_word(text, seed=0, size=(100, 32)):
    """One word on plain ground, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    ground, ink = int(rng.integers(150, 255)), int(rng.integers(0, 90))
    font = ImageFont.load_default(size=int(rng.integers(20, 27)))
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("RGB", (right - left + 8, bottom - top + 8), (ground,) * 3)
    ImageDraw.Draw(image).text((4 - left, 4 - top), text, font=font, fill=(ink,) * 3)
    return np.asarray(image)


def random_word(rng, alphabet, shortest=2, longest=5):
    return "".join(rng.choice(list(alphabet), int(rng.integers(shortest, longest + 1))))


def write_folder(folder, words, seed=0):
    """Write crops and labels.tsv."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, word in enumerate(words):
        Image.fromarray(draw_word(word, seed + i)).save(folder / f"{i:05d}.png")
        rows.append(f"{i:05d}.png\t{word}")
    (folder / "labels.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


SMALL_MODEL = {
    "embed_dim": 32,
    "image_size": [32, 128],
    "vision": {
        "timm_model_name": "word_convstem_16",
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": [32, 128],
    },
    "text": {"context_length": 16, "vocab_size": 578, "width": 32, "heads": 2, "layers": 2},
    "caption_merges": 64,
    "decoder_heads": 2,
}
