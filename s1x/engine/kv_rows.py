"""A key-value cache of rows: one sequence a row, each as long as it is, kept after its request.

Shapes: L layers, R rows, H key-value heads, T tokens, D head size. Rows 0 .. n - 1 are being
written; the rows after them are parked: sequences that have ended and whose beginning may be
wanted again, for the next segment (after a "Wait") or for an answer forked from it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

#: tokens by which a sequence's room grows at a time
_GROWTH = 1.5
_MIN_TOKENS = 64


class KeyValueRows:
    """The cache's memory and the token ids that stand in it.

    Args:
        shape: (L, H, D).
        max_rows: R at most.
        max_tokens: T at most.
        max_bytes: memory at most; R shrinks as T grows. One row of full length always fits.
        dtype, device: of keys and values.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        max_rows: int,
        max_tokens: int,
        max_bytes: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.shape, self.max_rows, self.max_tokens = shape, max_rows, max_tokens
        self.max_bytes, self.dtype, self.device = max_bytes, dtype, device
        layers, heads, size = shape
        self.num_tokens = min(_MIN_TOKENS, max_tokens)
        self.num_rows = self._rows_for(self.num_tokens, 1)
        #: (L, 2, R, H, T, D): keys and values
        self.memory = torch.zeros(
            (layers, 2, self.num_rows, heads, self.num_tokens, size), dtype=dtype, device=device
        )
        #: (R, T) ids and (R,) how many of a row's ids stand in the cache
        self.ids: NDArray[np.int32] = np.zeros((self.num_rows, self.num_tokens), dtype=np.int32)
        self.length: NDArray[np.int64] = np.zeros(self.num_rows, dtype=np.int64)
        self.last_use: NDArray[np.int64] = np.zeros(self.num_rows, dtype=np.int64)
        self._clock = 0

    def _rows_for(self, num_tokens: int, at_least: int) -> int:
        layers, heads, size = self.shape
        row_bytes = 2 * layers * heads * size * num_tokens * self.dtype.itemsize
        return max(at_least, min(self.max_rows, self.max_bytes // row_bytes))

    def common_prefix(self, ids: NDArray[np.int32]) -> tuple[int, int]:
        """The row that shares the longest beginning with `ids`, and its length in tokens."""
        most = min(len(ids), int(self.length.max()))
        if most == 0:
            return 0, 0
        differs = self.ids[:, :most] != ids[:most]
        first = np.where(differs.any(axis=1), differs.argmax(axis=1), most)
        shared = np.minimum(first, self.length)
        row = int(shared.argmax())
        return row, int(shared[row])

    def grow(self, num_tokens: int, num_active: int) -> None:
        """Makes room for rows of `num_tokens`; parked rows may be lost, those longest unused."""
        if num_tokens <= self.num_tokens:
            return
        assert num_tokens <= self.max_tokens, (num_tokens, self.max_tokens)
        wanted = min(self.max_tokens, max(num_tokens, int(self.num_tokens * _GROWTH)))
        rows = self._rows_for(wanted, num_active)
        keep = list(range(num_active))
        parked = sorted(range(num_active, self.num_rows), key=lambda r: -int(self.last_use[r]))
        keep += parked[: rows - num_active]
        layers, heads, size = self.shape
        memory = torch.zeros(
            (layers, 2, rows, heads, wanted, size), dtype=self.dtype, device=self.device
        )
        memory[:, :, : len(keep), :, : self.num_tokens] = self.memory[:, :, keep]
        ids = np.zeros((rows, wanted), dtype=np.int32)
        ids[: len(keep), : self.num_tokens] = self.ids[keep]
        length, last_use = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
        length[: len(keep)], last_use[: len(keep)] = self.length[keep], self.last_use[keep]
        self.memory, self.ids, self.length, self.last_use = memory, ids, length, last_use
        self.num_rows, self.num_tokens = rows, wanted

    def copy(self, source: int, target: int, num_tokens: int) -> None:
        """Makes row `target` begin with the first `num_tokens` of row `source`."""
        if source != target and num_tokens:
            self.memory[:, :, target, :, :num_tokens] = self.memory[:, :, source, :, :num_tokens]
            self.ids[target, :num_tokens] = self.ids[source, :num_tokens]
        self.length[target] = num_tokens
        self.touch(target)

    def swap(self, a: int, b: int) -> None:
        """Exchanges two rows."""
        if a == b:
            return
        most = int(max(self.length[a], self.length[b]))
        if most:
            kept = self.memory[:, :, a, :, :most].clone()
            self.memory[:, :, a, :, :most] = self.memory[:, :, b, :, :most]
            self.memory[:, :, b, :, :most] = kept
            self.ids[[a, b], :most] = self.ids[[b, a], :most]
        self.length[[a, b]] = self.length[[b, a]]
        self.last_use[[a, b]] = self.last_use[[b, a]]

    def drop(self, row: int, last: int) -> None:
        """Puts row `last` in the place of `row`, whose content nobody will want again."""
        if row != last:
            self.copy(last, row, int(self.length[last]))
        self.length[last] = 0

    def reorder(self, order: list[int]) -> None:
        """Puts the first rows into a new order: row i becomes what row `order[i]` was."""
        count, most = len(order), int(self.length[: len(order)].max())
        self.memory[:, :, :count, :, :most] = self.memory[:, :, order, :, :most]
        self.ids[:count, :most] = self.ids[order, :most]
        self.length[:count] = self.length[order]
        self.last_use[:count] = self.last_use[order]

    def oldest(self, first: int, spared: int = -1) -> int:
        """The row from `first` on that is unused for longest, other than `spared`."""
        ages = self.last_use[first:].copy()
        ages[self.length[first:] == 0] = -1
        if first <= spared < self.num_rows:
            ages[spared - first] = np.iinfo(np.int64).max
        return first + int(ages.argmin())

    def touch(self, row: int) -> None:
        """Notes that a row was just used."""
        self._clock += 1
        self.last_use[row] = self._clock


class RowsView:
    """What a transformers model takes as its cache for one forward pass over some rows.

    Args:
        rows: the cache.
        first, last: the rows that are passed, `first` to `last` - 1.
        positions: (rows, Q) where the new tokens stand.
        num_tokens: columns of the cache that are looked at.
    """

    is_compileable = False

    def __init__(
        self, rows: KeyValueRows, first: int, last: int, positions: torch.Tensor, num_tokens: int
    ) -> None:
        self.rows, self.first, self.last, self.num_tokens = rows, first, last, num_tokens
        self.positions = positions
        self._index = torch.arange(first, last, device=positions.device)[:, None]

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes (rows, H, Q, D) new keys and values; returns the (rows, H, T, D) seen by them."""
        memory = self.rows.memory[layer]
        for part, new in ((memory[0], keys), (memory[1], values)):
            part[self._index, :, self.positions] = new.transpose(1, 2)
        span = slice(self.first, self.last)
        seen = memory[:, span, :, : self.num_tokens]
        return seen[0], seen[1]

    def get_seq_length(self, layer: int = 0) -> int:
        """Tokens in the longest row; models ask for it, positions are given apart."""
        return self.num_tokens
