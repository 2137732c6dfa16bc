"""Digits drawn with a pen that MNIST's writers never held, and photos of them: pictures whose digit is known.

Each drawing has random proportions, slant, jitter and stroke width, and the photos have paper, light and a camera.
"""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

# The strokes of each digit, as the points that a pen goes through: x to the right and y down, in a box of side 1. A
# digit that people write in several ways has several templates.
TEMPLATES = {
    0: [
        [
            [(0.5, 0), (0.12, 0.2), (0, 0.55), (0.2, 0.9), (0.55, 1), (0.9, 0.8), (1, 0.4), (0.8, 0.1), (0.5, 0)],
        ],
    ],
    1: [
        [
            [(0.5, 0), (0.5, 0.5), (0.5, 1)],
        ],
        [
            [(0.25, 0.25), (0.4, 0.13), (0.53, 0)],
            [(0.53, 0), (0.53, 0.5), (0.53, 1)],
        ],
    ],
    2: [
        [
            [(0.08, 0.25), (0.25, 0.04), (0.6, 0), (0.85, 0.2), (0.72, 0.5), (0.4, 0.78), (0.05, 1)],
            [(0.05, 1), (0.5, 0.98), (0.95, 1)],
        ],
    ],
    3: [
        [
            [(0.1, 0.12), (0.4, 0), (0.75, 0.06), (0.82, 0.28), (0.62, 0.44), (0.35, 0.48)],
            [(0.35, 0.48), (0.72, 0.52), (0.92, 0.72), (0.75, 0.94), (0.4, 1), (0.06, 0.88)],
        ],
    ],
    4: [
        [
            [(0.3, 0), (0.2, 0.3), (0.05, 0.6)],
            [(0.05, 0.6), (0.5, 0.6), (0.95, 0.58)],
            [(0.72, 0.15), (0.7, 0.6), (0.68, 1)],
        ],
        [
            [(0.68, 0), (0.4, 0.3), (0.03, 0.66)],
            [(0.03, 0.66), (0.5, 0.66), (0.95, 0.65)],
            [(0.68, 0), (0.68, 0.5), (0.67, 1)],
        ],
    ],
    5: [
        [
            [(0.9, 0), (0.55, 0.02), (0.22, 0.02)],
            [(0.22, 0.02), (0.18, 0.22), (0.14, 0.42)],
            [(0.14, 0.42), (0.45, 0.35), (0.8, 0.45), (0.92, 0.7), (0.72, 0.94), (0.38, 1), (0.05, 0.9)],
        ],
    ],
    6: [
        [
            [(0.72, 0), (0.38, 0.15), (0.12, 0.5), (0.1, 0.8), (0.38, 1), (0.75, 0.95), (0.9, 0.72)],
            [(0.9, 0.72), (0.7, 0.52), (0.38, 0.54), (0.12, 0.75)],
        ],
    ],
    7: [
        [
            [(0.05, 0.04), (0.5, 0.02), (0.92, 0.02)],
            [(0.92, 0.02), (0.62, 0.4), (0.4, 1)],
        ],
        [
            [(0.05, 0.04), (0.5, 0.02), (0.92, 0.02)],
            [(0.92, 0.02), (0.62, 0.4), (0.4, 1)],
            [(0.32, 0.52), (0.6, 0.5), (0.86, 0.49)],
        ],
    ],
    8: [
        [
            [(0.82, 0.14), (0.5, 0), (0.2, 0.12), (0.24, 0.34), (0.52, 0.48), (0.82, 0.66), (0.84, 0.9), (0.5, 1)],
            [(0.5, 1), (0.14, 0.9), (0.16, 0.66), (0.5, 0.48), (0.76, 0.34), (0.82, 0.14)],
        ],
    ],
    9: [
        [
            [(0.85, 0.2), (0.6, 0), (0.22, 0.08), (0.1, 0.32), (0.3, 0.52), (0.65, 0.46), (0.85, 0.2)],
            [(0.85, 0.2), (0.82, 0.6), (0.74, 1)],
        ],
        [
            [(0.85, 0.2), (0.6, 0), (0.22, 0.08), (0.1, 0.32), (0.3, 0.52), (0.65, 0.46), (0.85, 0.2)],
            [(0.85, 0.2), (0.88, 0.6), (0.72, 0.92), (0.4, 1), (0.15, 0.9)],
        ],
    ],
}  # fmt: skip

INKS = [(20, 20, 25), (25, 45, 130), (170, 30, 40), (30, 100, 60), (70, 70, 75)]
PAPERS = [(245, 243, 238), (250, 240, 205), (225, 235, 245), (240, 240, 240), (205, 190, 160)]


