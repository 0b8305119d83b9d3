"""Overlaps and suppression: values by hand, the notes' fixture, and what holds for any boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.decoding.boxes import areas, centre_form, corner_form, overlap, overlaps, owners, suppress

coordinate = st.integers(0, 40)
box = st.tuples(coordinate, coordinate, coordinate, coordinate).map(lambda b: [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])])


def boxes_of(rows):
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)


def test_the_notes_example_is_one_seventh():
    """Notes 003 fixtures, 004 T35."""
    assert overlap(boxes_of([0, 0, 2, 2]), boxes_of([1, 1, 3, 3])).item() == pytest.approx(1 / 7)


@settings(max_examples=40, deadline=None)
@given(st.lists(box, min_size=1, max_size=5), st.lists(box, min_size=1, max_size=5))
def test_an_overlap_counts_pixels(first, second):
    """Boxes of whole pixels: the intersection over the union of the sets of pixels."""
    found = overlaps(boxes_of(first), boxes_of(second))
    assert torch.equal(found, overlaps(boxes_of(second), boxes_of(first)).T)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            masks = np.zeros((2, 40, 40), dtype=bool)
            for mask, (x1, y1, x2, y2) in zip(masks, (a, b), strict=True):
                mask[y1:y2, x1:x2] = True
            union = int((masks[0] | masks[1]).sum())
            assert found[i, j].item() == pytest.approx(int((masks[0] & masks[1]).sum()) / union if union else 0.0)


@given(box)
def test_centre_form_and_back(one):
    assert torch.equal(corner_form(centre_form(boxes_of(one))), boxes_of(one))


def test_a_turned_inside_out_box_has_no_area():
    assert areas(boxes_of([[0, 0, 3, 2], [3, 2, 0, 0], [1, 1, 1, 5]])).tolist() == [6, 0, 0]


def by_the_book(boxes, labels, threshold):
    """The notes' loop: pick the best of what is left, drop its doubles, while any is left."""
    left, kept = list(range(len(boxes))), []
    while left:
        best, *rest = left
        kept.append(best)
        left = [i for i in rest if labels[i] != labels[best] or float(overlap(boxes[best], boxes[i])) <= threshold]
    return [i in kept for i in range(len(boxes))]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(box, st.integers(0, 1)), min_size=3, max_size=8), st.sampled_from([0.0, 0.3, 0.5]))
def test_suppression_is_the_loop_of_the_notes(rows, threshold):
    boxes, labels = boxes_of([b for b, _ in rows]), [label for _, label in rows]
    pair = torch.stack([boxes, boxes.flip(0)]), torch.tensor([labels, labels[::-1]])
    expected = [by_the_book(boxes, labels, threshold), by_the_book(boxes.flip(0), labels[::-1], threshold)]
    assert suppress(*pair, threshold).tolist() == expected


def test_a_dropped_box_drops_nothing():
    """B overlaps A and C, A and C hardly: A drops B, so C stays (erratum 004 E25 compares with boxes that are kept)."""
    chain = boxes_of([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])
    assert suppress(chain[None], torch.zeros(1, 3, dtype=torch.long), 0.4).tolist() == [[True, False, True]]


def test_owners_of_ragged_rows():
    assert owners(torch.tensor([0, 2, 2, 5]), 5).tolist() == [0, 0, 2, 2, 2]
