#!/bin/bash
# build_services.sh DIRECTORY: the virtual environment of the cloud's services, and their empty databases.
# Needs PYTHON, 3.11 or later.
set -euo pipefail
directory=${1:?usage: build_services.sh DIRECTORY}
here=$(cd "$(dirname "$0")" && pwd)

"$PYTHON" -m venv "$directory/environment"
"$directory/environment/bin/pip" --disable-pip-version-check -q install uv
UV_CACHE_DIR=$directory/packages "$directory/environment/bin/uv" pip install -q --compile-bytecode \
    -p "$directory/environment" -r "$here/constraints.txt"
rm -rf "$directory/packages"

# All that the databases' making starts ends with this namespace of processes.
unshare --net --pid --fork --kill-child --mount-proc \
    env ENVIRONMENT="$directory/environment" STATE="$directory/state" "$here/build_schemas.sh"
tar -C "$directory/state" -cf "$directory/schemas.tar" mysql fernet credkeys
rm -rf "$directory/state"
