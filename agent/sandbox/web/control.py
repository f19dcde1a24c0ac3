"""The control endpoints under ``/_sandbox/``: for tests and people on the same machine."""

import ipaddress

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from agent.sandbox.faults import Fault, Faults, Handler
from agent.sandbox.model import BindBody, CommandBody, RevokeBody
from agent.sandbox.state import State

FAULTS = msgspec.json.Decoder(list[Fault])
SWITCHES = msgspec.json.Decoder(dict[str, object])
COMMAND, BIND, REVOKE = map(msgspec.json.Decoder, (CommandBody, BindBody, RevokeBody))


def control_routes(state: State, faults: Faults) -> list[BaseRoute]:
    """Return the routes; a malformed body is answered 400 with the reason."""
    control = Control(state, faults)
    endpoints: list[tuple[str, str, Handler]] = [
        ("GET", "state", control.show_state),
        ("POST", "faults", control.add_faults),
        ("DELETE", "faults", control.clear_faults),
        ("POST", "switches", control.set_switches),
        ("POST", "commands", control.queue_command),
        ("POST", "tokens", control.bind_token),
        ("DELETE", "tokens", control.revoke_token),
    ]
    return [
        Route(f"/_sandbox/{name}", _local(handler), methods=[method]) for method, name, handler in endpoints
    ]


class Control:
    """What can be seen and changed from outside the process."""

    def __init__(self, state: State, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def show_state(self, _: Request) -> Response:
        """Everything the sandbox knows."""
        return JSONResponse(self._state.snapshot() | {"faults": msgspec.to_builtins(self._faults.pending())})

    async def add_faults(self, request: Request) -> Response:
        """Append a list of faults to the script."""
        self._faults.add(*FAULTS.decode(await request.body()))
        return JSONResponse(msgspec.to_builtins(self._faults.pending()))

    async def clear_faults(self, _: Request) -> Response:
        """Forget the script."""
        self._faults.clear()
        return JSONResponse([])

    async def set_switches(self, request: Request) -> Response:
        """Set the switches that are named."""
        self._state.set_switches(SWITCHES.decode(await request.body()))
        return JSONResponse(msgspec.to_builtins(self._state.switches))

    async def queue_command(self, request: Request) -> Response:
        """Queue a command for a device."""
        wanted = COMMAND.decode(await request.body())
        command = self._state.devices.queue_command(
            wanted.type,
            wanted.params,
            expires_in_seconds=wanted.expires_in_seconds,
            device_id=wanted.device_id,
        )
        return JSONResponse(msgspec.to_builtins(command), 201)

    async def bind_token(self, request: Request) -> Response:
        """Give a device a token."""
        wanted = BIND.decode(await request.body())
        self._state.devices.bind(wanted.token, wanted.device_id, wanted.end_user_id)
        return JSONResponse({"device_id": wanted.device_id}, 201)

    async def revoke_token(self, request: Request) -> Response:
        """Refuse a token from now on."""
        self._state.devices.revoke(REVOKE.decode(await request.body()).token)
        return JSONResponse({})


def _local(handler: Handler) -> Handler:
    async def endpoint(request: Request) -> Response:
        if not _is_local(request):
            return JSONResponse(
                {"message": "The control endpoints answer callers on this machine only."}, 403
            )
        try:
            return await handler(request)
        except msgspec.MsgspecError as error:
            return JSONResponse({"message": f"{error}."}, 400)

    return endpoint


def _is_local(request: Request) -> bool:
    """Return whether the caller's address is a loopback one, or the very one it has called."""
    client, server = request.scope["client"][0], request.scope["server"][0]
    return client == server or ipaddress.ip_address(client).is_loopback
