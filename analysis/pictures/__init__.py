"""The pictures: every module of this folder that can draw."""

import importlib
import pkgutil


def names_and_modules():
    modules = {info.name: importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)}
    pictures = {name: module for name, module in modules.items() if hasattr(module, "ORDER")}
    return dict(sorted(pictures.items(), key=lambda item: (item[1].ORDER, item[0])))


def about(tables):
    """The pictures of this kind of run: those that name a TABLE where there is one, and where there is a training nothing else."""
    trains = tables.has("curves")
    return {
        name: picture
        for name, picture in names_and_modules().items()
        if (tables.has(picture.TABLE) if hasattr(picture, "TABLE") else not trains)
    }
