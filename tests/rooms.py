"""The rooms of the package, and the modules in them."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "execstream"
ROOMS = tuple(sorted(link.name for link in PACKAGE.iterdir() if link.is_symlink()))
MODULES = tuple(
    sorted(
        (*PACKAGE.glob("*.py"), *(file for room in ROOMS for file in (ROOT / room).rglob("*.py")))
    )
)
