#!/bin/sh
# Bring a Chromium for the browser tests: the one that FTKIT_CHROMIUM or the path names, else the system's package,
# else Playwright's own. Usage: install_browser.sh PYTHON
set -eu

for candidate in "${FTKIT_CHROMIUM:-}" chromium chromium-browser google-chrome; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1; then
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

exec "$1" -m playwright install chromium
