"""Draws quality against time from measured settings: plot_quality.py FILE.json OUT.svg

FILE.json is a list of {"name", "seconds", "share", "low", "high"}: seconds per picture, and the share of right shapes in
percent with its interval. Time is drawn on a logarithmic axis. Standard library only.
"""

import json
import math
import sys
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 64, 24, 24, 56
INK, FAINT, POINT = "#333", "#ddd", "#1f6fb2"


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    with open(sys.argv[1], encoding="utf-8") as file:
        settings = json.load(file)
    shortest, longest = (f(s["seconds"] for s in settings) for f in (min, max))
    first, last = math.log(shortest / 1.3), math.log(longest * 1.6)
    bottom = 10 * math.floor(min(s["low"] for s in settings) / 10)
    top = 10 * math.ceil(max(s["high"] for s in settings) / 10)

    def x(seconds: float) -> float:
        return LEFT + (math.log(seconds) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(percent: float) -> float:
        return HEIGHT - BOTTOM - (percent - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
           f'font-size="12" fill="{INK}">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']

    def line(x1: float, y1: float, x2: float, y2: float, colour: str) -> None:
        out.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>')

    def text(at_x: float, at_y: float, words: str, anchor: str = "middle") -> None:
        out.append(f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}">{escape(words)}</text>')

    for percent in range(bottom, top + 1, 10):
        line(LEFT, y(percent), WIDTH - RIGHT, y(percent), FAINT)
        text(LEFT - 8, y(percent) + 4, f"{percent} %", "end")
    for power in range(-3, 4):
        for digit in (1, 2, 5):
            seconds = digit * 10.0 ** power
            if first <= math.log(seconds) <= last:
                line(x(seconds), TOP, x(seconds), HEIGHT - BOTTOM, FAINT)
                text(x(seconds), HEIGHT - BOTTOM + 18, f"{seconds:g} s")
    text(WIDTH / 2, HEIGHT - 12, "seconds per picture")
    for s in settings:
        line(x(s["seconds"]), y(s["low"]), x(s["seconds"]), y(s["high"]), POINT)
        out.append(f'<circle cx="{x(s["seconds"]):.1f}" cy="{y(s["share"]):.1f}" r="4" fill="{POINT}"/>')
        text(x(s["seconds"]) + 8, y(s["share"]) + s.get("shift", 4), s["name"], "start")
    out.append("</svg>")
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
