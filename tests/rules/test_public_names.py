"""The names of `execstream`, which are imported on first use."""

import execstream


def test_every_public_name_leads_somewhere() -> None:
    """Each one in `__all__` is there, and no other is looked up."""
    assert {*execstream._MODULES, *execstream._MODULE_OF} == {*execstream.__all__}
    for name in execstream.__all__:
        assert getattr(execstream, name).__name__.split(".")[-1] == name


def test_pages_offer_what_they_import() -> None:
    """The modules among them have names."""
    for page in ("buses", "execution", "models", "queue", "reads"):
        assert [name for name in vars(getattr(execstream, page)) if not name.startswith("_")]
