"""The most frequent items of a stream of any length, in bounded memory."""

from typing import Any


class Frequent:
    """Counts of items, exact while there are at most ``capacity`` distinct ones.

    Beyond that a summary after Misra and Gries (1982), merged as Agarwal et al. show (Mergeable Summaries, 2012): an
    item's true count is at least the one that is held and at most ``error`` more, where ``error`` is at most
    ``total / (capacity + 1)``; an item that is not held occurs at most ``error`` times. The same items in the same
    order always give the same summary.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, is {capacity}")
        self.capacity, self.total, self.error = capacity, 0, 0
        self._held: dict[str, tuple[int, str]] = {}  # item -> count, id of an example

    def add(self, item: str, count: int, example: str) -> None:
        """Adds ``count`` to an item; of the examples of an item the first is kept."""
        held = self._held.get(item)
        self._held[item] = (count, example) if held is None else (held[0] + count, held[1])
        self.total += count
        if len(self._held) >= 2 * self.capacity:  # not at every item too many: pruning costs a sort
            self._prune()

    def _prune(self) -> None:
        if len(self._held) <= self.capacity:
            return
        taken = sorted((count for count, _ in self._held.values()), reverse=True)[self.capacity]
        self._held = {item: (count - taken, id_) for item, (count, id_) in self._held.items() if count > taken}
        self.error += taken

    def merge(self, stored: dict[str, Any]) -> None:
        """Adds another summary, as its ``to_json`` gave it."""
        total = self.total + stored["total"]  # which is more than the held counts sum to where items were let go
        for item, count, example in stored["items"]:
            self.add(item, count, example)
        self.total, self.error = total, self.error + stored["error"]

    def to_json(self) -> dict[str, Any]:
        """All that is held, at most ``capacity`` items ``[item, count, example]``, the most frequent first."""
        self._prune()
        items = [[item, count, example] for item, (count, example) in self._held.items()]
        items.sort(key=lambda one: (-one[1], one[0]))
        return {"total": self.total, "error": self.error, "items": items}
