"""Which sender an event is accepted from."""

import pytest
from chassis.errors import ForgedEvent
from chassis.messaging.senders import PRODUCER, BrokerUser, Origin
from chassis.messaging.topology import load_topology

TOPOLOGY = load_topology()
PLACED = TOPOLOGY.events["order.placed.v1"]
INVENTORY = BrokerUser("inventory", "inventory")


def origin(user: str | None, exchange: str = TOPOLOGY.exchange, key: str = PLACED.name, named: object = None) -> Origin:
    return Origin(user, exchange, key, {PRODUCER: named} if named else {})


def is_accepted(user: BrokerUser, message: Origin) -> bool:
    try:
        user.require_producer(PLACED, message, TOPOLOGY)
    except ForgedEvent:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("order", True),
        ("2.order", True),
        ("a.order", True),
        ("a.2.order", True),
        ("shop", False),
        ("order.a", False),
    ],
)
def test_a_user_is_a_services_own_if_it_is_named_for_it(name: str, own: bool) -> None:
    assert BrokerUser(name, "order").is_own is own


def test_an_event_is_accepted_from_its_producer_alone() -> None:
    assert is_accepted(INVENTORY, origin("order"))
    assert not is_accepted(INVENTORY, origin("payment"))
    assert not is_accepted(INVENTORY, origin("shop"))
    assert not is_accepted(INVENTORY, origin("inventory"))


@pytest.mark.parametrize("shop", ["", "a."])
@pytest.mark.parametrize("own", ["inventory", "2.inventory"])
def test_both_users_of_a_producer_are_accepted_by_both_users_of_a_consumer(shop: str, own: str) -> None:
    ours = BrokerUser(f"{shop}{own}", "inventory")
    for user in ("order", "2.order"):
        assert is_accepted(ours, origin(f"{shop}{user}"))
        for consumer in ("inventory", "2.inventory"):
            retry = origin(f"{shop}{consumer}", "inventory.retry", "inventory", named=f"{shop}{user}")
            assert is_accepted(ours, retry)
    assert not is_accepted(ours, origin(f"{shop}2.payment"))
    assert not is_accepted(ours, origin("b.2.order"))


def test_users_of_another_shop_on_the_same_broker_are_strangers() -> None:
    ours = BrokerUser("a.inventory", "inventory")
    assert is_accepted(ours, origin("a.order"))
    assert not is_accepted(ours, origin("b.order"))
    assert not is_accepted(ours, origin("order"))


@pytest.mark.parametrize("own", ["inventory", "2.inventory"])
def test_a_shop_whose_name_ends_in_2_is_not_another_shop_s_second_user(own: str) -> None:
    ours = BrokerUser(f"x2.{own}", "inventory")
    for user in ("order", "2.order"):
        assert is_accepted(ours, origin(f"x2.{user}"))
        assert not is_accepted(ours, origin(f"x.{user}"))
    assert not is_accepted(BrokerUser(f"x.{own}", "inventory"), origin("x2.order"))
    assert not is_accepted(ours, origin("xorder"))


def test_only_the_consumer_itself_may_say_that_another_service_sent_a_message() -> None:
    assert is_accepted(INVENTORY, origin("inventory", "inventory.retry", "inventory", named="order"))
    assert not is_accepted(INVENTORY, origin("inventory", "inventory.retry", "inventory", named="payment"))
    assert not is_accepted(INVENTORY, origin("payment", named="order"))
    assert not is_accepted(INVENTORY, origin("inventory", named=1))


def test_a_message_of_the_release_before_is_accepted_by_its_key_or_from_the_services_waiting_queues() -> None:
    assert is_accepted(INVENTORY, origin(None))
    assert is_accepted(INVENTORY, origin(None, "inventory.retry", "inventory"))
    assert not is_accepted(INVENTORY, origin(None, key="payment.completed.v1"))
    assert not is_accepted(INVENTORY, origin(None, key="unknown"))
    assert not is_accepted(INVENTORY, origin(None, exchange=""))
    assert not is_accepted(INVENTORY, origin(None, exchange="order.retry", key="inventory"))


def test_with_one_user_for_all_services_no_sender_is_checked() -> None:
    shared = BrokerUser("shop", "inventory")
    assert is_accepted(shared, origin("payment"))
    assert is_accepted(shared, origin(None, exchange=""))
