#!/bin/sh
# Bring a Chromium for the browser tests: the one that FTKIT_CHROMIUM or the path names, else the system's package,
# else Playwright's own. Usage: install_browser.sh PYTHON
set -eu

for candidate in "${FTKIT_CHROMIUM:-}" chromium chromium-browser google-chrome; do
    # Ubuntu has a command of the name that only asks to install a snap.
    if [ -n "$candidate" ] && "$candidate" --version >/dev/null 2>&1; then
        echo "Browser tests use $candidate."
        exit 0
    fi
done

if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then
        apt-get update -q && apt-get install -y -q --no-install-recommends chromium fonts-dejavu && exit 0
    elif sudo -n true 2>/dev/null; then
        sudo apt-get update -q && sudo apt-get install -y -q --no-install-recommends chromium fonts-dejavu && exit 0
    fi
fi

if [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; then
    exec "$1" -m playwright install --with-deps chromium
fi
exec "$1" -m playwright install chromium
