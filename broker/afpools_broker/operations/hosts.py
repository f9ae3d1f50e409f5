"""The operations that change the list of hosts registered by hand."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from ..picture.moment import Moment
from ..pools.changes import Change, asked_for, without
from ..pools.hosts import expand
from ..pools.pool import Pool, unique
from ..pools.vetting import vetting
from ..protocol import HostPatterns
from .base import Call
from .writing import Write, newcomers


class HostsRegister(Write, kw_only=True):
    """Make hosts known before the farm has seen them."""

    op = "hosts.register"
    purpose = "register hosts"
    did = "hosts were registered"
    verb = "registered hosts"

    hosts: HostPatterns

    def plan(self, call: Call, moment: Moment) -> Change:
        fences = moment.snapshot.fences
        # This is how a new machine is announced: it need not be on the farm, but must not be in the list twice.
        vet = newcomers(vetting(fences.spelling, None))
        hosts = expand(self.hosts, fences.farm)
        return msgspec.structs.replace(self, hosts=list(hosts)).change(call.who, vet=vet)

    def asked(self) -> tuple[object, ...]:
        return asked_for("", hosts=self.hosts, if_revision=self.if_revision)

    def changed(self, present: Pool) -> Pool:
        return replace(present, hosts=unique((*present.hosts, *self.hosts)))


class HostsForget(Write, kw_only=True):
    """Take back `hosts.register`. Renders and members of pools stay known. If one of the hosts is not registered, the
    answer is a `bad_request`, and none is forgotten."""

    op = "hosts.forget"
    purpose = "forget hosts"
    did = "hosts were forgotten"
    verb = "forgot hosts"

    hosts: HostPatterns

    def plan(self, call: Call, moment: Moment) -> Change:
        hosts = expand(self.hosts, moment.snapshot.fences.farm, leaving=True)
        return msgspec.structs.replace(self, hosts=list(hosts)).change(call.who)

    def asked(self) -> tuple[object, ...]:
        return asked_for("", hosts=self.hosts, if_revision=self.if_revision)

    def changed(self, present: Pool) -> Pool:
        return without(present, self.hosts)
