"""`expiresAt`: tokens end at that moment by themselves; the stored status follows, so that lists and watchers say it too."""

from datetime import timedelta

from issuer.model.times import format_time
from tests.administration.paths import ACCOUNT, account_path
from tests.administration.watching import running_feed, watching
from tests.world import World


async def test_an_account_whose_moment_has_come_is_listed_and_watched_as_expired(world: World) -> None:
    expires_at = format_time(world.clock.now() + timedelta(minutes=1))
    client = await world.account("a", expiresAt=expires_at)
    await world.account("b")
    before = (await world.admin.get(ACCOUNT)).json()
    version = before["metadata"]["resourceVersion"]
    async with running_feed(world), watching(world, ACCOUNT, resourceVersion=version) as watch:
        watch.objects = {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in before["items"]}
        await world.issuer.resources.restate_expired()
        world.clock.advance(minutes=1, seconds=1)
        assert (await client.token()).status_code == 401
        listed = (await world.admin.get(ACCOUNT)).json()
        assert listed["metadata"]["resourceVersion"] == version
        await world.issuer.resources.restate_expired()
        event = await watch.next()
        assert event is not None
        stored = (await world.admin.get(ACCOUNT)).json()["items"]
        assert event == {"type": "MODIFIED", "object": stored[0]}
        assert [item["status"]["phase"] for item in stored] == ["Expired", "Active"]
        ready = next(each for each in stored[0]["status"]["conditions"] if each["type"] == "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "Expired")
        await world.issuer.resources.restate_expired()
        assert (await world.admin.get(account_path("a"))).json()["metadata"]["resourceVersion"] == str(int(version) + 1)
