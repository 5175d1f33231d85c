from support.messaging import Place, event, running
from support.waiting import eventually


async def test_a_message_goes_from_the_outbox_through_the_broker_to_its_handler(place: Place) -> None:
    await place.append([(f"k{n % 3}", event(n, key=f"k{n % 3}")) for n in range(30)])
    async with running(place.relay().run, place.consumer_of().run):
        await eventually(lambda: _count(place, 30), what="30 effects")
    assert await place.effects_by_key() == {f"k{k}": list(range(k, 30, 3)) for k in range(3)}
    assert await place.scalar("SELECT count(*) FROM outbox") == 0
    assert await place.committed_everything()


async def _count(place: Place, count: int) -> bool:
    return len(await place.effects()) >= count
