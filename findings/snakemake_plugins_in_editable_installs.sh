#!/usr/bin/env bash
# Snakemake finds plugins by walking the folders on sys.path (pkgutil.iter_modules). setuptools'
# editable installs put no folder there when a project lists its packages by name: they add an
# import hook, through which `import snakemake_logger_plugin_x` works and which the walk does not
# see. So a plugin that imports and is listed by pip is "invalid choice" to --logger. Naming the
# folder (package-dir = {"" = "."}) makes setuptools write a path file, and the plugin is found.
#
# snakemake 9.27.1, setuptools 80.9.0. Seen:
#   by name:        imports True, found False
#   with a folder:  imports True, found True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/pip" --quiet --disable-pip-version-check)
"${pip[@]}" install snakemake==9.27.1 setuptools==80.9.0

make_project() { # folder, a line of [tool.setuptools]
    mkdir -p "$1/snakemake_logger_plugin_probe"
    cat > "$1/snakemake_logger_plugin_probe/__init__.py" <<'PYTHON'
from snakemake_interface_logger_plugins.base import LogHandlerBase


class LogHandler(LogHandlerBase):
    def __post_init__(self):
        pass

    def emit(self, record):
        pass

    writes_to_stream = writes_to_file = has_filter = has_formatter = needs_rulegraph = False
PYTHON
    printf '%s\n' '[build-system]' 'requires = ["setuptools==80.9.0"]' \
        'build-backend = "setuptools.build_meta"' '[project]' \
        'name = "snakemake-logger-plugin-probe"' 'version = "0.1"' '[tool.setuptools]' \
        'packages = ["snakemake_logger_plugin_probe"]' "$2" > "$1/pyproject.toml"
}

look() {
    (cd "$folder" && "$folder/venv/bin/python" - <<'PYTHON'
import importlib.util

from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

imports = importlib.util.find_spec("snakemake_logger_plugin_probe") is not None
found = "probe" in LoggerPluginRegistry().plugins
print(f"imports {imports}, found {found}")
PYTHON
    )
}

make_project "$folder/by_name" ""
make_project "$folder/with_folder" 'package-dir = {"" = "."}'
"${pip[@]}" install --no-deps --editable "$folder/by_name"
by_name=$(look)
echo "by name:        $by_name"
"${pip[@]}" uninstall --yes snakemake-logger-plugin-probe
"${pip[@]}" install --no-deps --editable "$folder/with_folder"
with_folder=$(look)
echo "with a folder:  $with_folder"
[ "$by_name" = "imports True, found False" ]
[ "$with_folder" = "imports True, found True" ]
