"""How often rows name pictures, how many different ones, and how many are missing: known before any is opened."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureCount:
    """Of a source: rows' mentions of pictures, different paths among them, mentions of missing ones, and the first of those."""

    source: str
    named: int
    different: int
    missing: int
    first_missing: str = ""

    @property
    def sharing(self) -> float:
        """How many mentions a picture has on average: as often it stands in the shards."""
        return self.named / max(1, self.different)


@dataclass(slots=True)
class Mentions:
    """The mentions of a source while rows are read. Paths are kept as numbers of 64 bits, for there are millions."""

    named: int = 0
    missing: int = 0
    first_missing: str = ""
    _paths: set[int] = field(default_factory=set)

    def add(self, path: str, *, row: int, is_there: bool) -> None:
        """Count a mention of a row, whose number is that in its file."""
        self.named += 1
        if not is_there:
            self.missing += 1
            self.first_missing = self.first_missing or f"{path} of row {row}"
        self._paths.add(hash(path))

    def count(self, source: str) -> PictureCount:
        """The counts so far."""
        return PictureCount(
            source=source,
            named=self.named,
            different=len(self._paths),
            missing=self.missing,
            first_missing=self.first_missing,
        )
