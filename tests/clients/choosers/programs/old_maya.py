# Python 2.7, as Maya 2020 has it: starts the plug-in, and sends with and without a pool.
import sys
import types

said, scene = [], []
maya = sys.modules["maya"] = types.ModuleType("maya")
cmds = sys.modules["maya.cmds"] = maya.cmds = types.ModuleType("maya.cmds")
af = sys.modules["af"] = types.ModuleType("af")


class Job:
    def send(self):
        return "sent"


af.Job = Job
cmds.about = lambda batch: False
cmds.confirmDialog = lambda title, message, button: said.append(message)
cmds.fileInfo = lambda name, query: scene
sys.path.insert(0, sys.argv[1])
exec(open(sys.argv[1] + "/userSetup.py").read())
assert (Job().send(), said) == ("sent", [])
scene.append("fx")
try:
    Job().send()
except RuntimeError as error:
    assert "the scene (fx)" in str(error) and "Maya 2022" in str(error)
else:
    raise AssertionError("it was sent")
assert len(said) == 1
