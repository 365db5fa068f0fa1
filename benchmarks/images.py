"""Synthetic labelled images whose statistics are close to those of photographs, made without any download.

The background is a dead-leaves image (Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 2001):
discs with a cubic power law of radii that occlude each other, which gives the 1/f spectrum *and* the edges and
heavy-tailed responses of photographs; Gaussian 1/f noise alone has no tails, and tails are what range selection is
about. A figure on top carries the label: one of four outlines times one of four surfaces.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

CLASSES = 16
_MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
_STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)


def labelled_images(count: int, size: int, seed: int) -> tuple[Floats, Ints]:
    """Images, shape (count, 3, size, size), normalized as ImageNet's, and labels, shape (count,), in [0, 16)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    images = np.stack([_image(int(label), size, rng) for label in labels])
    return ((images - _MEAN) / _STD).astype(np.float32), labels


def _image(label: int, size: int, rng: np.random.Generator) -> Floats:
    """One image, shape (3, size, size), in [0, 1]."""
    canvas = _dead_leaves(size, rng)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    radius = size * rng.uniform(0.28, 0.45)
    y, x = (rng.uniform(radius, size - radius) for _ in range(2))
    angle = rng.uniform(0, 2 * np.pi)
    u = ((columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)) / radius
    v = ((rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)) / radius
    surface = _surface(label // 4, u, v, rng)
    ink, paper = _colours(rng)
    figure = ink * surface + paper * (1 - surface)
    canvas = np.where(_outline(label % 4, u, v), figure, canvas)
    canvas *= 1 + 0.5 * rng.uniform(-1, 1) * (columns / size - 0.5) + 0.5 * rng.uniform(-1, 1) * (rows / size - 0.5)
    exposure, noise = np.exp(rng.normal(0, 0.35)), rng.normal(0, rng.uniform(0, 0.04), canvas.shape)
    image: Floats = np.clip(canvas * exposure + noise, 0, 1).astype(np.float32)
    return image


def _colours(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Two colours, each of shape (3, 1, 1), that differ in every channel."""
    first = rng.uniform(0, 1, (3, 1, 1))
    second = np.where(first > 0.5, first - rng.uniform(0.4, 0.5), first + rng.uniform(0.4, 0.5))
    return first.astype(np.float32), second.astype(np.float32)


def _dead_leaves(size: int, rng: np.random.Generator) -> Floats:
    """Discs painted over each other, shape (3, size, size); radii have density ~ r^-3, colours vary in brightness."""
    canvas = np.full((3, size, size), 0.45, np.float32)
    smallest, largest = size / 32, size / 1.5
    count = 80
    radii = 1 / np.sqrt(rng.uniform(largest**-2, smallest**-2, count))
    centres = rng.uniform(0, size, (count, 2))
    brightness, tint = rng.beta(1.2, 1.6, (count, 1)), rng.normal(0, 0.08, (count, 3))
    for radius, (y, x), colour in zip(radii, centres, brightness + tint, strict=True):
        top, left = max(0, int(y - radius)), max(0, int(x - radius))
        bottom, right = min(size, int(y + radius) + 2), min(size, int(x + radius) + 2)
        rows, columns = np.ogrid[top:bottom, left:right]
        inside = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        patch = canvas[:, top:bottom, left:right]
        patch[:, inside] = colour[:, None]
    return canvas


def _outline(kind: int, u: Floats, v: Floats) -> Bools:
    """Disc, square, triangle or ring within the unit circle of the figure's own axes."""
    squared = u**2 + v**2
    shapes: tuple[Bools, ...] = (
        squared <= 0.8,
        np.maximum(np.abs(u), np.abs(v)) <= 0.75,
        (v >= -0.5) & (v <= 1 - np.sqrt(3) * np.abs(u)),
        (squared <= 1) & (squared >= 0.35),
    )
    return shapes[kind]


def _surface(kind: int, u: Floats, v: Floats, rng: np.random.Generator) -> Floats:
    """Share of ink: plain, stripes, checks or speckles."""
    if kind == 0:
        return np.ones_like(u)
    pitch = rng.uniform(6, 9)
    inked: Bools = np.sin(pitch * u + rng.uniform(0, 6)) > 0
    if kind == 2:
        inked = inked ^ (np.sin(pitch * v) > 0)
    elif kind == 3:
        inked = rng.uniform(0, 1, u.shape) > 0.5
    return inked.astype(np.float32)
