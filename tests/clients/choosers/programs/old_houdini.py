# Python 2.7, as older Houdinis have it: loads a node with and without a pool, and sends.
import sys
import types

said = []
hou = sys.modules["hou"] = types.ModuleType("hou")
af = sys.modules["af"] = types.ModuleType("af")


class Node(object):
    pool = ""

    def parm(self, name):
        return self

    def path(self):
        return "/out/afanasy1"

    def evalAsString(self):
        return self.pool

    def instances(self):
        return [self]


class Job:
    def send(self):
        return "sent"


af.Job = Job
node = Node()
hou.isUIAvailable = lambda: True
hou.ui = types.ModuleType("ui")
hou.ui.displayMessage = said.append
hou.ropNodeTypeCategory = object
hou.nodeType = lambda category, name: node
sys.path.insert(0, sys.argv[1] + "/scripts/python")
kwargs = {"node": node}
exec(open(sys.argv[1] + "/scripts/out/afanasy_OnLoaded.py").read())
assert (Job().send(), said) == ("sent", [])
node.pool = "fx"
try:
    Job().send()
except RuntimeError as error:
    assert "/out/afanasy1 (fx)" in str(error) and "Python 3.7" in str(error)
else:
    raise AssertionError("it was sent")
assert len(said) == 1
