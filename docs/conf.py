"""Sphinx settings."""

import importlib.metadata

project = "polyexec"
author = "polyexec maintainers"
copyright = "2026, polyexec maintainers"
release = importlib.metadata.version("polyexec")
version = ".".join(release.split(".")[:2])

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"polyexec {release}"
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# Code blocks carry words for the test that runs them; they mean nothing to the highlighter.
suppress_warnings = ["misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
