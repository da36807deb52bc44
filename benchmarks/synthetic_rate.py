"""How many synthetic words one core renders a second: ``python benchmarks/synthetic_rate.py [--words N]``."""

import argparse
import time

from clip4str_plugin.synthetic import WordRenderer, find_fonts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=3000, help="words to render")
    parser.add_argument("--fonts", nargs="*", help="folders of fonts (default: the system's)")
    args = parser.parse_args()
    start = time.perf_counter()
    fonts = find_fonts(args.fonts)
    renderer = WordRenderer(fonts)
    print(f"{len(fonts)} fonts, ready in {time.perf_counter() - start:.1f} s")
    for index in range(200):
        renderer(index)
    start, cpu = time.perf_counter(), time.process_time()
    pixels = 0
    for index in range(200, 200 + args.words):
        crop, _ = renderer(index)
        pixels += crop.shape[0] * crop.shape[1]
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"{args.words / wall:.0f} words/s, {args.words / cpu:.0f} words per core-second, "
          f"{pixels / args.words:.0f} pixels a word")  # fmt: skip


if __name__ == "__main__":
    main()
