"""Builds the documentation: sphinx-build -W docs build/docs."""

import re
from importlib import metadata

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

project = "fastnn"
author = "the fastnn authors"
release = metadata.version("fastnn-kernels")
html_title = f"fastnn {release}"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
myst_enable_extensions = ["attrs_inline", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["pictures"]
smartquotes = False  # values such as "fixed" must stay what one can copy

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["fastnn.css"]
html_theme_options = {"top_of_page_buttons": []}
html_math_renderer = "mathml"
copybutton_prompt_text = "$ "

default_role = "code"
toc_object_entries_show_parents = "hide"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False  # an override without a docstring is not listed again
autodoc_typehints = "none"  # shapes and types are in the text: `npt.ArrayLike` written out fills half a page
autosummary_generate = False  # the tables of docs/api link to entries on the same page
maximum_signature_line_length = 88
napoleon_numpy_docstring = True  # the estimators for scikit-learn
napoleon_use_rtype = False

PICTURE = re.compile(
    r'<picture>\s*<source [^>]*srcset="([^"]+)">\s*<img src="([^"]+)" alt="([^"]*)">\s*</picture>'
)
CODE = re.compile(r"(``.+?``|`[^`]+`)")


def two_pictures(app, name, source):
    """Turn <picture>, which follows the system, into two images that follow the theme chosen on the page."""
    source[0] = PICTURE.sub(r"![\3](\2){.only-light}\n![\3](\1){.only-dark}", source[0])


def escape_arithmetic(app, what, name, obj, options, lines):
    """Escape stars and bars outside `code`, where they are arithmetic, and end `code` before a letter."""
    for number, line in enumerate(lines):
        if line.lstrip().startswith((">>> ", "... ")):
            continue
        pieces = CODE.split(line)
        pieces[::2] = [re.sub(r"([*|])", r"\\\1", piece) for piece in pieces[::2]]
        lines[number] = re.sub(r"(`[^`]+`)(?=[a-z])", r"\1\\ ", "".join(pieces))  # the s of `Param`s


def short_defaults(app, what, name, obj, options, signature, returns):
    """Write np.float32 for a default that prints as <class 'numpy.float32'>."""
    # autodoc_preserve_defaults would read the source, where fit has fewer parameters than its signature.
    return signature and re.sub(r"<class 'numpy\.(\w+)'>", r"np.\1", signature), returns


def inline_math(translator, node):
    """Write a formula as MathML: browsers draw it without a script from another site."""
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def display_math(translator, node):
    """Write a displayed formula as MathML."""
    translator.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer(
        "mathml", inline_renderers=(inline_math, None), block_renderers=(display_math, None)
    )
    app.connect("source-read", two_pictures)
    app.connect("autodoc-process-docstring", escape_arithmetic, priority=400)  # before napoleon's
    app.connect("autodoc-process-signature", short_defaults)
