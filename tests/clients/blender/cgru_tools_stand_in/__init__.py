"""Stands in for CGRU's Blender add-on if CGRU is not installed: the same names, and the same order of events.

Its operator packs, saves a temporary copy, and then sends, as the stock one does; `af`, in the folder beside, refuses
what the real module refuses.
"""

import os
import sys

import bpy

bl_info = {"name": "CGRU Tools", "blender": (2, 80, 0), "category": "Tools"}


class CGRUProperties(bpy.types.PropertyGroup):
    packTextures: bpy.props.BoolProperty()
    hostsmask: bpy.props.StringProperty()
    hostsmaskexclude: bpy.props.StringProperty()


class RENDER_PT_Afanasy(bpy.types.Panel):
    bl_idname = "CGRU_props"
    bl_label = "Afanasy"
    bl_space_type = "PROPERTIES"
    bl_region_type = "WINDOW"
    bl_context = "render"

    def draw(self, context):
        self.layout.operator("cgru.submit")


class CGRU_Submit(bpy.types.Operator):
    bl_idname = "cgru.submit"
    bl_label = "Submit Job"

    def execute(self, context):
        settings = context.scene.cgru

        import af

        if settings.packTextures:
            bpy.ops.file.pack_all()
        job = af.Job("stand-in")
        block = af.Block(context.scene.render.engine, "blender")
        block.setNumeric(context.scene.frame_start, context.scene.frame_end)
        block.setCommand("blender -b")
        job.blocks.append(block)
        if settings.hostsmask != "":
            job.setHostsMask(settings.hostsmask)
        if settings.hostsmaskexclude != "":
            job.setHostsMaskExclude(settings.hostsmaskexclude)
        job.output()
        copy = bpy.data.filepath[: -len(".blend")] + ".20260101000000.blend"
        bpy.ops.wm.save_as_mainfile(filepath=copy, copy=True)
        result = job.send()
        if not result[0]:
            self.report({"ERROR"}, "An error occurred when submitting job to Afanasy.Check console.")
        else:
            self.report({"INFO"}, f"Job id:{result[1]['id']} successfully submit to Afanasy.")
        return {"FINISHED"}


_CLASSES = (CGRUProperties, RENDER_PT_Afanasy, CGRU_Submit)


def register():
    for cls in _CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.cgru = bpy.props.PointerProperty(type=CGRUProperties)
    folder = os.path.join(os.path.dirname(__file__), "python")
    if folder not in sys.path:
        sys.path.append(folder)


def unregister():
    del bpy.types.Scene.cgru
    for cls in _CLASSES:
        bpy.utils.unregister_class(cls)
