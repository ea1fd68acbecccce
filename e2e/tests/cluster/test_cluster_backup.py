"""The backup and restore commands of docs/operations.md work as they are written."""

import os
from pathlib import Path

import pytest
from devtools.doc_checks import examples, run
from devtools.shop_client import Person, Shop
from ecommerce_client import ProblemError
from shop_e2e.cluster.kubectl import Namespace, write_kubeconfig

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_OPERATIONS = Path(__file__).parents[3] / "docs/operations.md"
_WITHIN = 420.0


async def test_a_restored_shop_has_the_state_of_its_backup(
    namespace: Namespace, shop: Shop, admin: Person, tmp_path: Path
) -> None:
    functions, back_up, restore, *_ = examples(_OPERATIONS)
    environment = _operators(tmp_path)
    _, product = await shop.stocked_product(admin, 10)
    customer = await shop.register()
    kept = await customer.buy((product, 1))

    await run([functions, back_up], environment, _WITHIN)
    await shop.wait_until_healthy()
    await customer.buy((product, 2))
    late_comer = await shop.register()
    await run([functions, restore], environment, _WITHIN)

    await shop.wait_until_healthy()
    assert [order.id for order in await customer.orders()] == [kept.id]
    assert (await shop.stock(product)).available == 9
    with pytest.raises(ProblemError, match="wrong_credentials"):
        await shop.log_in(late_comer.email, late_comer.password)
    await customer.buy((product, 9))
    namespace.wait_ready("shop")


def _operators(home: Path) -> dict[str, str]:
    """The environment of a platform engineer whose kubeconfig has the cluster, with an empty home folder."""
    kubeconfig = home / "kubeconfig"
    write_kubeconfig(kubeconfig)
    return {**os.environ, "HOME": str(home), "KUBECONFIG": str(kubeconfig)}
