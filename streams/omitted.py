"""Values that a reader of Kafka stepped over, because they are too large to be held."""


class OmittedValue(bytes):
    """Stands for the value of such a record, and is empty.

    Attributes:
        size: bytes of the value, or of the record where its key or its headers are too large; None
            where the record was not unpacked, because its batch is too large.
        limit: the most bytes that the reader takes, of a record or of a batch.
        offsets: of the records that were not unpacked and that this one stands for.
    """

    size: int | None
    limit: int
    offsets: range

    def __new__(cls, size: int | None, limit: int, offsets: range = range(1)) -> "OmittedValue":
        made = super().__new__(cls)
        made.size, made.limit, made.offsets = size, limit, offsets
        return made


def records_of(value: bytes | None) -> int:
    """The number of records that a record with `value` stands for."""
    return len(value.offsets) if isinstance(value, OmittedValue) else 1
