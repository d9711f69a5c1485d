"""Records that once stopped all partitions are an outcome each, and no command waits for them."""

import pytest

from tests.attacks.listed import RECORDS, UNPACKED, records
from tests.attacks.target import PARTITION, Target
from tests.large_records import put_squeezed
from tests.orders import Orders

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", UNPACKED)
async def test_batches_that_unpack_to_much(under_attack: Target, name: str) -> None:
    """Records that only compression makes small are dead letters."""
    key = Orders().run_id.encode()
    put = put_squeezed(under_attack.place, PARTITION, [(key, size) for size in UNPACKED[name]])

    places = await under_attack.attack(name, put)

    buried = await under_attack.place.db.fetchval(
        'select count(*) from dead_letter where partition = $1 and "offset" >= $2', *places[0]
    )
    assert buried > 0


@pytest.mark.parametrize("name", RECORDS)
async def test_records_that_grow(under_attack: Target, name: str) -> None:
    """Commands that grow, or that take long to read."""
    await under_attack.attack(name, await under_attack.elsewhere(records, name))
