"""Sphinx settings."""

import importlib
import importlib.metadata
import logging
import os
from pathlib import Path
from typing import Any

from docutils.nodes import Element, TextElement
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import polyexec

project = "polyexec"
author = "polyexec maintainers"
copyright = "2026, polyexec maintainers"
release = importlib.metadata.version("polyexec")
version = ".".join(release.split(".")[:2])

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "_jupyter"]
html_theme = "furo"
html_title = f"polyexec {release}"
html_static_path = ["_static"]
html_css_files = ["side-by-side.css"]
# A name that does not exist is a warning, and so an error; see `resolve` for those that do.
nitpicky = True
# Classes of optional packages, which annotations name as text.
nitpick_ignore = [("py:class", name) for name in ("Family", "Redis", "TracerProvider")]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# Code blocks carry words for the test that runs them; they mean nothing to the highlighter.
suppress_warnings = ["misc.highlighting_failure"]

# The notebooks have no outputs: they run when the pages are built, and again when they change.
# Their kernel is quiet, and puts Plotly's script into the page, which so loads nothing.
os.environ["JUPYTER_PATH"] = str(Path(__file__).parent / "_jupyter")
logging.getLogger("traitlets").setLevel(logging.WARNING)
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True
nb_number_source_lines = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

linkcheck_anchors = True
linkcheck_timeout = 20


def exists(name: str) -> bool:
    """Return True for a module or an attribute of one that can be imported."""
    module, _, attribute = name.rpartition(".")
    while module:
        try:
            value: Any = importlib.import_module(module)
        except ImportError:
            module, _, head = module.rpartition(".")
            attribute = f"{head}.{attribute}"
            continue
        for part in attribute.split("."):
            value = getattr(value, part, None)
        return value is not None
    return False


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: TextElement
) -> Element | None:
    """Link public names wherever they are defined, and leave what has no entry as plain text.

    Annotations name the module that defines a class. What is neither public nor documented
    (another library's class, a part of the inside) is no fault as long as it exists.
    """
    if node.get("refdomain") != "py":
        return None
    # Annotations are cut at commas: "collections.abc.Mapping[str" and "int]" arrive here.
    target = node["reftarget"].split("[")[0]
    name = target.rpartition(".")[2]
    if target.startswith("polyexec.") and name in polyexec.__all__:
        public = f"polyexec.{name}"
        if public != target:
            return env.domains["py"].resolve_xref(
                env, node["refdoc"], app.builder, "obj", public, node, text
            )
    return text if exists(target) or exists(f"builtins.{target}") else None


def setup(app: Sphinx) -> None:
    """Register the hook."""
    app.connect("missing-reference", resolve)
