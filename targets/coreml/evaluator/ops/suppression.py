"""Non-maximum suppression of boxes (centre x, centre y, width, height)."""

from __future__ import annotations

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, evaluates

_BOXES_FIRST = ("CoreML5", "CoreML6")
"""Opsets with boxes [n, B, 4], a score threshold, and a fourth output; from iOS 17 on boxes are [n, 4, B]."""


def _overlaps(box: Array, others: Array) -> Array:
    """Intersection over union of one box with others; 0 for boxes without area."""
    low, high = box[:2] - box[2:] / 2, box[:2] + box[2:] / 2
    lows, highs = others[:, :2] - others[:, 2:] / 2, others[:, :2] + others[:, 2:] / 2
    common = np.maximum(0, np.minimum(high, highs) - np.maximum(low, lows)).prod(axis=1)
    union = box[2:].prod() + others[:, 2:].prod(axis=1) - common
    overlaps: Array = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return overlaps


def _selected(boxes: Array, scores: Array, iou: float, least: float, most: int, by_class: bool) -> list[int]:
    """Indices of the boxes that stay, best first. A box counts with its best class.

    Where no box reaches the least score the best one stays, as in the reference of Apple's tests.
    """
    best, kinds = scores.max(axis=1), scores.argmax(axis=1)
    order = [int(index) for index in np.argsort(-best, kind="stable") if best[index] >= least]
    kept: list[int] = []
    while order and len(kept) < most:
        chosen, *order = order
        kept.append(chosen)
        rivals = _overlaps(boxes[chosen], boxes[order]) > iou
        if by_class:
            rivals &= kinds[order] == kinds[chosen]
        order = [index for index, rival in zip(order, rivals, strict=True) if not rival]
    return kept or [int(best.argmax())]


@evaluates("non_maximum_suppression")
def non_maximum_suppression(call: Call) -> tuple[Array, ...]:
    """Boxes, scores, indices of those that stay, padded with 0 (indices with -1); before iOS 17 also their number."""
    boxes_first = call.opset in _BOXES_FIRST
    boxes, scores = call.array("boxes"), call.array("scores")
    if not boxes_first:
        boxes, scores = boxes.swapaxes(1, 2), scores.swapaxes(1, 2)
    iou, by_class = call.number("iou_threshold"), call.flag("per_class_suppression", False)
    least = call.number("score_threshold") if boxes_first else -np.inf
    count, (most,) = len(boxes), call.room((call.integer("max_boxes"),))
    found_boxes = np.zeros((count, most, 4), np.float32)
    found_scores = np.zeros((count, most, scores.shape[2]), np.float32)
    indices, numbers = np.full((count, most), -1, np.int32), np.zeros(count, np.int32)
    for item in range(count):
        kept = _selected(boxes[item], scores[item], iou, least, most, by_class)
        numbers[item] = len(kept)
        found_boxes[item, : len(kept)] = boxes[item][kept]
        found_scores[item, : len(kept)] = scores[item][kept]
        indices[item, : len(kept)] = kept
    if boxes_first:
        return found_boxes, found_scores, indices, numbers
    return found_boxes.swapaxes(1, 2), found_scores.swapaxes(1, 2), indices
