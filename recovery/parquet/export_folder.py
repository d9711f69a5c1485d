"""The folder of an export: `<folder>/day=YYYY-MM-DD/<number>.parquet`, and its position.

A commit writes its files under other names, then renames the new position over the old one, and
then gives the files their names. A process that is killed before that rename leaves nothing, and
after it the next one gives the rest of the files their names: each row is there once.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from execstream.client.event_batches import EventPosition
from execstream.recovery.folders import make_folder, sync_folder
from execstream.streams.errors import Fatal

FORMAT = 1
_POSITION = "position.json"
_PART = ".part"


class NotThisExport(Fatal):
    """The folder has an export of another kind or topic, or of a newer version."""


class State(msgspec.Struct, frozen=True):
    """The position of an export.

    Attributes:
        origin: cluster, topic and id of the topic.
        number: of the last commit.
        positions: by partition of the events topic.
        files: of the last commit, below the folder.
    """

    kind: str
    origin: tuple[str, str, str]
    number: int = 0
    positions: dict[int, EventPosition] = {}
    files: list[str] = []
    format: int = FORMAT


class ExportFolder:
    """The export in `folder`, which the caller has alone."""

    def __init__(self, folder: Path, kind: str, origin: tuple[str, str, str]) -> None:
        """Finish the last commit. Raises NotThisExport."""
        self.folder = folder
        self.state = self._read() or State(kind, origin)
        known = (self.state.format, self.state.kind, self.state.origin)
        if known != (FORMAT, kind, origin):
            raise NotThisExport(
                f"{folder} has an export of {self.state.kind} from topic {self.state.origin[1]} "
                f"({self.state.origin[2]}), format {self.state.format}; this would be one of "
                f"{kind} from {origin[1]} ({origin[2]}), format {FORMAT}: export to another folder."
            )
        self._give_names()
        for part in folder.glob(f"*/*{_PART}"):
            part.unlink()

    def commit(
        self, tables: Mapping[str, pa.Table], positions: Mapping[int, EventPosition]
    ) -> list[Path]:
        """Add tables, by day, and move to `positions`; the new files."""
        number = self.state.number + 1
        files = {f"day={day}/{number:012}.parquet": table for day, table in tables.items()}
        for name, table in files.items():
            self._write(self.folder / name, table)
        self.state = msgspec.structs.replace(
            self.state, number=number, positions=dict(positions), files=list(files)
        )
        part = self.folder / f"{_POSITION}{_PART}"
        with part.open("wb") as file:
            file.write(msgspec.json.encode(self.state))
            file.flush()
            os.fsync(file.fileno())
        part.rename(self.folder / _POSITION)
        sync_folder(self.folder)
        self._give_names()
        return [self.folder / name for name in files]

    def _write(self, path: Path, table: pa.Table) -> None:
        make_folder(path.parent)
        with _part_of(path).open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)

    def _give_names(self) -> None:
        for path in (self.folder / name for name in self.state.files):
            if _part_of(path).exists():
                _part_of(path).rename(path)
                sync_folder(path.parent)

    def _read(self) -> State | None:
        path = self.folder / _POSITION
        try:
            return msgspec.json.decode(path.read_bytes(), type=State)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise NotThisExport(f"{path} cannot be read ({error}).") from error


def _part_of(path: Path) -> Path:
    return path.with_name(path.name + _PART)