def smooth(points: np.ndarray) -> np.ndarray:
    """A Catmull-Rom curve through the points."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, 16)[:, None]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.concatenate(pieces)


def curves(digit: int, random: np.random.Generator) -> list[np.ndarray]:
    """One way to write `digit`, about (0, 0), with a height of about 1."""
    template = TEMPLATES[digit][random.integers(len(TEMPLATES[digit]))]
    moved = {}  # points where two strokes meet stay together
    for stroke in template:
        for point in stroke:
            moved.setdefault(point, np.array(point) - 0.5 + random.normal(0, 0.02, 2))
    aspect, slant, angle = random.uniform(0.5, 0.85), random.normal(0, 0.15), np.radians(random.normal(0, 4))
    shape = np.array([[aspect, -slant], [0, 1]])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return [smooth(np.array([moved[point] for point in stroke])) @ (rotation @ shape).T for stroke in template]


def ink_mask(size: tuple[int, int], lines: list[np.ndarray], height: float, width: float, centre) -> Image.Image:
    """An "L" image of `size`, 255 where a round pen of `width` pixels went, the digit `height` pixels high."""
    scale = 4 if max(size) < 1000 else 2  # drawn larger, for anti-aliased edges
    drawn = Image.new("L", (scale * size[0], scale * size[1]))
    pen, radius = ImageDraw.Draw(drawn), scale * width / 2
    for line in lines:
        points = [tuple(point) for point in scale * (line * (height - width) + np.array(centre))]
        pen.line(points, fill=255, width=max(1, round(2 * radius)))
        for x, y in points:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return drawn.reduce(scale)


def ring(width: float, height: float, pen: float, side: int = 200) -> Image.Image:
    """A zero in dark ink that is its own mirror image, in both directions and pixel by pixel."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    distance = np.abs(np.hypot(2 * x / width, 2 * y / height) - 1) * min(width, height) / 2
    ink = np.clip(pen / 2 + 0.5 - distance, 0, 1)
    return Image.fromarray((255 * (1 - ink)).round().astype(np.uint8))


def drawing(digit: int, random: np.random.Generator) -> Image.Image:
    """Ink of one colour on plain paper of another, dark on light or light on dark."""
    side = int(random.integers(60, 400))
    height = side * random.uniform(0.35, 0.8)
    centre = np.array([side, side]) / 2 + random.uniform(-0.08, 0.08, 2) * side
    mask = ink_mask((side, side), curves(digit, random), height, height * random.uniform(0.04, 0.16), centre)
    ink, paper = INKS[random.integers(len(INKS))], PAPERS[random.integers(len(PAPERS))]
    if random.random() < 0.3:
        ink, paper = paper, ink
    return Image.composite(Image.new("RGB", mask.size, ink), Image.new("RGB", mask.size, paper), mask)


def photo(digit: int | None, random: np.random.Generator) -> Image.Image:
    """A digit on paper, as a phone takes it: texture, uneven light, a soft shadow, perspective, blur, noise, JPEG.

    None is a blank sheet.
    """
    longest = int(300 * 10 ** random.beta(0.7, 2.4))  # 300 to 3000 pixels, large ones less often
    size = (longest, int(longest * 0.75)) if random.random() < 0.5 else (int(longest * 0.75), longest)
    share = random.uniform(0.1, 0.8)
    height = share * size[1] if size[1] < size[0] else min(share * size[1], 0.8 * size[0])
    room = np.maximum((np.array(size) - 1.25 * height) / 2, 0)
    centre = np.array(size) / 2 + random.uniform(-0.9, 0.9, 2) * room
    width = max(height * np.exp(random.uniform(np.log(0.025), np.log(0.15))), 1.5)
    mask = ink_mask(size, [] if digit is None else curves(digit, random), height, width, centre)
    mask = mask.transform(size, Image.Transform.PERSPECTIVE, _perspective(size, random), Image.Resampling.BILINEAR)

    ink, paper = (np.array(c[random.integers(len(c))], np.float32) for c in (INKS, PAPERS))
    opacity = (np.asarray(mask, np.float32) / 255)[..., None] * random.uniform(0.75, 1)
    fibres = 1 + random.uniform(0, 0.03) * _cloud(size, max(longest // 3, 100), random)[..., None]
    sheet = (paper * fibres) * (1 - opacity) + ink * opacity
    light = 1 + random.uniform(0, 0.12) * _cloud(size, 3, random)
    edge = np.clip((_cloud(size, 2, random) - random.uniform(0, 1)) * random.uniform(1, 4), 0, 1)
    light *= 1 - random.uniform(0, 0.45) * edge
    lit = Image.fromarray((sheet * light[..., None] * random.uniform(0.7, 1)).clip(0, 255).astype(np.uint8))
    lit = lit.filter(ImageFilter.GaussianBlur(float(random.uniform(0, 0.25) * width)))
    noisy = np.asarray(lit, np.float32) + random.uniform(0, 8) * random.standard_normal((*size[::-1], 1), np.float32)
    stored = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stored, "JPEG", quality=int(random.integers(40, 95)))
    return Image.open(stored)


def _cloud(size: tuple[int, int], cells: int, random: np.random.Generator) -> np.ndarray:
    """A (height, width) field of about zero mean and unit deviation that changes over 1/`cells` of the picture."""
    noise = Image.fromarray(random.standard_normal((cells + 1, cells + 1), np.float32))
    return np.asarray(noise.resize(size, Image.Resampling.BICUBIC))


def _perspective(size: tuple[int, int], random: np.random.Generator) -> list[float]:
    """The eight coefficients with which a sheet is seen slightly from a side."""
    width, height = size
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
    seen = corners + random.uniform(-0.06, 0.06, (4, 2)) * size
    rows = []
    for (x, y), (u, v) in zip(corners, seen, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    return np.linalg.solve(np.array(rows), seen.ravel()).tolist()


def many(draw, count: int, seed: int) -> Iterator[tuple[Image.Image, int]]:
    """`count` pictures and their digits, the ten in turn."""
    random = np.random.default_rng(seed)
    for i in range(count):
        yield draw(i % 10, random), i % 10
