"""A bounded priority buffer that breaks ties as Java's `PriorityQueue` does, so that `:topk` keeps the same lines."""

from __future__ import annotations

from collections.abc import Sequence


class Bounded:
    """Keeps the `size` items with the smallest keys. Of equal keys the one that came first stays, except that the item
    at the head of the heap is the first to go when a better one comes."""

    def __init__(self, size: int, keys: Sequence[float]) -> None:
        self._size, self._keys = size, keys
        self.items: list[int] = []

    def add(self, item: int) -> int | None:
        """Offer an item; gives the one that is left out, if any."""
        if len(self.items) < self._size:
            self.items.append(item)
            self._up(len(self.items) - 1)
            return None
        worst = self.items[0]
        if self._keys[item] >= self._keys[worst]:
            return item
        last = self.items.pop()
        if self.items:
            self.items[0] = last
            self._down()
        self.items.append(item)
        self._up(len(self.items) - 1)
        return worst

    def _up(self, k: int) -> None:
        items, keys = self.items, self._keys
        item = items[k]
        while k > 0:
            parent = (k - 1) // 2
            if keys[item] <= keys[items[parent]]:
                break
            items[k] = items[parent]
            k = parent
        items[k] = item

    def _down(self) -> None:
        items, keys = self.items, self._keys
        item, k, n = items[0], 0, len(items)
        while k < n // 2:
            child = 2 * k + 1
            if child + 1 < n and keys[items[child + 1]] > keys[items[child]]:
                child += 1
            if keys[item] >= keys[items[child]]:
                break
            items[k] = items[child]
            k = child
        items[k] = item
