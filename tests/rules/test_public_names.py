"""What `execstream` offers: names that are imported when they are first used."""

import execstream


def test_every_public_name_leads_somewhere() -> None:
    """Each one in `__all__` is there, and no other is looked up."""
    assert {*execstream._MODULES, *execstream._MODULE_OF} == {*execstream.__all__}
    for name in execstream.__all__:
        assert getattr(execstream, name).__name__.split(".")[-1] == name


def test_modules_offer_what_they_list() -> None:
    """The modules among them list their names."""
    for name in ("buses", "models", "reads"):
        module = getattr(execstream, name)
        assert module.__all__
        assert all(hasattr(module, listed) for listed in module.__all__)
