"""Which names a device resolved to which addresses: from the DNS answers that it received itself."""

from __future__ import annotations

from typing import Final

from thingward.model.observation import DnsData

NAMES_PER_ADDRESS: Final = 4


def answered_addresses(data: DnsData) -> list[str]:
    """Give the addresses that an answer has for its question; only records that hang together with it count."""
    if data.rcode != 0 or data.transport != "dns" or not data.answers:
        return []
    owners = {data.qname}
    found = []
    for answer in data.answers:
        if answer.name in owners:
            if answer.rrtype == "CNAME":
                owners.add(answer.value)
            elif answer.rrtype in ("A", "AAAA"):
                found.append(answer.value)
    return found


class NameBook:
    """Names per (device, address), newest first, bounded per device; the address unused longest goes first."""

    def __init__(self, addresses: int) -> None:
        self._limit = addresses
        self._books: dict[str, dict[str, tuple[str, ...]]] = {}
        self.dropped = 0

    def learn(self, device: str, data: DnsData) -> None:
        """Take an answer that this device received."""
        addresses = answered_addresses(data)
        if addresses:
            book = self._books.setdefault(device, {})
            for address in addresses:
                self._note(book, address, data.qname)

    def _note(self, book: dict[str, tuple[str, ...]], address: str, name: str) -> None:
        known = book.pop(address, ())
        if known[:1] != (name,):
            known = (name, *(other for other in known if other != name))[:NAMES_PER_ADDRESS]
        book[address] = known
        if len(book) > self._limit:
            book.pop(next(iter(book)))
            self.dropped += 1

    def of(self, device: str) -> dict[str, tuple[str, ...]] | None:
        """Give a device's book: address to names."""
        return self._books.get(device)

    def move(self, old: str, new: str) -> None:
        """Hand one device's names over to another: they turned out to be the same."""
        book = self._books.pop(old, None)
        if book is not None:
            kept = self._books.setdefault(new, {})
            for address, names in book.items():
                kept.setdefault(address, names)

    def drop(self, device: str) -> None:
        """Forget a device."""
        self._books.pop(device, None)

    def state(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Give everything, for a snapshot."""
        return self._books

    def restore(self, state: dict[str, dict[str, tuple[str, ...]]]) -> None:
        """Take what `state` gave."""
        self._books = state
