"""Users over HTTP: an admin reaches all of them, any other caller only their own account."""

from typing import Annotated

from chassis.http.cursors import CursorPageOf, CursorPaging, cursor_paging
from chassis.http.schemas import Data, PathId
from chassis.types.ids import UserId
from fastapi import APIRouter, Depends

from user_service.domain.accounts import AccountPosition
from user_service.domain.errors import NotAllowed, UnknownUser
from user_service.handlers.dependencies import Caller, CallerDependencies
from user_service.handlers.schemas import SearchQuery, UserRequest, UserResponse, user_response
from user_service.service.accounts import AccountService

PagingQuery = Annotated[CursorPaging[AccountPosition], Depends(cursor_paging(AccountPosition))]


def routes(accounts: AccountService, callers: CallerDependencies) -> APIRouter:
    router = APIRouter(prefix="/api/v1/users", tags=["users"])
    authenticated = Annotated[Caller, Depends(callers.authenticated)]
    admin = Depends(callers.admin)

    @router.get(
        "",
        summary="List all users",
        description="Only for admins, in the order of registration."
        " A list is followed to its end by `next`: send it as `cursor`.",
        dependencies=[admin],
    )
    async def list_users(paging: PagingQuery, search: SearchQuery) -> CursorPageOf[UserResponse]:
        found, total = await accounts.search(search, paging)
        users = [UserResponse.model_validate(account) for account in found]
        return paging.page_of(found, users, total, AccountPosition.of)

    @router.get("/{user_id}", summary="Get a user", description="An admin may get any user, others only themselves.")
    async def get_user(user_id: PathId, caller: authenticated) -> Data[UserResponse]:
        return user_response(await accounts.get(_accessible(user_id, caller)))

    @router.put(
        "/{user_id}",
        summary="Update a user",
        description="An admin may update any user, including role and activity; others only their own profile.",
    )
    async def put_user(user_id: PathId, request: UserRequest, caller: authenticated) -> Data[UserResponse]:
        target, profile, access = _accessible(user_id, caller), request.to_profile_update(), request.to_access_update()
        if caller.account.is_active_admin:
            return user_response(await accounts.update_as_admin(caller.account.id, target, profile, access))
        if not access.is_empty:
            raise NotAllowed
        return user_response(await accounts.update_profile(target, profile))

    @router.delete(
        "/{user_id}",
        status_code=204,
        summary="Erase a user's account permanently",
        description="Only for admins. Users erase their own account at DELETE /users/me, with their password.",
    )
    async def delete_user(user_id: PathId, caller: authenticated) -> None:
        await accounts.erase_as_admin(caller.account.id, _accessible(user_id, caller))

    return router


def _accessible(user_id: int, caller: Caller) -> UserId:
    """Raises UnknownUser for another user's account unless the caller is an admin.

    It does not reveal whether the user exists.
    """
    if caller.account.id != user_id and not caller.account.is_active_admin:
        raise UnknownUser(UserId(user_id))
    return UserId(user_id)
