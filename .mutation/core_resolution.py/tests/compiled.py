"""Compiles a Cython source of the tests against the ``.pxd`` files of the installed package."""

import importlib.util
from pathlib import Path
from types import ModuleType

import polyexec


def build(source: Path, folder: Path) -> ModuleType:
    """Compile ``source`` into ``folder`` and import it."""
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    name = source.stem
    copy = folder / source.name
    copy.write_text(source.read_text())
    extensions = cythonize(
        [Extension(name, [str(copy)], extra_compile_args=["-O2"])],
        include_path=[str(Path(polyexec.__file__).parent.parent)],
        quiet=True,
    )
    command = build_ext(Distribution({"name": name, "ext_modules": extensions}))
    command.build_lib = command.build_temp = str(folder)
    command.ensure_finalized()
    command.run()
    spec = importlib.util.spec_from_file_location(name, command.get_ext_fullpath(name))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
