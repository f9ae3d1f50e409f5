"""The add-on's state while Blender runs: the list of pools, the client, the outcome of a connection test.

Strategy: threads ask the broker and store a finished picture; drawing only reads pictures. No thread touches bpy: a
timer, which runs only while something is in progress, redraws the interface.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Optional

import bpy

from .afpools.choice import Standing, standing
from .afpools.client import Client
from .afpools.errors import AfpoolsError, PoolNotApplied
from .afpools.pool_menu import Menu, PoolMenu
from .afpools.profile import Profile, find_profile

OFFLINE = "Blender may not use the network: allow online access in Preferences > System."

# Seconds between two checks for an answer.
_GLANCE = 0.1


def online() -> bool:
    """Whether Blender may use the network; before 4.2 there was no such setting."""
    return bool(getattr(bpy.app, "online_access", True))


def chosen() -> str:
    """The pool of the current scene, empty for none."""
    return str(bpy.context.scene.afpools_pool)


def profile_folder() -> str:
    """The profile's folder from the preferences; empty if the client library is to find it."""
    # `blender --addons` enables an add-on without an entry in the preferences.
    own = bpy.context.preferences.addons.get(__package__)
    folder = own.preferences.profile_folder if own else ""
    return bpy.path.abspath(folder) if folder else ""


def load_profile(folder: str) -> Profile:
    """
    Raises:
        ProfileError: there is none, or it cannot be used.
    """
    return Profile.load(folder) if folder else find_profile()


def otherwise() -> Standing:
    """What applies to a scene without a chosen pool.

    Raises:
        ProfileError: there is a profile, and it cannot be read.
    """
    return standing(profile_folder())


class ConnectionTest:
    """One try to reach the broker, in the background.

    Attributes:
        running: whether it is in progress.
        succeeded: how it ended.
        text: the outcome in a sentence; empty before the first test.
    """

    def __init__(self) -> None:
        self.running = False
        self.succeeded = False
        self.text = ""

    def start(self, folder: str) -> None:
        self.running, self.text = True, "Asking the broker…"
        threading.Thread(target=self._run, args=(folder,), name="afpools connection test", daemon=True).start()

    def _run(self, folder: str) -> None:
        try:
            profile = load_profile(folder)
            began = time.monotonic()
            with Client(profile) as client:
                hello = client.hello()
                took = time.monotonic() - began
                pools = len(client.list_pools().pools)
            self.succeeded = True
            self.text = (
                f"Connected to {hello.broker} {hello.version} in {took * 1000:.0f} ms as {hello.name} ({hello.role}); "
                f"{pools} {'pool' if pools == 1 else 'pools'}. Profile: {profile.folder}"
            )
        except AfpoolsError as error:
            self.succeeded, self.text = False, str(error)
        except Exception as error:  # noqa: BLE001 - the user must see it, and this thread has no other way to report it
            self.succeeded, self.text = False, f"The connection could not be tested: {error!r}"
        self.running = False


class Session:
    """Everything that is kept between two redraws."""

    def __init__(self) -> None:
        self.test = ConnectionTest()
        self._pools: Optional[PoolMenu] = None
        self._client: Optional[Client] = None

    def menu(self) -> Menu:
        """The picture of the pools to show. Never waits."""
        pools = self._pool_menu()
        if not online():
            return pools.latest().but(False, OFFLINE)
        menu = pools.current()
        if menu.refreshing:
            watch()
        return menu

    def refresh(self) -> None:
        """Asks for a newer list in the background."""
        if online():
            self._pool_menu().refresh()
            watch()

    def start_test(self) -> None:
        if not online():
            self.test.succeeded, self.test.text = False, OFFLINE
        elif not self.test.running:
            self.test.start(profile_folder())
            watch()

    def client(self) -> Client:
        """A client for the profile as it is now.

        Raises:
            AfpoolsError: there is no usable profile, or Blender may not use the network.
        """
        if not online():
            raise AfpoolsError(OFFLINE)
        profile = load_profile(profile_folder())
        if self._client is None or self._client.profile != profile:
            self.close_client()
            self._client = Client(profile)
        return self._client

    def close_client(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def forget(self) -> None:
        """Starts again with another profile."""
        self.close_client()
        self._pools = None
        # A new object: the thread of the old one may still write its outcome.
        self.test = ConnectionTest()

    def busy(self) -> bool:
        """Whether an answer is pending."""
        return self.test.running or (self._pools is not None and self._pools.latest().refreshing)

    def _pool_menu(self) -> PoolMenu:
        if self._pools is None:
            self._pools = PoolMenu(profile_folder())
        return self._pools


now = Session()


def watch() -> None:
    """Redraws the interface when the pending answer has arrived."""
    # A timer that is not persistent ends when another file is opened, even if the answer has not arrived.
    if not bpy.app.timers.is_registered(_look):
        bpy.app.timers.register(_look, first_interval=_GLANCE, persistent=True)


def _look() -> Optional[float]:
    if now.busy():
        return _GLANCE
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in ("PROPERTIES", "PREFERENCES"):
                area.tag_redraw()
    return None


def refusal(operator: Any, error: PoolNotApplied) -> Any:
    """Tells the artist why nothing was sent."""
    operator.report({"ERROR"}, str(error))
    return {"CANCELLED"}


def register(pool_chosen: Callable[[], Any]) -> None:
    """
    Args:
        pool_chosen: called whenever a pool has been chosen, even by a script.
    """

    def updated(scene: Any, context: Any) -> None:
        pool_chosen()

    bpy.types.Scene.afpools_pool = bpy.props.StringProperty(
        name="Render Pool",
        description="The pool of hosts that jobs of this scene run on. Empty: any host",
        update=updated,
    )


def unregister() -> None:
    if bpy.app.timers.is_registered(_look):
        bpy.app.timers.unregister(_look)
    now.forget()
    del bpy.types.Scene.afpools_pool
