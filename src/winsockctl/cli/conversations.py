"""The conversations of a running capture: rates interval by interval, and totals."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from winsockctl.cli.counts import Amount, conversation_name

if TYPE_CHECKING:
    from winsockctl.cli.counts import Counts

HISTORY = 60  # intervals
# A port scan makes a conversation of each datagram; no more of them are remembered one by one.
_MOST = 10_000


class Conversation:
    """How much both ends said to each other."""

    def __init__(self, key: bytes) -> None:
        self.name = conversation_name(key)
        self.total = Amount()
        self.rates: deque[float] = deque(maxlen=HISTORY)
        """Bytes a second, the latest last."""

    @property
    def rate(self) -> float:
        """Bytes a second in the last interval."""
        return self.rates[-1]


class Conversations:
    """All of them; ``forgotten`` is what those had that are not told apart any more."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, Conversation] = {}
        self.total = Amount()
        self.rate = self.datagram_rate = 0.0
        self.forgotten = Amount()

    def __len__(self) -> int:
        return len(self._by_key)

    def tick(self, counts: Counts, seconds: float) -> None:
        """Take what was counted in an interval of so many seconds."""
        total = counts.total
        self.total.add(total.datagrams, total.bytes)
        self.rate, self.datagram_rate = total.bytes / seconds, total.datagrams / seconds
        for key in counts.conversations.keys() - self._by_key.keys():
            self._by_key[key] = Conversation(key)
        for key, conversation in self._by_key.items():
            amount = counts.conversations.get(key)
            conversation.rates.append(amount.bytes / seconds if amount else 0.0)
            if amount:
                conversation.total.add(amount.datagrams, amount.bytes)
        if len(self._by_key) > _MOST:
            self._forget()

    def busiest(self) -> list[Conversation]:
        """Return them by how much they had lately, then by how much altogether."""
        return [conversation for _, conversation in self._ordered()]

    def _ordered(self) -> list[tuple[bytes, Conversation]]:
        return sorted(
            self._by_key.items(),
            key=lambda item: (sum(item[1].rates), item[1].total.bytes),
            reverse=True,
        )

    def _forget(self) -> None:
        for key, conversation in self._ordered()[_MOST // 2 :]:
            self.forgotten.add(conversation.total.datagrams, conversation.total.bytes)
            del self._by_key[key]
