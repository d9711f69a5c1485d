"""Values that a reader of Kafka stepped over, because they are too large to be held."""


class OmittedValue(bytes):
    """Stands for the value of such a record, and is empty.

    Attributes:
        size: bytes of the value; of the record, where its key or its headers are what is large;
            None where the record was not unpacked, because its batch is too large.
        limit: how many bytes the reader takes, of a record or of a batch.
        offsets: of records that were not unpacked, of which it stands for all.
    """

    size: int | None
    limit: int
    offsets: range

    def __new__(cls, size: int | None, limit: int, offsets: range = range(1)) -> "OmittedValue":
        made = super().__new__(cls)
        made.size, made.limit, made.offsets = size, limit, offsets
        return made


def records_of(value: bytes | None) -> int:
    """How many records one with `value` stands for."""
    return len(value.offsets) if isinstance(value, OmittedValue) else 1
