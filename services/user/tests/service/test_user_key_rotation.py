"""A new signing secret replaces the old one without ending a session or a mailed token."""

from chassis_testing.databases import migrated_database
from shopapi.events.v1.events_pb2 import UserRegistered
from user_harness import SECRET, fast_hashes, problem_code, serving, settings_for

NEW_SECRET = SECRET[::-1]


async def test_tokens_of_the_previous_secret_are_accepted_until_it_is_removed() -> None:
    async with migrated_database("user_service") as database:
        with fast_hashes():
            async with serving(settings_for(database, jwt_secret_next=NEW_SECRET)) as users:
                ada, eve = await users.register(), await users.register()
                mailed, forgotten = [await users.mailed_token(one.id, UserRegistered) for one in (ada, eve)]
            rotated = {"jwt_secret": NEW_SECRET, "jwt_secret_previous": SECRET}
            async with serving(settings_for(database, **rotated)) as users:
                assert await users.is_logged_in(ada)
                assert (await users.verify(mailed)).status_code == 204
                assert (await users.refresh(ada.tokens["refresh_token"])).status_code == 200
            async with serving(settings_for(database, jwt_secret=NEW_SECRET)) as users:
                answer = await users.http.get("/api/v1/users/me", headers=eve.bearer)
                assert problem_code(answer, 401) == "unauthenticated"
                assert problem_code(await users.verify(forgotten), 401) == "invalid_mail_token"
                assert (await users.refresh(eve.tokens["refresh_token"])).status_code == 200


async def test_a_token_that_was_mailed_with_the_next_secret_is_valid_at_pods_that_have_only_published_it() -> None:
    async with migrated_database("user_service") as database:
        with fast_hashes():
            following = {"jwt_secret": NEW_SECRET, "jwt_secret_previous": SECRET}
            async with serving(settings_for(database, **following)) as users:
                ada = await users.register()
                mailed = await users.mailed_token(ada.id, UserRegistered)
            async with serving(settings_for(database, jwt_secret_next=NEW_SECRET)) as users:
                assert await users.is_logged_in(ada)
                assert (await users.verify(mailed)).status_code == 204
