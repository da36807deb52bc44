"""Teach the embedded model French accents: 94 characters become 122, on rendered words, in minutes on two cores.

    python examples/finetune_french.py [--model tiny] [--steps 100] [--output french]

Prints the accuracy on held-out words before and after, case and accents counting. Needs the extra ``train``
and an installed font with accents.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from clip4str_plugin import Recognizer, load_model
from clip4str_plugin.data.datasets import open_dataset
from clip4str_plugin.evaluation.evaluate import evaluate
from clip4str_plugin.model.config import CHARSET_94
from clip4str_plugin.training.config import (
    DataConfig,
    LossConfig,
    ModelSource,
    OptimizerConfig,
    RunConfig,
    TrainingConfig,
)
from clip4str_plugin.training.run import train

ACCENTS = "àâæçéèêëîïôœùûüÿ"
CHARSET = CHARSET_94 + ACCENTS + "ÀÂÇÉÈÊËÎÏÔÙÛ"

WORDS = """
abîme accès achète aérien âge agréable aîné allée âme amitié ancêtre année août apéritif après arrêt arrière assiégé
bâtiment beauté bébé bénéfice bête bibliothèque blé boîte brûlé ça café câble cafetière canapé carré célèbre cérémonie
chaîne château chère chêne chèvre cinéma clé collège complète conçu congrès contrôle coûte crème créé crêpe croître
déçu décembre dégoût déjà délai dépôt désert dès deuxième diplôme dîner drôle école économie écrit éclair église
électricité élève employé énergie entrée époque épée épicerie espèce été étage étoile être étudiant événement façade
façon fenêtre fête février fidèle flûte forêt frère fumée garçon gâteau gêne général genêt génie gîte goût grâce grève
guérir hâte héritage hélice hôpital hôtel huître idée île intérêt jeûne kilomètre là légère légume leçon lièvre
lumière maître mairie maïs marché mère métier métro meublé mêlée mémoire modèle mûr musée naïf née Noël numéro nièce
œuf œuvre opéra ôter où pâle pâte pâtisserie pêche père pièce piqûre plâtre poêle poème préféré première prêt problème
procès progrès propriété qualité quatrième réalité reçu règle réponse réseau rêve rivière rôle rôti route réussi sauté
sécurité séjour série sève siècle société sœur soirée sûr système tâche télé tempête tête théâtre thé tôt trésor très
troisième unité université vélo vérité vêtement vidéo vœu voilà volonté zèle zéro gare rue pain vin fromage
boulangerie sortie ouvert tabac poste
""".split()  # noqa: SIM905 - easier to read and to add to


def fonts(most: int) -> list[Path]:
    """Return some fonts of this machine that draw the accents."""
    usable: list[Path] = []
    found = sorted(Path("/usr/share/fonts").rglob("*.[to]tf"))
    for path in (found[i] for i in np.random.default_rng(0).permutation(len(found))):
        if len(usable) == most:
            break
        try:
            font = ImageFont.truetype(str(path), 24)
            missing = bytes(font.getmask("\uffff"))
            shapes = [bytes(font.getmask(c)) for c in "éÉçœeE"]
        except OSError:
            continue
        if missing not in shapes and len(set(shapes)) == len(shapes):
            usable.append(path)
    return usable


def render(word: str, path: Path, rng: np.random.Generator) -> Image.Image:
    """Draw a word in two colours, a little turned, blurred and noisy."""
    font = ImageFont.truetype(str(path), int(rng.integers(24, 44)))
    left, top, right, bottom = font.getbbox(word)
    pad = int(rng.integers(3, 9))
    ground = rng.integers(0, 256, 3)
    ink = (ground + 128 + rng.integers(-40, 41, 3)) % 256
    image = Image.new("RGB", (int(right - left) + 2 * pad, int(bottom - top) + 2 * pad), tuple(map(int, ground)))
    ImageDraw.Draw(image).text((pad - left, pad - top), word, font=font, fill=tuple(map(int, ink)))
    image = image.rotate(float(rng.normal(0, 2)), Image.Resampling.BICUBIC, fillcolor=tuple(map(int, ground)))
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 1.2))))
    noisy = np.asarray(image) + rng.normal(0, rng.uniform(0, 12), (image.height, image.width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def write_set(folder: Path, words: list[str], count: int, seed: int, faces: list[Path]) -> Path:
    """Write rendered words as a folder with labels.tsv."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        word = words[int(rng.integers(len(words)))]
        word = (word, word.capitalize(), word.upper())[int(rng.choice(3, p=[0.5, 0.2, 0.3]))]
        word = "".join(c if c in CHARSET else c.lower() for c in word)
        render(word, faces[int(rng.integers(len(faces)))], rng).save(folder / f"{i}.png")
        rows.append(f"{i}.png\t{word}\n")
    (folder / "labels.tsv").write_text("".join(rows), encoding="utf-8")
    return folder


def accuracy(model: str | Path, folder: Path) -> float:
    """Return the exact word accuracy in percent, case and accents counting."""
    return evaluate(Recognizer(load_model(model)), open_dataset(folder, CHARSET), CHARSET).accuracy


def finetune(model: str, steps: int, crops: int, output: Path, faces: list[Path]) -> tuple[float, float]:
    """Fine-tune on rendered words and return the accuracy on held-out words before and after, in percent."""
    shuffled = [WORDS[i] for i in np.random.default_rng(0).permutation(len(WORDS))]
    with tempfile.TemporaryDirectory() as name:
        held_out = write_set(Path(name) / "test", shuffled[:60], 300, 1, faces)
        train_set = write_set(Path(name) / "train", shuffled[60:], crops, 2, faces)
        before = accuracy(model, held_out)
        print(f"before: {before:.1f} % of held-out words", flush=True)
        config = TrainingConfig(
            model=ModelSource(
                start=model,
                config={"charset": CHARSET, "caption_charset": "".join(sorted(set(CHARSET.lower()))), "dropout": 0.0},
            ),
            data=DataConfig(train={str(train_set): 1.0}, synthetic=0.0, augment=False),
            loss=LossConfig(permutations=2),
            optimizer=OptimizerConfig(lr=3e-3, coef_lr=15.0, weight_decay=0.02, schedule="cosine", clip_norm=1.0),
            run=RunConfig(steps=steps, batch_size=32, accelerator="cpu", precision="32-true", log_every=20),
        )
        return before, accuracy(train(config, output), held_out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="model to start from: a name or a file")
    parser.add_argument("--steps", type=int, default=100, help="of 32 crops (default: %(default)s)")
    parser.add_argument("--crops", type=int, default=3000, help="rendered training crops (default: %(default)s)")
    parser.add_argument("--fonts", type=int, default=100, help="the most fonts to use (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("french"))
    args = parser.parse_args()

    faces = fonts(args.fonts)
    if not faces:
        raise SystemExit("no font with French accents found below /usr/share/fonts; install fonts-dejavu-core")
    print(f"{len(faces)} fonts")
    _, after = finetune(args.model, args.steps, args.crops, args.output, faces)
    minutes = time.process_time() / 60
    print(f"after: {after:.1f} %; the model is in {args.output / 'final'}; it took {minutes:.1f} CPU minutes")


if __name__ == "__main__":
    main()
