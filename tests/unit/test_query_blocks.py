"""What is kept of complete hours: as much as may be, the longest unused goes first."""

from __future__ import annotations

import numpy as np

from query.cells import RawLines
from query.cube_cache import Blocks
from tocsin.model.asl.times import HOUR, MINUTE


def block(lines: int) -> RawLines:
    """An hour of some lines, 60 points each."""
    return RawLines([{"device": str(i)} for i in range(lines)], np.zeros((lines, 60)), [False] * lines, MINUTE)


def test_the_longest_unused_is_forgotten() -> None:
    """Three hours fit; the fourth takes the place of the one that was not asked for since."""
    blocks = Blocks(kept_points_max=3 * 2 * 60)
    keys = [(("plays",), i * HOUR) for i in range(4)]
    blocks.keep({key: block(2) for key in keys[:3]})
    blocks.keep(blocks.known(keys[:1]))
    blocks.keep({keys[3]: block(2)})
    assert set(blocks.known(keys)) == {keys[0], keys[2], keys[3]}


def test_what_is_too_large_is_not_kept() -> None:
    """A block beyond all that may be kept leaves nothing behind, and later ones fit again."""
    blocks = Blocks(kept_points_max=60)
    large, small = (("plays",), 0), (("plays",), HOUR)
    blocks.keep({large: block(2)})
    assert blocks.known([large]) == {}
    blocks.keep({small: block(1)})
    assert set(blocks.known([small])) == {small}


def test_a_block_kept_again_counts_once() -> None:
    """Using a block does not make it larger."""
    blocks = Blocks(kept_points_max=2 * 60)
    keys = [(("plays",), 0), (("plays",), HOUR)]
    for _ in range(3):
        blocks.keep({keys[0]: block(1)})
    blocks.keep({keys[1]: block(1)})
    assert set(blocks.known(keys)) == set(keys)
