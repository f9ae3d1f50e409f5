"""A script that is to ours what CGRU's is: the same classes, the same order of doing things."""

import json
import os
import tempfile

import af
import fusionscript


class Dispatcher(object):
    def __init__(self):
        self.comp = fusionscript.scriptapp("Fusion").GetCurrentComp()

    def dispatch(self, job_data):
        job = af.Job(job_data["job_name"])
        self.comp.Save()
        job.blocks.append(af.Block("Saver 1", "fusion"))
        status, data = job.send()
        if not status:
            raise RuntimeError("Something went wrong!")


class UI(object):
    def __init__(self):
        self.comp = fusionscript.scriptapp("Fusion").GetCurrentComp()
        self.setup_ui()

    def message_box(self, title, message):
        self.comp.AskUser(title, {1: "Message", 2: "Text", "ReadOnly": True, "Default": message})

    def settings(self):
        return os.path.join(tempfile.gettempdir(), "Afanasy_Fusion_Job_Settings.json")

    def load_settings(self):
        if not os.path.isfile(self.settings()):
            return {}
        with open(self.settings()) as file:
            return json.load(file)

    def setup_ui(self):
        mask = self.load_settings().get("hosts_mask", "")
        result = self.comp.AskUser(
            "Submit to Afanasy",
            {
                1: {1: "job_name", 2: "Text", "Default": "shot"},
                2: {1: "hosts_mask", 2: "Text", "Default": mask},
                3: {1: "submit_paused", 2: "Checkbox", "Default": 0},
            },
        )
        if not result:
            return
        with open(self.settings(), "w") as file:
            json.dump(result, file)
        try:
            Dispatcher().dispatch(result)
        except RuntimeError as e:
            self.message_box("Submit to Afanasy", "{}".format(e))
        else:
            self.message_box("Submit to Afanasy", "Successfully Submitted.")


UI()
