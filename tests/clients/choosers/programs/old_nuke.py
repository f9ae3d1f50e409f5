# Python 2.7, as Nuke 11 and 12 have it: starts the plug-in, and sends with and without a pool.
import sys
import types

said = []
nuke = sys.modules["nuke"] = types.ModuleType("nuke")
af = sys.modules["af"] = types.ModuleType("af")


class Node(object):
    pool = ""

    def knob(self, name):
        return self

    def name(self):
        return "afanasy1"

    def value(self):
        return self.pool


class Job:
    def send(self):
        return "sent"


af.Job = Job
node = Node()
nuke.GUI, nuke.message, nuke.root = True, said.append, object
nuke.allNodes = lambda kind, group, recurseGroups: [node]
sys.path.insert(0, sys.argv[1])
exec(open(sys.argv[1] + "/init.py").read())
assert (Job().send(), said) == ("sent", [])
node.pool = "fx"
try:
    Job().send()
except RuntimeError as error:
    assert "afanasy1 (fx)" in str(error) and "Nuke 13" in str(error)
else:
    raise AssertionError("it was sent")
assert len(said) == 1
