#!/bin/sh
# Sees to it that there is a browser for the tests of the web page: the system's, as no other is downloaded.
set -eu

found() {
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" >/dev/null && return 0
    done
    return 1
}

found && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    echo "No browser is installed: installing Debian's chromium." >&2
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >&2 || true
    found && exit 0
fi
cat >&2 <<'END'
The browser tests need Chromium (chromium, chromium-browser or google-chrome on the PATH):
    Debian, Ubuntu:  apt-get install chromium
    Fedora:          dnf install chromium
    Alpine:          apk add chromium
END
exit 1
